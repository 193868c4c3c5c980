"""Which column of a labels table holds what."""

import dataclasses

from age_keras.config.settings import Settings


@dataclasses.dataclass(frozen=True)
class ColumnNames(Settings):
    """Which column of the labels table holds what.

    `None` (the default of each) finds the column by its usual names in any case, such as `File`, `image`, `path`
    or `filename` for the file; an empty string means that no column is to be used.

    Args:
        file: path of the page, relative to the folder (or, as in HHD-Age, to the folder of its split).
        age: age in years.
        writer: who wrote the page.
        split: `train`, `val` or `test`.
        age_group: the age group, 1 to 4.
        fold: number of the cross-validation fold.
        sex: sex of the writer, for the report alone.
        hand: writing hand, for the report alone.
        source: where the page comes from, for the report alone.
    """

    file: str | None = None
    age: str | None = None
    writer: str | None = None
    split: str | None = None
    age_group: str | None = None
    fold: str | None = None
    sex: str | None = None
    hand: str | None = None
    source: str | None = None
