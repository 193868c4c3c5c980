"""Draw a synthetic cohort of handwritten pages, in HHD-Age's layout."""

from pathlib import Path
from typing import Annotated

import tyro

from age_keras.config.age import Writers
from age_keras.config.settings import AtLeastOne, Seed
from age_keras.data.synthetic.cohort import synthesize


def main(
    folder: tyro.conf.Positional[Path],
    writers: Writers = 120,
    seed: Seed = 0,
    preview: Annotated[Path | None, tyro.conf.arg(metavar="FILE.png")] = None,
    workers: AtLeastOne | None = None,
) -> None:
    """Draws pages of Hebrew-like handwriting, with ages, writers and splits as in HHD-Age.

    Args:
        folder: The folder to write; new or empty.
        writers: Number of writers; 120 write about 190 pages.
        seed: The same seed draws the same pages, byte for byte.
        preview: Also write a contact sheet of the writers, sorted by age.
        workers: Number of processes that draw. Defaults to one for each processor.
    """
    from age_keras.data.synthetic.preview import check_preview_path, write_preview

    if preview is not None:
        check_preview_path(preview)
    synthesize(folder, writers=writers, seed=seed, workers=workers)
    print(f"Synthetic cohort: {folder}")
    if preview is not None:
        write_preview(folder, preview)
        print(f"Contact sheet: {preview}")
