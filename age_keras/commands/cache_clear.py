"""Delete what age_keras keeps to save work; it is computed again when it is needed."""

from typing import Annotated

import tyro


def main(everything: Annotated[bool, tyro.conf.arg(name="all"), tyro.conf.FlagCreatePairsOff] = False) -> int:
    """Deletes the features of frozen networks. Features that another process is writing are kept.

    Args:
        everything: Delete the patch stores, downloads and everything else in the cache folder as well.
    """
    import shutil

    from age_keras.commands.cache import folder_bytes
    from age_keras.files import cache_dir
    from age_keras.prefix.feature_files import FOLDER, FeatureFiles

    root = cache_dir()
    freed, busy = 0, 0
    files = FeatureFiles(root / FOLDER)
    for entry in files.entries():
        if files.remove(entry):
            freed += entry.bytes
        else:
            busy += 1
    if not busy:
        shutil.rmtree(files.folder, ignore_errors=True)
    for path in sorted(root.iterdir()) if root.is_dir() else []:
        # Features of an older format as well.
        if path.name == FOLDER or not (everything or path.name.startswith("features")):
            continue
        freed += folder_bytes(path)
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    print(f"{freed / 1e6:.1f} MB freed in {root}.")
    if busy:
        print(f"{busy} entries are being written by another process and were kept.")
    return 0
