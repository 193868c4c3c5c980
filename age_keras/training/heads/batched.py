"""Phase 1 of all folds in one pass: with the backbone frozen, the heads of all folds are columns of one matrix.

The folds then share each batch, in one order over all pages, where separate fits have an order of their own; the
results agree within the noise of that order, not to the last bit. So it is a setting of the protocol
(`training.batched_heads`), not of the machine: without the prefix cache the same heads see the same batches, whose
features are then computed anew in each epoch.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from age_keras.config.age import AgeConfig, PhaseConfig
from age_keras.models.age import unfreeze
from age_keras.prefix.cache.cache import FeatureCache
from age_keras.training.copies import choose_views, cut_ahead
from age_keras.training.heads.kept import heads_key, load_heads, save_heads
from age_keras.training.heads.linear import HeadSettings, LinearHeads, TrainedHead
from age_keras.training.model_pool import ModelPool
from age_keras.training.phase_features import Cut, PhaseFeatures
from age_keras.training.protocol import Part, choosing_pages, machine, writer_ages
from age_keras.training.study import Study


def can_batch(config: AgeConfig) -> bool:
    """Whether phase 1 of this configuration is a linear head that Adam trains on features of a frozen backbone."""
    head = config.training.frozen
    return (
        config.training.batched_heads
        and head.epochs > 0
        and head.unfreeze == 0
        and config.model.head == "regression"
        and head.optimizer == "adam"
        and head.schedule in ("plateau", "constant")
        and head.warmup == 0
        and head.clip_norm == 0
        and config.training.mix == "none"
        and config.runtime.strategy == "none"
    )


def alike(first: AgeConfig, second: AgeConfig) -> bool:
    """Whether the heads of two configurations see the same batches of the same features, and can train together.

    They may differ in the head's dropout, loss, learning rate and patience, and in all of phase 2.
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
        heads = train_all_heads(study, [config], parts, pool)
        return heads and heads[0]
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
    config, pool = configs[0], pool or ModelPool(keep=False)
    if not can_batch(config):
        return None
    store, training, phase = study.data.store, config.training, config.training.frozen
    with machine(config):
        model = pool.build(config, store.patches.shape[1], store.patches.shape[-1], 0.0, 1.0)
        ahead = pool.ahead(model, config, phase)
        unfreeze(model, 0.0)
        split = pool.split(model, phase)
        views = choose_views(training, phase, split, len(store.patches))
        if split.prefix is None or views is None or [len(tensor.shape) for tensor in split.boundary] != [1]:
            return None
        learn = [part.learn[store.page] for part in parts]
        choose = [choosing_pages(config, part)[store.page] for part in parts]
        cache = FeatureCache(dtype=config.runtime.prefix_precision, computed_in=config.runtime.prefix_compute)
        learned, chosen = (np.flatnonzero(np.any(masks, axis=0)) for masks in (learn, choose))
        wanted = PhaseFeatures(cache, store, config, learned, chosen, f"{model.spec.name}: frozen layers")
        cut, features = Cut(split, views), None
        if config.runtime.prefix_cache:
            features = wanted.of(cut, cut_ahead(config, phase, ahead, len(store.patches)))
        copies, plain = features or wanted.live(cut)
    pool.give_back()
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
        epochs=phase.epochs,
        batch_size=training.batch_size,
        views=views,
        seed=config.seed,
        shuffle=training.shuffle,
        label="" if features else f"{model.spec.name}: heads",  # With features at hand an epoch takes no time.
    )
    return [trained[first : first + len(parts)] for first in range(0, len(trained), len(parts))]


def _settings(
    study: Study, config: AgeConfig, part: Part, train: np.ndarray, validate: np.ndarray, block: int
) -> HeadSettings:
    phase = config.training.frozen
    return HeadSettings(
        train=train,
        validate=validate,
        loss=config.model.loss,
        learning_rate=phase.learning_rate,
        dropout=config.model.dropout,
        seed=config.seed,
        bias=writer_ages(study.table, part)[0],
        patience=phase.stop_patience,
        reduce_patience=phase.plateau_patience if phase.schedule == "plateau" else None,
        reduce_factor=phase.plateau_factor,
        block=block,
    )


def _shared(config: AgeConfig) -> AgeConfig:
    """A configuration without what heads that train together may differ in."""
    frozen = PhaseConfig(epochs=config.training.frozen.epochs, learning_rate=1.0)
    training = replace(config.training, frozen=frozen, fine_tune=replace(frozen, epochs=0))
    return replace(config, model=replace(config.model, dropout=0.0, loss="mae"), training=training)
