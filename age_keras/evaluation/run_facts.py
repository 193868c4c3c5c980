"""What a run recorded beside its predictions; nothing for a bare table."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from age_keras.errors import InputError
from age_keras.predictions.labels import read_labels


@dataclass(frozen=True)
class RunFacts:
    """Attributes: `config` and `environment` (config.json, environment.json), `labels` (train_labels.csv, or None)."""

    config: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, Any] = field(default_factory=dict)
    labels: pd.DataFrame | None = None

    @property
    def bands(self) -> tuple[float, ...] | None:
        """The edges of the age bands that the run was split by, in years; None where it recorded none."""
        bands = self.config.get("bands")
        return None if bands is None else tuple(bands)

    @property
    def synthetic(self) -> bool:
        """Whether the run says anywhere that its pages are synthetic (`"synthetic": true`, `"data": "synthetic"`)."""
        return _says_synthetic(self.environment) or _says_synthetic(self.config)


def run_facts(path: str | Path) -> RunFacts:
    """Reads what stands in a run's folder; `path` may be a table of predictions, with no facts unless it is a run's."""
    path = Path(path)
    folder = path if path.is_dir() else path.parent if path.name == "predictions.csv" else None
    if folder is None:
        return RunFacts()
    labels = folder / "train_labels.csv"
    return RunFacts(
        _read(folder / "config.json"),
        _read(folder / "environment.json"),
        read_labels(labels) if labels.is_file() else None,
    )


def _read(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not valid JSON: {error}") from None
    return value if isinstance(value, dict) else {}


def _says_synthetic(value: Any) -> bool:
    if not isinstance(value, dict):
        return False
    return value.get("synthetic") is True or any(
        (key in ("data", "dataset", "cohort", "source") and v == "synthetic") or _says_synthetic(v)
        for key, v in value.items()
    )
