"""The command line: what is printed, and the exit codes."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import pytest
from annotated_types import Interval

from age_keras import cli
from age_keras.config.settings import Settings
from age_keras.errors import InputError


@dataclass(frozen=True)
class Inner(Settings):
    rate: float = 0.1


@dataclass(frozen=True)
class Config(Settings):
    epochs: int = 3
    names: tuple[str, ...] = ("a",)
    inner: Inner = field(default_factory=Inner)


def test_overview_lists_every_command_with_its_first_line(capsys):
    assert cli.main([]) == 0
    printed = capsys.readouterr().out
    for name in cli.command_names():
        line = next(line for line in printed.splitlines() if line.strip().startswith(name))
        assert len(line.split(name, 1)[1].strip()) > 10


def test_unknown_command_exits_with_2_and_says_where_to_look(capsys):
    assert cli.main(["nonsense"]) == 2
    assert "no command 'nonsense'" in capsys.readouterr().err


def test_group_without_a_command_lists_its_commands(capsys):
    assert cli.main(["data"]) == 2
    assert "data check" in capsys.readouterr().err


def test_input_error_is_one_line_and_exit_code_2(capsys):
    def fails():
        raise InputError("labels.csv has no column Age: add it.")

    assert cli.run(fails, [], prog="age-keras x") == 2
    captured = capsys.readouterr()
    assert captured.err == "age-keras x: error: labels.csv has no column Age: add it.\n"
    assert captured.out == ""


@pytest.mark.parametrize("value", ["0", "5"])
def test_a_parameter_outside_of_its_annotation_is_named(value, capsys):
    def command(layers: Annotated[int, Interval(ge=1, le=4)] = 2) -> None:
        raise AssertionError

    assert cli.run(command, ["--layers", value]) == 2
    assert f"`--layers` must be a whole number in [1, 4]. Received: --layers={value}." in capsys.readouterr().err


def test_interrupt_says_how_to_go_on(capsys):
    def interrupted():
        raise KeyboardInterrupt

    assert cli.run(interrupted, []) == 130
    assert "re-run the command to resume" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "named"),
    [(["--epoch-count", "3"], "--epoch-count"), (["--epochs", "many"], "epochs"), (["--inner.rate", "x"], "rate")],
)
def test_a_wrong_flag_or_type_names_the_key(arguments, named, capsys):
    assert cli.run_experiment(Config, lambda config: Path("x"), arguments) == 2
    assert named in capsys.readouterr().err


def test_every_field_of_an_experiment_can_be_overridden(tmp_path, capsys):
    seen = []
    report = tmp_path / "report.md"
    report.write_text("The verdict.\n\n# Title\n")

    def experiment(config):
        seen.append(config)
        return report

    arguments = ["--epochs", "7", "--names", "b", "c", "--inner.rate", "0.5"]
    assert cli.run_experiment(Config, experiment, arguments) == 0
    assert seen == [Config(7, ("b", "c"), Inner(0.5))]
    assert "The verdict." in capsys.readouterr().out
