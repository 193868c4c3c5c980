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

    def setting(self, *keys: str) -> Any:
        """A setting of config.json, such as `setting("training", "shuffle")`; None where the run recorded none."""
        value: Any = self.config
        for key in keys:
            value = value.get(key) if isinstance(value, dict) else None
        return value

    @property
    def bands(self) -> tuple[float, ...] | None:
        """The edges of the age bands that the run was split by, in years; None where it recorded none."""
        bands = self.setting("bands")
        return None if bands is None else tuple(bands)

    @property
    def synthetic(self) -> bool:
        """Whether the run recorded that its pages are synthetic."""
        return self.environment.get("synthetic") is True

    @property
    def skipped(self) -> list[tuple[str, str]]:
        """The pages that the run left out, and why."""
        return [(str(page), str(reason)) for page, reason in self.environment.get("skipped", ())]


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
