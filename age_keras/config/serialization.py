"""Typed, frozen configurations: to JSON, back again, and compared.

A configuration is a frozen dataclass of numbers, strings, paths, tuples and further configurations. The command line
derives its flags from the fields; a JSON file of it is checked key by key.
"""

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any, TypeVar

import pydantic

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
        cls: the configuration's class.
        values: as `to_dict` gives them.
        name: the file or section that the values come from, for the message.

    Raises:
        InputError: names the first unknown key or wrong type.
    """
    _refuse_unknown(cls, values, name)
    try:
        return pydantic.TypeAdapter(cls).validate_python(values)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise InputError(f"{name}: `{key}` is {first['input']!r}: {first['msg']}.") from None


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


def _refuse_unknown(cls: type, values: dict[str, Any], name: str) -> None:
    """Names the unknown key; pydantic ignores it in a plain dataclass."""
    known = {field.name: field.type for field in dataclasses.fields(cls)}
    for key, value in values.items():
        if key not in known:
            raise InputError(f"{name}: unknown key `{key}`; it takes {', '.join(known)}.")
        if dataclasses.is_dataclass(known[key]) and isinstance(value, dict):
            _refuse_unknown(known[key], value, f"{name}: {key}")
