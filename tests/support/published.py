"""What the tests of the transformers share: random pixels, and the published networks' outputs to compare with."""

import json
from pathlib import Path

import keras
import numpy as np

from age_keras.backbones import build_backbone
from age_keras.backbones.checkpoints.torch_checkpoint import read_checkpoint
from age_keras.backbones.checkpoints.torch_weights import load_torch_weights


def pixels(n: int, image_size: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, image_size, image_size, 3)).astype("float32")


def relative_difference(features, expected) -> float:
    """The largest difference, as a share of the largest feature."""
    return float(np.abs(np.asarray(features) - expected).max() / np.abs(expected).max())


def read_oracle(folder: Path, family: str) -> tuple[dict, dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """(architecture, weights by their published names, input, features) of the published network of a family."""
    path = folder / "oracles" / f"{family}.npz"
    with np.load(path) as file:
        x, features = file["input"], file["features"]
    return json.loads(path.with_suffix(".json").read_text()), read_checkpoint(path), x, features


def oracle_model(folder: Path, family: str, name: str, weight_map) -> tuple[keras.Model, np.ndarray, np.ndarray, dict]:
    """(our network with those weights, input, features, weights)."""
    facts, state, x, features = read_oracle(folder, family)
    config = {key: value for key, value in facts["config"].items() if key not in ("resolution", "num_classes")}
    model = build_backbone(name, facts["image_size"], preprocessing="none", **config)
    load_torch_weights(model, state, weight_map)
    return model, x, features, state
