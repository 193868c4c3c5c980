"""The console script `age-keras` and the runner of every experiment.

A command is a file in `age_keras/commands/`: `data_check.py` is `age-keras data check`, its `main` function's typed
parameters are the flags, and the first line of its docstring is the line in the list of commands. Nothing is imported
but the command that runs, so `age-keras evaluate` never waits for TensorFlow.
"""

import ast
import dataclasses
import functools
import importlib
import inspect
import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import tyro

import age_keras
from age_keras.config.age import AgeConfig
from age_keras.config.settings import Settings, checked, kinds
from age_keras.errors import InputError

# TensorFlow's start-up remarks would bury what a command says. A user who wants them sets the variable.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

COMMANDS = Path(__file__).parent / "commands"


def command_names() -> dict[str, Path]:
    """Every command ("data check") and the file that holds it."""
    return {f.stem.replace("_", " "): f for f in sorted(COMMANDS.glob("*.py")) if f.stem != "__init__"}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one `age-keras` command. Returns the exit code: 0, 2 for bad input, 130 when interrupted."""
    argv = list(sys.argv[1:] if argv is None else argv)
    if argv[:1] == ["--version"]:
        print(f"age-keras {age_keras.__version__}")
        return 0
    if not argv or argv[0] in ("-h", "--help"):
        print(_overview())
        return 0
    commands = command_names()
    for words in (2, 1):  # "data check" before "data"
        name = " ".join(argv[:words])
        if name in commands:
            module = importlib.import_module(f"age_keras.commands.{commands[name].stem}")
            return run(module.main, argv[words:], prog=f"age-keras {name}")
    within = [name for name in commands if name.startswith(f"{argv[0]} ")]
    if within:
        known = ", ".join(within)
        print(f"age-keras: error: `{argv[0]}` needs one of its commands: {known}.", file=sys.stderr)
    else:
        print(f"age-keras: error: there is no command {argv[0]!r}; `age-keras --help` lists them.", file=sys.stderr)
    return 2


def run(function: Callable, argv: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Calls a typed function from the command line: its parameters become flags (tyro). See `exit_code`.

    The annotation of a parameter says what it allows, as in `age_keras.config.settings`.
    """

    @functools.wraps(function)
    def checking(*args, **kwargs):
        rules, given = kinds(function), inspect.signature(function).bind(*args, **kwargs).arguments
        flags = {name: f"--{name.replace('_', '-')}" for name in given}
        return function(**{name: checked(flags[name], value, rules[name]) for name, value in given.items()})

    return exit_code(lambda: tyro.cli(checking, args=argv, prog=prog), prog)


def run_experiment(get_config: Callable[[], Settings], experiment: Callable, argv: Sequence[str] | None = None) -> int:
    """Runs an experiment file: its configuration with every field overridable by a flag, then the experiment.

    Args:
        get_config: returns the experiment's whole configuration, which is `Settings`.
        experiment: takes that configuration, returns the path of its report.
        argv: the arguments. Defaults to `sys.argv[1:]`.
    """
    module = sys.modules[experiment.__module__]
    prog = f"python -m {module.__spec__.name}" if module.__spec__ else None
    default = get_config()

    def call():
        unbuilt: Any = tyro.cli(
            type(default),
            args=argv,
            prog=prog,
            default=default,
            description=module.__doc__,
            registry=_unbuilt_settings(),
        )
        config = _built(unbuilt)
        _refuse_ignored(config, default)
        if isinstance(config, AgeConfig):
            from age_keras.training.request import check_labels, check_request, size_remarks

            check_request(config)
            check_labels(config)
            for remark in size_remarks(config):
                print(remark, file=sys.stderr)
        report = experiment(config)
        # The report's first line is its verdict.
        print(f"\n{report.read_text(encoding='utf-8').splitlines()[0]}\nReport: {report}")

    return exit_code(call, prog)


def _unbuilt_settings() -> tyro.constructors.ConstructorRegistry:
    """Has tyro give `partial(Class, **values)` for settings: it does not say where they stand when they are refused."""
    registry, within = tyro.constructors.ConstructorRegistry(), []

    @registry.struct_rule
    def unbuilt(info: tyro.constructors.StructTypeInfo) -> tyro.constructors.StructConstructorSpec | None:
        if within or not (inspect.isclass(info.type) and issubclass(info.type, Settings)):
            return None
        within.append(info)  # Tyro's own rule for a dataclass is asked for its flags.
        spec = registry.get_struct_spec(info)
        within.clear()
        assert isinstance(spec, tyro.constructors.StructConstructorSpec)
        return dataclasses.replace(spec, instantiate=functools.partial(functools.partial, info.type))

    return registry


def _built(unbuilt: functools.partial, path: str = "--") -> Any:
    """The configuration of tyro's values. A message that names a field is given the whole flag instead."""
    values = {
        name: _built(value, f"{path}{name}.") if isinstance(value, functools.partial) else value
        for name, value in unbuilt.keywords.items()
    }
    try:
        return unbuilt.func(**values)
    except InputError as error:
        named = re.sub(rf"`({'|'.join(values)})\b", lambda found: f"`{path}{found[1]}", str(error))
        raise InputError(re.sub("`--[^`]*`", lambda flag: flag[0].replace("_", "-"), named)) from None


def _refuse_ignored(config: Settings, default: Settings, path: str = "--") -> None:
    """Raises `InputError` where a flag changed what has no effect, see `Settings.ignored`."""
    for name, reason in config.ignored().items():
        if getattr(config, name) != getattr(default, name):
            flag = f"{path}{name}".replace("_", "-")
            raise InputError(f"`{flag}` has no effect {reason}: leave it out.")
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if isinstance(value, Settings):
            _refuse_ignored(value, getattr(default, field.name), f"{path}{field.name}.")


def exit_code(call: Callable, prog: str | None = None) -> int:
    """Calls, and turns the outcome into an exit code: 0 (or the int returned), 2 bad input, 130 interrupted."""
    try:
        code = call()
        return code if isinstance(code, int) else 0
    except SystemExit as stop:  # tyro has printed the help, or what is wrong with which flag.
        return stop.code if isinstance(stop.code, int) else 2
    except InputError as error:
        print(f"{prog or 'age-keras'}: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nInterrupted. Completed work is saved; re-run the command to resume.", file=sys.stderr)
        return 130
    except BrokenPipeError:  # `age-keras ... | head`
        sys.stderr.close()
        return 0


def _overview() -> str:
    lines = [f"age-keras {age_keras.__version__}: {age_keras.__doc__}", "", "Commands (each takes --help):"]
    for name, file in command_names().items():
        doc = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
        lines.append(f"  {name:<20} {doc.splitlines()[0] if doc else ''}")
    return "\n".join([*lines, "", "Experiments: python -m experiments.<name> --help"])
