"""The frozen phase of all folds in one pass: on a frozen backbone, the heads of all folds are columns of one matrix.

The folds then share each batch, in one order over all pages, where separate fits have an order of their own; the
results agree within the noise of that order, not to the last bit. So it is a setting of the protocol
(`training.batched_heads`), not of the machine: without the prefix cache the same heads see the same batches, whose
features are then computed anew in each epoch.
"""

import hashlib
import json
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from age_keras.config.age import AgeConfig, PhaseConfig
from age_keras.config.serialization import to_dict
from age_keras.files import atomic_write
from age_keras.prefix import FeatureCache
from age_keras.training.feeds import PhaseFeatures
from age_keras.training.heads.linear import HeadSettings, LinearHeads, TrainedHead
from age_keras.training.model_pool import ModelPool
from age_keras.training.phases import PhasePlan
from age_keras.training.protocol import Part, machine, writer_ages
from age_keras.training.study import Study


def can_batch(config: AgeConfig) -> bool:
    """Whether the frozen phase of this configuration trains a linear head with Adam on features."""
    phase = config.training.frozen
    return (
        config.training.batched_heads
        and phase.epochs > 0
        and phase.unfreeze == 0
        and config.model.head == "regression"
        and phase.optimizer == "adam"
        and phase.clip_norm == 0
        and config.training.mix == "none"
        and config.runtime.strategy == "none"
    )


def alike(first: AgeConfig, second: AgeConfig) -> bool:
    """Whether the heads of two configurations see the same batches of the same features, and can train together.

    They may differ in the head's dropout, loss, learning rate, schedule and patience, and in all of the second phase.
    """
    return can_batch(first) and can_batch(second) and _shared(first) == _shared(second)


def train_heads(
    study: Study, config: AgeConfig, parts: Sequence[Part], pool: ModelPool | None = None
) -> list[TrainedHead] | None:
    """Trains the heads of several parts together, or reads them where this run has trained them already.

    Args:
        study: whose patches, and whose run keeps the heads.
        config: with the backbone set.
        parts: the folds.
        pool: keeps the network that makes the features.

    Returns:
        A head for each part; None where this configuration's head is not linear in a frozen backbone's features.
    """
    if study.run is None or not can_batch(config):
        alone = train_all_heads(study, [config], parts, pool)
        return alone[0] if alone else None
    kept, key = study.run.file("state", f"{config.backbone}.heads.npz"), heads_key(study, config, parts)
    heads = load_heads(kept, key)
    if heads is None and (trained := train_all_heads(study, [config], parts, pool)):
        heads = trained[0]
        save_heads(kept, key, heads)
    return heads


def train_all_heads(
    study: Study, configs: Sequence[AgeConfig], parts: Sequence[Part], pool: ModelPool | None = None
) -> list[list[TrainedHead]] | None:
    """Trains the heads of several parts and several configurations together, each as without the others.

    Args:
        study: whose patches.
        configs: `alike`.
        parts: the folds.
        pool: keeps the network that makes the features.

    Returns:
        For each configuration, a head for each part; None where they are not linear in a frozen backbone's features.
    """
    config, store, runtime = configs[0], study.data.store, configs[0].runtime
    if not can_batch(config):
        return None
    with machine(config):
        count, side, _, channels = store.patches.shape
        plan = PhasePlan((pool or ModelPool()).get(config, side, channels), config, count)
        phase, name = plan.phases[0], plan.age.spec.name
        if phase.cut.prefix is None or phase.views is None or [len(t.shape) for t in phase.cut.boundary] != [1]:
            return None
        learn = [part.learn[store.page] for part in parts]
        choose = [part.choose[store.page] for part in parts]
        cache = FeatureCache(dtype=runtime.prefix_precision, computed_in=runtime.prefix_compute)
        learned, chosen = (np.flatnonzero(np.any(masks, axis=0)) for masks in (learn, choose))
        wanted = PhaseFeatures(cache, store, config, learned, chosen, f"{name}: frozen layers")
        features = wanted.of(phase, plan.ahead(phase)) if plan.caches(phase) else None
        copies, plain = features or wanted.live(phase)
    weights = 1.0 if study.data.weights is None else study.data.weights
    heads = [
        _settings(study, each, part, weights * mask, chosen, block)
        for block, each in enumerate(configs)
        for part, mask, chosen in zip(parts, learn, choose, strict=True)
    ]
    trained = LinearHeads(heads).fit(
        copies,
        plain,
        study.data.targets,
        store.keys,
        epochs=phase.settings.epochs,
        batch_size=config.training.batch_size,
        views=phase.views,
        seed=config.seed,
        shuffle=config.training.shuffle,
        label="" if features else f"{name}: heads",  # With features at hand an epoch takes no time.
    )
    return [trained[first : first + len(parts)] for first in range(0, len(trained), len(parts))]


def _settings(
    study: Study, config: AgeConfig, part: Part, train: np.ndarray, validate: np.ndarray, block: int
) -> HeadSettings:
    return HeadSettings(
        train=train,
        validate=validate,
        phase=config.training.frozen,
        loss=config.model.loss,
        dropout=config.model.dropout,
        seed=config.seed,
        bias=writer_ages(study.table, part)[0],
        block=block,
    )


def _shared(config: AgeConfig) -> AgeConfig:
    """A configuration without what heads that train together may differ in."""
    frozen = PhaseConfig(epochs=config.training.frozen.epochs, learning_rate=1.0)
    training = replace(config.training, frozen=frozen, fine_tune=replace(frozen, epochs=0))
    return replace(config, model=replace(config.model, dropout=0.0, loss="mae"), training=training)


def heads_key(study: Study, config: AgeConfig, parts: Sequence[Part]) -> str:
    """What heads depend on: the configuration, but not the number of workers; the patches; the parts."""
    runtime = replace(config.runtime, workers=1)
    settings = [config.backbone, *(to_dict(each) for each in (config.model, config.pages, config.training, runtime))]
    key = hashlib.sha256(json.dumps([*settings, config.seed], sort_keys=True).encode())
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
