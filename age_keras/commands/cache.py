"""Show what age_keras keeps to save work: where, how much, last used when (`cache clear` deletes it)."""

import json
from typing import Annotated

import tyro


def main(json_output: Annotated[bool, tyro.conf.arg(name="json"), tyro.conf.FlagCreatePairsOff] = False) -> int:
    """Lists the features of frozen networks and the size of everything else in the cache folder.

    Args:
        json_output: print JSON, sizes in bytes.
    """
    from age_keras.files import cache_dir
    from age_keras.prefix.cache.room import default_disk_budget, folder_bytes, held

    root = cache_dir()
    features = root / "features"
    entries = held(features)
    others = {
        path.name: folder_bytes(path) if path.is_dir() else path.stat().st_size
        for path in sorted(root.iterdir() if root.is_dir() else [])
        if path != features
    }
    limit = default_disk_budget(features)
    if json_output:
        rows = [{"entry": e.folder.name, "bytes": e.bytes, "last_used": e.used, **_summary(e.facts)} for e in entries]
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


def _summary(facts: dict) -> dict:
    """What a reader wants to know of an entry; of a damaged one, that it cannot be read."""
    try:
        shapes = [tuple(shape) for shape in facts.get("shapes", [])]
        patch = facts.get("patch", [None])[0]
        errors = {name: float(error) for name, error in facts.get("errors", {}).items()}
    except (TypeError, AttributeError, ValueError, LookupError):
        return _summary({})
    return {
        "model": facts.get("model", "unreadable"),
        "view": facts.get("view"),
        "seed": facts.get("seed"),
        "precision": facts.get("precision"),
        "computed_in": facts.get("computed_in"),
        "errors": errors,
        "patch": patch,
        "shapes": shapes,
    }


def _print_entries(entries) -> None:
    import datetime

    from tabulate import tabulate

    rows = []
    for entry in entries:
        facts = _summary(entry.facts)
        used = datetime.datetime.fromtimestamp(entry.used).strftime("%Y-%m-%d %H:%M") if entry.used else "never"
        view = "as they are" if facts["view"] is None else f"augmented copy {facts['view']}"
        tensors = ", ".join("x".join(map(str, shape)) for shape in facts["shapes"])
        precision = facts["precision"]
        if facts["computed_in"] not in (None, "float32"):
            error = facts["errors"].get("computed", 0.0)
            precision = f"{precision}, computed in {facts['computed_in']} (error {100 * error:.1g} %)"
        rows.append([facts["model"], view, tensors, precision, _size(entry.bytes), used])
    print(tabulate(rows, headers=["Model", "Patches", "Features", "Precision", "Size", "Last used"]), "\n")


def _size(number: int) -> str:
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if number >= scale:
            return f"{number / scale:.1f} {unit}"
    return f"{number} B"
