"""Every command that README, docs and the docstrings of experiments show is one that the program takes."""

import functools
import importlib
import inspect
import re
import shlex
from pathlib import Path

import pytest
import tyro

from age_keras import cli

ROOT = Path(__file__).resolve().parents[1]
TEXTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), *sorted((ROOT / "experiments").glob("*.py"))]
TEXTS += [ROOT / "tuning" / "search.py", ROOT / "tuning" / "search_digits.py", ROOT / "tuning" / "report.py"]
COMMAND = re.compile(r"^\s*(?:\$ )?(?:[A-Z_]+=\S+ )*(age-keras \S.*|python -m (?:experiments|tuning)\.\w+.*)$")
# What stands for a file, a folder or a name that the reader has to fill in.
STAND_IN = re.compile(r"<\w+>")


def documented() -> list[tuple[str, str]]:
    """(where, command) for each command in a code block or a docstring, its continuation lines joined."""
    found = []
    for text in TEXTS:
        joined = re.sub(r"\\\n\s*", " ", text.read_text(encoding="utf-8"))
        for line in joined.splitlines():
            if match := COMMAND.match(line.split("  #")[0].rstrip()):
                found.append((text.relative_to(ROOT).as_posix(), match[1]))
    return found


def words_of(command: str) -> list[str]:
    """The command's words without comments, brackets around options, dots and further commands."""
    command = re.split(r" # | \| | && | > ", command)[0].replace("HOST:PORT", "10.0.0.5:8787")
    words = shlex.split(command.replace("[", " ").replace("]", " "))
    return [STAND_IN.sub("x", word).removesuffix("...") for word in words if word not in ("...", "…", "&")]


def run(words: list[str]) -> int:
    """Calls what the words name, as the shell would. Returns the exit code."""
    if words[0] == "age-keras":
        return cli.main(words[1:])
    module = importlib.import_module(words[2])
    if hasattr(module, "main"):
        return module.main(words[3:])
    return cli.run_experiment(module.get_config, module.experiment, words[3:])


@pytest.fixture
def parsing_only(monkeypatch):
    """The flags are read as always; then, instead of the work, the program ends."""
    read = tyro.cli

    def read_and_stop(target, **options):
        read(target if inspect.isclass(target) else functools.wraps(target)(lambda *a, **k: None), **options)
        raise SystemExit(0)

    monkeypatch.setattr(tyro, "cli", read_and_stop)


@pytest.mark.parametrize(("where", "command"), documented(), ids=str)
@pytest.mark.usefixtures("parsing_only")
def test_documented_command_parses(where, command):
    assert run(words_of(command)) == 0, f"{where}: {command}"
