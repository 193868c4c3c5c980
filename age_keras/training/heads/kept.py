"""Heads that were trained together, in a file of the run: a resumed run and its other processes read them there."""

import hashlib
import json
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from age_keras.config.age import AgeConfig
from age_keras.config.serialization import to_dict
from age_keras.files import atomic_write
from age_keras.training.heads.linear import TrainedHead
from age_keras.training.protocol import Part
from age_keras.training.study import Study


def heads_key(study: Study, config: AgeConfig, parts: Sequence[Part]) -> str:
    """What heads depend on: the configuration, but not the number of workers; the patches; the parts."""
    runtime = replace(config.runtime, workers=1)
    settings = [config.backbone, config.model, config.pages, config.training, runtime, config.seed]
    key = hashlib.sha256(json.dumps([to_dict(each) for each in settings], sort_keys=True).encode())
    data = study.data
    arrays = [data.store.keys, data.store.page, data.targets, data.weights]
    for array in [*arrays, *(mask for part in parts for mask in (part.learn, part.choose, part.score))]:
        key.update(b"none" if array is None else np.ascontiguousarray(array).tobytes())
    return key.hexdigest()


def save_heads(path: Path, key: str, heads: Sequence[TrainedHead]) -> None:
    """Writes heads into one `.npz`, atomically."""
    arrays = {f"{name}_{i}": getattr(head, name) for i, head in enumerate(heads) for name in ("kernel", "bias")}
    facts = {"key": key, "heads": [{"best_epoch": head.best_epoch, "history": head.history} for head in heads]}
    with atomic_write(path, "wb") as file:
        np.savez(file, facts=np.array(json.dumps(facts, default=float)), **arrays)


def load_heads(path: Path, key: str) -> list[TrainedHead] | None:
    """The heads of this key; None where the file is missing, broken or of other heads."""
    try:
        with np.load(path) as data:
            facts = json.loads(data["facts"].item())
            if facts["key"] != key:
                return None
            return [TrainedHead(data[f"kernel_{i}"], data[f"bias_{i}"], **own) for i, own in enumerate(facts["heads"])]
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile):
        return None
