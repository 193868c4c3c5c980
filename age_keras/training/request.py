"""What can be said of a request before any page is read, drawn or cut: names, sizes, files, folders. Loads no Keras."""

import dataclasses
import os
from pathlib import Path

from age_keras.backbones.registry import get_spec
from age_keras.config.age import AgeConfig, CrossValidationConfig
from age_keras.data.table.gather import gather
from age_keras.errors import InputError


def check_request(config: AgeConfig) -> None:
    """Refuses what cannot be done.

    Args:
        config: The experiment's configuration.

    Raises:
        InputError: A file or folder does not exist, a backbone is unknown or cannot be built as asked for, or the
            folder of the runs cannot be written, or the labels lack a column that is named.
    """
    for field in dataclasses.fields(config):
        path = getattr(config, field.name)
        if isinstance(path, Path) and field.name != "runs" and not path.exists():
            flag = field.name.replace("_", "-")
            raise InputError(f"There is no {path}: give an existing file or folder. Received: --{flag} {path}.")
    for name in config.backbones:
        spec, model = get_spec(name), config.model
        spec.check_image_size(config.pages.side)
        if model.weights != "none":
            spec.check_weights(model.weights)
        if model.pooling == "class_token" and not spec.class_tokens:
            raise InputError(f"The backbone {name} has no class token: choose another `pooling` than class_token.")
        spec.check_options(["drop_path_rate"] if model.drop_path_rate else [])
    if config.data is not None:
        pages = gather(config.data, config.labels, config.columns)
        column = config.folds.column if isinstance(config, CrossValidationConfig) else None
        if column is not None and column not in pages.table:
            known = ", ".join(pages.table.columns)
            raise InputError(
                f"{pages.labels or config.data} has no column {column!r} for the folds: choose one of {known} with "
                "--folds.column."
            )
    existing = next(folder for folder in (config.runs.absolute(), *config.runs.absolute().parents) if folder.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK):
        raise InputError(f"The runs' folder {config.runs} cannot be made: choose another with --runs.")


def size_remarks(config: AgeConfig) -> list[str]:
    """A sentence for each backbone whose published weights were trained at another size than the patches have."""
    side = config.pages.side
    return [
        f"{name} was pretrained on images of {get_spec(name).image_size} pixels; here it sees {side} "
        "(--pages.image-size)."
        for name in config.backbones
        if config.model.weights != "none" and get_spec(name).image_size != side
    ]
