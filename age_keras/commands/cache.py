"""Show what age_keras keeps to save work: where, how much, and when it was last used (`cache clear` deletes it)."""

import contextlib
import json
from pathlib import Path
from typing import Annotated

import tyro


def main(json_output: Annotated[bool, tyro.conf.arg(name="json"), tyro.conf.FlagCreatePairsOff] = False) -> int:
    """Lists the features of frozen networks and the size of everything else in the cache folder.

    Args:
        json_output: Print JSON, with sizes in bytes.
    """
    from age_keras.files import cache_dir
    from age_keras.prefix.feature_files import FOLDER, FeatureFiles

    root = cache_dir()
    files = FeatureFiles(root / FOLDER)
    entries, limit = files.entries(), files.default_budget()
    others = {
        path.name: folder_bytes(path) for path in sorted(root.iterdir() if root.is_dir() else []) if path.name != FOLDER
    }
    if json_output:
        rows = [{"entry": e.name, "bytes": e.bytes, "last_used": e.used, **_summary(e)} for e in entries]
        facts = {"folder": str(root), "limit": limit, "features": rows, "others": others}
        print(json.dumps(facts, indent=2, default=str))
        return 0
    print(f"Cache folder: {root}")
    total = sum(entry.bytes for entry in entries)
    print(f"\nFeatures of frozen networks: {_size(total)} of at most {_size(limit)}; the least recently used go first.")
    print("AGE_KERAS_CACHE_GB sets this limit.")
    if entries:
        _print_entries(reversed(entries))
    for name, size in others.items():
        print(f"{name}: {_size(size)}")
    if not entries and not others:
        print("Nothing is cached.")
    else:
        print("\n`age-keras cache clear` deletes the features, `age-keras cache clear --all` everything.")
    return 0


def folder_bytes(path: Path) -> int:
    """The size of a file, or of all files in a folder; files that vanish meanwhile count nothing."""
    total = 0
    for file in (path, *path.rglob("*")):
        with contextlib.suppress(FileNotFoundError):
            total += 0 if file.is_dir() else file.stat().st_size
    return total


def _summary(entry) -> dict:
    """What a reader wants to know of an entry."""
    facts = entry.facts
    known = {key: facts[key] for key in ("model", "view", "seed", "precision", "computed_in")}
    shapes = [tuple(shape) for shape, _ in facts["boundary"]]
    return {**known, "errors": entry.errors, "patch": facts["patch"][0], "shapes": shapes}


def _print_entries(entries) -> None:
    import datetime

    from tabulate import tabulate

    rows = []
    for entry in entries:
        facts = _summary(entry)
        used = datetime.datetime.fromtimestamp(entry.used).strftime("%Y-%m-%d %H:%M") if entry.used else "never"
        view = "as they are" if facts["view"] is None else f"augmented copy {facts['view']}"
        tensors = ", ".join("x".join(map(str, shape)) for shape in facts["shapes"])
        precision = facts["precision"]
        if facts["computed_in"] != "float32":
            error = facts["errors"]["computed"]
            precision = f"{precision}, computed in {facts['computed_in']} (error {100 * error:.1g} %)"
        rows.append([facts["model"], view, tensors, precision, _size(entry.bytes), used])
    print(tabulate(rows, headers=["Model", "Patches", "Features", "Precision", "Size", "Last used"]), "\n")


def _size(number: int) -> str:
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if number >= scale:
            return f"{number / scale:.1f} {unit}"
    return f"{number} B"
