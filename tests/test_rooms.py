"""Who may import whom: what judges a model, and what reads pages, needs no TensorFlow."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# Of the data room, only what makes batches needs TensorFlow.
WITH_TENSORFLOW = {
    "augment",
    "pipeline",
    "warp",
    "mixup",
    "preview",
    "characters",
    "digits",
    "digit_warp",
    "contact_sheet",
}


def modules(room: str, without: set[str] = frozenset()) -> list[str]:
    files = sorted((ROOT / "age_keras" / room).glob("*.py"))
    return [f"age_keras.{room}.{f.stem}" for f in files if f.stem != "__init__" and f.stem not in without]


@pytest.mark.parametrize(
    "names",
    [modules("evaluation"), modules("data", WITH_TENSORFLOW), ["age_keras.cli"]],
    ids=["evaluation", "data", "cli"],
)
def test_needs_no_tensorflow(names):
    code = f"import sys, {', '.join(names)}\nprint(sorted(m for m in ('tensorflow', 'keras') if m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"


def test_every_file_holds_one_idea():
    long = {f.name: n for f in ROOT.glob("age_keras/**/*.py") if (n := len(f.read_text().splitlines())) > 260}
    assert not long
