"""What every test may use: the shared data where it is there, and a cache folder of its own."""

import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of data that is read in place; skips where it is missing."""
    if not SHARED.is_dir():
        pytest.skip("needs ../shared/data, which is not part of the project")
    return SHARED


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory, monkeypatch):
    """No test reads or fills the user's cache."""
    monkeypatch.setenv("AGE_KERAS_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
