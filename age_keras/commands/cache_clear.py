"""Delete what age_keras keeps to save work; it is computed again when it is needed."""

from typing import Annotated

import tyro


def main(everything: Annotated[bool, tyro.conf.arg(name="all"), tyro.conf.FlagCreatePairsOff] = False) -> int:
    """Deletes the features of frozen networks. What another process is writing stays.

    Args:
        everything: delete also the patch stores, downloads and all else in the cache folder.
    """
    import shutil

    from age_keras.files import cache_dir
    from age_keras.prefix.cache.room import folder_bytes, held, remove, sweep

    root = cache_dir()
    freed, busy = 0, 0
    for entry in held(root / "features"):
        if remove(entry.folder):
            freed += entry.bytes
        else:
            busy += 1
    sweep(root / "features")
    if everything:
        for path in sorted(root.iterdir()) if root.is_dir() else []:
            if path.name == "features":
                continue
            if path.is_dir():
                freed += folder_bytes(path)
                shutil.rmtree(path, ignore_errors=True)
            else:
                freed += path.stat().st_size
                path.unlink(missing_ok=True)
    print(f"{freed / 1e6:.1f} MB freed in {root}.")
    if busy:
        print(f"{busy} being written by another process, and kept.")
    return 0
