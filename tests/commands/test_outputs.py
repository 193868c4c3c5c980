"""What a command is asked to write to, and cannot: a sentence that names it."""

import pandas as pd
import pytest

from age_keras.cli import main


@pytest.mark.parametrize(
    "command",
    [
        "evaluate {table} --resamples 100 --out {nowhere}",
        "evaluate {table} --resamples 100 --figures {nowhere}",
        "ensemble {table} --out {nowhere}",
        "intervals {table} --out {nowhere}",
        "intervals {table} --figure {nowhere}",
        "compare {table} --resamples 100 --figure {nowhere}",
    ],
)
def test_what_cannot_be_written_is_one_sentence(capsys, tmp_path, command):
    rows = [{"ImageID": f"p{i}", "TrueAge": 10 + i % 7, "Fold": i % 2 + 1, "a": 11 + i % 5, "b": 12} for i in range(40)]
    pd.DataFrame(rows).to_csv(tmp_path / "p.csv", index=False)
    nowhere = tmp_path / "p.csv" / "out"  # A file is no folder.
    assert main(command.format(table=tmp_path / "p.csv", nowhere=nowhere).split()) == 2
    assert f"{nowhere} cannot be written: " in capsys.readouterr().err
