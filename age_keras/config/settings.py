"""Settings that are checked where they are built: from the command line, from JSON, and from Python alike.

    @dataclass(frozen=True)
    class Phase(Settings):
        epochs: Annotated[int, Ge(0)]
        optimizer: Literal["adam", "sgd"] = "adam"

    Phase(epochs=-1)  # InputError: `epochs` must be a whole number of at least 0. Received: epochs=-1.

The annotation of a field is all that is said about its values, in the vocabulary of `annotated_types`. What depends on
several fields is checked in the class's own `__post_init__`, after `super().__post_init__()`.
"""

import contextlib
import dataclasses
import functools
import math
import numbers
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, GroupedMetadata, Gt, Interval, Le, Lt, MinLen, Predicate

from age_keras.errors import InputError


def _distinct(values: tuple) -> bool:
    """without repetitions"""
    return len(set(values)) == len(values)


def _names_a_folder(name: str) -> bool:
    """naming one folder"""
    return Path(name).name == name and name not in ("", ".", "..")


Distinct = Predicate(_distinct)
FolderName = Annotated[str, Predicate(_names_a_folder)]
Fraction = Annotated[float, Interval(ge=0, le=1)]
Count = Annotated[int, Ge(0)]
AtLeastOne = Annotated[int, Ge(1)]
Positive = Annotated[float, Gt(0)]
# What numpy, Keras and TensorFlow all take as a seed, with room for the numbers of folds and repeats.
Seed = Annotated[int, Interval(ge=0, lt=2**31)]


@dataclasses.dataclass(frozen=True)
class Settings:
    """Base of every configuration, a frozen dataclass. A list becomes a tuple, a text a path, where these are declared.

    Raises:
        InputError: A value lies outside what its field's annotation allows; the message names the field.
    """

    def __post_init__(self):
        own: Any = type(self)
        for name, kind in kinds(own).items():
            object.__setattr__(self, name, checked(name, getattr(self, name), kind))

    def refuse_unused(self, reason: str, *names: str) -> None:
        """Refuses settings that would be ignored.

        Args:
            reason: Why they have no effect, such as "with optimizer=sgd".
            *names: The fields. One that has its default is nobody's wish and passes.

        Raises:
            InputError: One of them was changed.
        """
        for field in dataclasses.fields(self):
            if field.name in names:
                make, value = field.default_factory, getattr(self, field.name)
                default = field.default if make is dataclasses.MISSING else make()
                if value != default:
                    raise InputError(
                        f"`{field.name}` has no effect {reason}: set it to {default}. Received: {field.name}={value}."
                    )

    def ignored(self) -> dict[str, str]:
        """Fields that have no effect beside the others, each with the reason, such as "with augment=False".

        The command line refuses a flag that changes one. This is for fields that experiments give defaults of their
        own, which cannot be compared with the class's: otherwise see `refuse_unused`.
        """
        return {}


@functools.cache
def kinds(of: Any) -> dict[str, Any]:
    """The annotations of a dataclass's fields, or of a function's parameters."""
    hints = typing.get_type_hints(of, include_extras=True)
    return {f.name: hints[f.name] for f in dataclasses.fields(of)} if dataclasses.is_dataclass(of) else hints


def checked(name: str, value: Any, kind: Any) -> Any:
    """A value in the form that its annotation declares. Raises `InputError`, naming it, where it does not fit."""
    try:
        return _fit(value, kind)
    except _MisfitError:
        raise InputError(f"`{name}` must be {_said(kind)}. Received: {name}={value!r}.") from None


class _MisfitError(Exception):
    """A value outside of its annotation."""


def _fit(value: Any, kind: Any) -> Any:
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        value = _fit(value, arguments[0])
        if all(_holds(value, rule) for rule in _rules(kind)):
            return value
    elif origin is Literal:
        if any(value == choice and type(value) is type(choice) for choice in arguments):
            return value
    elif origin in (Union, types.UnionType):
        for each in arguments:
            with contextlib.suppress(_MisfitError):
                return _fit(value, each)
    elif origin is tuple:
        if isinstance(value, tuple | list):
            return tuple(_fit(item, arguments[0]) for item in value)
    elif kind in (int, float):
        # bool is a number to Python, and never meant as one; numpy's numbers are.
        wanted = numbers.Integral if kind is int else numbers.Real
        with contextlib.suppress(OverflowError):  # A whole number that no float holds.
            if isinstance(value, wanted) and not isinstance(value, bool) and math.isfinite(value):
                return kind(value)
    elif kind is Path and isinstance(value, str):
        return Path(value)
    elif isinstance(value, kind):
        return value
    raise _MisfitError


def _rules(kind: Any) -> Iterator[Any]:
    """The rules of an annotation, those in a group one by one; other tools' remarks are passed over."""
    for rule in get_args(kind)[1:]:
        if isinstance(rule, GroupedMetadata):
            yield from rule
        elif isinstance(rule, Ge | Gt | Le | Lt | MinLen | Predicate):
            yield rule


def _holds(value: Any, rule: Any) -> bool:
    match rule:
        case Gt():
            return value > rule.gt
        case Ge():
            return value >= rule.ge
        case Lt():
            return value < rule.lt
        case Le():
            return value <= rule.le
        case MinLen():
            return len(value) >= rule.min_length
        case _:
            return rule.func(value)


def _said(kind: Any) -> str:
    """What an annotation allows, in words."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _said(arguments[0]) + _bounds(list(_rules(kind)), arguments[0])
    if origin is Literal:
        return f"one of {', '.join(map(str, arguments))}"
    if origin in (Union, types.UnionType):
        return " or ".join(map(_said, arguments))
    if origin is tuple:
        return f"a tuple whose items are each {_said(arguments[0])}"
    plain = {int: "a whole number", float: "a number", str: "a text", Path: "a path", bool: "True or False"}
    return "None" if kind is types.NoneType else plain.get(kind, f"a {getattr(kind, '__name__', kind)}")


def _bounds(rules: list[Any], kind: Any) -> str:
    """What the rules of an annotation add, such as ` in [0, 1)` or ` of at least 1`."""
    low = next((rule for rule in rules if isinstance(rule, Ge | Gt)), None)
    high = next((rule for rule in rules if isinstance(rule, Le | Lt)), None)
    least = f" of at least {low.ge}" if isinstance(low, Ge) else f" above {low.gt}" if low else ""
    if high and low:
        first = f"[{low.ge}" if isinstance(low, Ge) else f"({low.gt}"
        least = f" in {first}, {f'{high.le}]' if isinstance(high, Le) else f'{high.lt})'}"
    elif high:
        least = f" of at most {high.le}" if isinstance(high, Le) else f" below {high.lt}"
    for rule in rules:
        if isinstance(rule, MinLen):
            least += f", with at least {rule.min_length} item"
        elif isinstance(rule, Predicate):
            least += f", {rule.func.__doc__}"
    return least
