"""Fields of a configuration that take one of a few names."""

import dataclasses
import typing
from typing import Any, Literal

from age_keras.errors import InputError


def refuse_unknown_names(config: Any) -> None:
    """Raises `InputError` where a field typed as `Literal` holds another value; the message names the field."""
    kinds = typing.get_type_hints(type(config))
    for field in dataclasses.fields(config):
        names, value = typing.get_args(kinds[field.name]), getattr(config, field.name)
        if typing.get_origin(kinds[field.name]) is Literal and value not in names:
            raise InputError(f"`{field.name}` must be one of {', '.join(names)}. Received: {field.name}={value!r}.")
