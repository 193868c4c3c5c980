"""Check a folder of pages and its labels: every problem at once."""

import json
from pathlib import Path
from typing import Annotated

import tyro

from age_keras.config.columns import ColumnNames

USUAL = ColumnNames()


def main(
    folder: tyro.conf.Positional[Path],
    labels: Path | None = None,
    columns: ColumnNames = USUAL,
    labels_only: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False,
    json_output: Annotated[bool, tyro.conf.arg(name="json"), tyro.conf.FlagCreatePairsOff] = False,
    examples: int = 3,
    workers: int | None = None,
) -> int:
    """Decodes every page and checks the labels. Exit code 0 without errors, 2 with errors.

    Args:
        folder: folder of the pages: HHD-Age as unpacked, or any with a labels file.
        labels: labels file (csv, tsv, xlsx, parquet), if it is not in the folder or not the only table there.
        columns: Which column of the labels holds what.
        labels_only: check the table alone, without its pages.
        json_output: print JSON, with every case of every problem.
        examples: cases shown of each problem.
        workers: pages decoded at a time. Defaults to the number of processors.
    """
    from age_keras.data.table.examine import examine

    found = examine(folder, labels, columns, labels_only, workers)
    print(json.dumps(found.to_dict(), indent=2, ensure_ascii=False) if json_output else found.to_text(examples))
    return 2 if found.errors else 0
