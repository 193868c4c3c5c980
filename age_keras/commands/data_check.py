"""Check a folder of pages and its labels: every problem at once."""

import json
from pathlib import Path
from typing import Annotated

import tyro

from age_keras.config.columns import ColumnNames


def main(
    folder: tyro.conf.Positional[Path],
    labels: Path | None = None,
    file_column: str | None = None,
    age_column: str | None = None,
    writer_column: str | None = None,
    split_column: str | None = None,
    age_group_column: str | None = None,
    labels_only: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False,
    json_output: Annotated[bool, tyro.conf.arg(name="json"), tyro.conf.FlagCreatePairsOff] = False,
    examples: int = 3,
    workers: int | None = None,
) -> int:
    """Decodes every page and checks the labels. Exit code 0 without errors, 2 with errors.

    Args:
        folder: folder of the pages: HHD-Age as unpacked, or any with a labels file.
        labels: labels file (csv, tsv, xlsx, parquet), if it is not in the folder or not the only table there.
        file_column: column of the files. Defaults to File, image, path or filename, in any case.
        age_column: column of the ages in years. Defaults to Age.
        writer_column: column of the writers. Defaults to WriterNumber, writer or writer_id.
        split_column: column of the split. Defaults to Set or split. An empty text uses none.
        age_group_column: column of the age groups. Defaults to AgeGroup.
        labels_only: check the table alone, without its pages.
        json_output: print JSON, with every case of every problem.
        examples: cases shown of each problem.
        workers: pages decoded at a time. Defaults to the number of processors.
    """
    from age_keras.data.table.examine import examine

    columns = ColumnNames(file_column, age_column, writer_column, split_column, age_group_column)
    found = examine(folder, labels, columns, labels_only, workers)
    print(json.dumps(found.to_dict(), indent=2, ensure_ascii=False) if json_output else found.to_text(examples))
    return 2 if found.errors else 0
