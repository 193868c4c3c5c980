"""Typed, frozen configurations: to JSON, back again, and compared.

A configuration is a frozen dataclass of numbers, strings, paths, tuples and further configurations. The command line
derives its flags from the fields; a JSON file of it is checked key by key.
"""

import dataclasses
import hashlib
import json
import typing
from pathlib import Path
from typing import Any, TypeVar

from age_keras.errors import InputError

C = TypeVar("C")


def to_dict(config: Any) -> Any:
    """A configuration as JSON values: nested dictionaries, lists, numbers and strings."""
    if dataclasses.is_dataclass(config):
        return {f.name: to_dict(getattr(config, f.name)) for f in dataclasses.fields(config)}
    if isinstance(config, dict):
        return {key: to_dict(value) for key, value in config.items()}
    if isinstance(config, list | tuple):
        return [to_dict(value) for value in config]
    return str(config) if isinstance(config, Path) else config


def from_dict(cls: type[C], values: dict[str, Any], name: str = "configuration") -> C:
    """Builds a configuration from JSON values.

    Args:
        cls: The configuration's class.
        values: What `to_dict` gave.
        name: The file or section that the values come from, for the message. Defaults to "configuration".

    Raises:
        InputError: Names the first key that is unknown or missing, or whose value does not fit.
    """
    declared: Any = cls
    fields = {field.name: field for field in dataclasses.fields(declared)}
    for key in values:
        if key not in fields:
            raise InputError(f"{name}: unknown key `{key}`; it takes {', '.join(fields)}.")
    for key, field in fields.items():
        if key not in values and field.default is field.default_factory is dataclasses.MISSING:
            raise InputError(f"{name}: the key `{key}` is missing.")
    kinds, built = typing.get_type_hints(cls), {}
    for key, value in values.items():
        nested = dataclasses.is_dataclass(kinds[key]) and isinstance(value, dict)
        built[key] = from_dict(kinds[key], value, f"{name}: {key}") if nested else value
    try:
        return cls(**built)
    except InputError as error:
        raise InputError(f"{name}: {error}") from None


def digest(config: Any, length: int = 8) -> str:
    """A short hash of a configuration: the same values give the same name."""
    text = json.dumps(to_dict(config), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:length]


def differences(old: Any, new: Any, prefix: str = "") -> list[str]:
    """The keys in which two JSON values differ, as `key: old -> new`."""
    if isinstance(old, dict) and isinstance(new, dict):
        keys = [*old, *(key for key in new if key not in old)]
        return [line for key in keys for line in differences(old.get(key), new.get(key), f"{prefix}{key}.")]
    return [] if old == new else [f"{prefix.rstrip('.')}: {old!r} -> {new!r}"]
