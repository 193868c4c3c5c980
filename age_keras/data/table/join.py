"""Two sets of pages as one: the second is there to learn from, without pages of writers that are scored."""

import dataclasses
import os
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from age_keras.data.table.content import content_hashes
from age_keras.data.table.samples import Samples


def join_samples(
    first: Samples, extra: Samples, writers: Literal["same", "other"] = "same"
) -> tuple[Samples, np.ndarray]:
    """Puts an extra set of pages behind a first one.

    Args:
        first: the pages that are split and scored.
        extra: further pages; those whose content is in `first` too are left out.
        writers: whether the same writer's name in both sets means the `same` person, or an`other` one.

    Returns:
        All pages, with `ImageID` relative to the folder that holds both sets, and a bool (N,): whether a page is extra.
    """
    known = set(content_hashes(first.paths))
    new = np.array([content not in known for content in content_hashes(extra.paths)], bool)
    extra = extra.subset(new)
    root = Path(os.path.commonpath([first.root.resolve(), extra.root.resolve()]))
    tables = []
    for samples in (first, extra):
        folder = samples.root.resolve().relative_to(root).as_posix()
        prefix = "" if folder == "." else f"{folder}/"
        tables.append(samples.table.assign(ImageID=prefix + samples.table["ImageID"]))
    if writers == "other":
        tables[1]["Writer"] = "extra-" + tables[1]["Writer"]
    table = pd.concat(tables, ignore_index=True)
    joined = dataclasses.replace(
        first,
        root=root,
        table=table,
        skipped=(*first.skipped, *extra.skipped),
        warnings=tuple(dict.fromkeys((*first.warnings, *extra.warnings))),
    )
    return joined, np.arange(len(table)) >= len(first)
