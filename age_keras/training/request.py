"""What can be said of a request before any page is read, drawn or cut: names, sizes, files, folders. Loads no Keras."""

import dataclasses
import os
from pathlib import Path

import pandas as pd

from age_keras.backbones.registry import get_spec
from age_keras.config.age import AgeConfig, CrossValidationConfig
from age_keras.data.splits import check_fold_column
from age_keras.data.table.gather import gather
from age_keras.errors import InputError


def check_request(config: AgeConfig) -> None:
    """Refuses what cannot be done.

    Args:
        config: The experiment's configuration.

    Raises:
        InputError: A file or folder does not exist, a backbone is unknown or cannot be built as asked for, or the
            folder of the runs cannot be written.
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
    existing = next(folder for folder in (config.runs.absolute(), *config.runs.absolute().parents) if folder.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK):
        raise InputError(f"The runs' folder {config.runs} cannot be made: choose another with --runs.")


def check_labels(config: AgeConfig) -> None:
    """Reads the labels table of the pages that are given, so that a wrong column is named before Keras starts.

    Raises:
        InputError: The table cannot be read, or lacks a column that is named.
    """
    if config.data is not None:
        pages = gather(config.data, config.labels, config.columns)
        check_columns(config, pages.table, pages.labels or config.data)


def check_columns(config: AgeConfig, table: pd.DataFrame, source: Path) -> None:
    """Raises `InputError` where a table of pages lacks the column of the folds."""
    if isinstance(config, CrossValidationConfig) and config.folds.column is not None:
        check_fold_column(table, config.folds.column, source)


def size_remarks(config: AgeConfig) -> list[str]:
    """A sentence for each backbone whose published weights were trained at another size than the patches have."""
    side = config.pages.side
    return [
        f"{name} was pretrained on images of {get_spec(name).image_size} pixels; here it sees {side} "
        "(--pages.image-size)."
        for name in config.backbones
        if config.model.weights != "none" and get_spec(name).image_size != side
    ]
