"""What every test may use: the shared data where it is there, and a cache folder of its own."""

import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # As age_keras does, whatever a test imports first.
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


@pytest.fixture(scope="session")
def inked_pages():
    """Makes pages whose blackness grows with the age, two of each writer: (table, patch store of 32-px patches)."""

    def make(pages: int, patches: int):
        import numpy as np
        import pandas as pd

        from age_keras.data.patches.store import PatchStore

        rng = np.random.default_rng(0)
        ages = np.repeat(rng.uniform(10, 60, pages // 2), 2).round()
        writers = np.repeat([f"w{i}" for i in range(pages // 2)], 2)
        table = pd.DataFrame({"ImageID": [f"p{i}" for i in range(pages)], "Age": ages, "Writer": writers})
        page = np.repeat(np.arange(pages), patches).astype(np.int32)
        ink = rng.random((len(page), 32, 32, 1)) < (ages[page] / 120)[:, None, None, None]
        store = PatchStore(
            patches=np.where(ink, 40, 250).astype(np.uint8),
            page=page,
            box=np.zeros((len(page), 4), np.int32),
            page_sizes=np.full((pages, 2), 32, np.int32),
            keys=np.arange(len(page), dtype=np.uint64) * 7919,
            skipped=[],
            blank=[],
            path=None,
        )
        return table, store

    return make
