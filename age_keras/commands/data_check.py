"""Check a folder of pages and its labels: every problem at once."""

import json
from pathlib import Path
from typing import Annotated

import tyro

from age_keras.config.columns import ColumnNames
from age_keras.config.settings import AtLeastOne, Count

USUAL = ColumnNames()


def main(
    folder: tyro.conf.Positional[Path],
    labels: Path | None = None,
    columns: ColumnNames = USUAL,
    labels_only: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False,
    json_output: Annotated[bool, tyro.conf.arg(name="json"), tyro.conf.FlagCreatePairsOff] = False,
    examples: Count = 3,
    workers: AtLeastOne | None = None,
) -> int:
    """Decodes every page and checks the labels. Exit code 0 without errors, 2 with errors.

    Args:
        folder: Folder of the pages: HHD-Age as unpacked, or any folder with a labels file.
        labels: Labels file (csv, tsv, xlsx, parquet). Defaults to the one in the folder.
        columns: Which column of the labels holds what.
        labels_only: Check the table alone, without its pages.
        json_output: Print JSON, with every case of every problem.
        examples: Number of cases shown of each problem.
        workers: Number of pages decoded at a time. Defaults to the number of processors, at most 8.
    """
    from age_keras.data.table.check import check_folder

    found = check_folder(folder, labels, columns, labels_only, workers)
    print(json.dumps(found.to_dict(), indent=2, ensure_ascii=False) if json_output else found.to_text(examples))
    return 2 if found.errors else 0
