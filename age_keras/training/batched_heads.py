"""Phase 1 of all folds in one pass: with the backbone frozen, the heads of all folds are columns of one matrix.

The folds then share each batch, in one order over all pages, where separate fits have an order of their own; the
results agree within the noise of that order, not to the last bit. So it is a setting of the protocol
(`training.batched_heads`), not of the machine.
"""

from collections.abc import Sequence

import numpy as np

from age_keras.data.augment import get_policy
from age_keras.models.age import build_age_model, unfreeze
from age_keras.training.age_config import AgeConfig
from age_keras.training.feature_cache import FeatureCache
from age_keras.training.feeds import choose_views
from age_keras.training.linear_heads import HeadSettings, LinearHeads, TrainedHead
from age_keras.training.prefix import split_model
from age_keras.training.protocol import Part, choosing_pages, machine, writer_ages
from age_keras.training.study import Study


def can_batch(config: AgeConfig) -> bool:
    """Whether phase 1 of this configuration is a linear head that Adam trains on cached features."""
    head = config.training.head
    return (
        config.training.batched_heads
        and head.epochs > 0
        and config.model.head == "regression"
        and head.optimizer == "adam"
        and head.schedule in ("plateau", "constant")
        and head.warmup == 0
        and head.clip_norm == 0
        and config.training.mix == "none"
        and config.runtime.prefix_cache
        and config.runtime.strategy == "none"
    )


def train_heads(study: Study, config: AgeConfig, parts: Sequence[Part]) -> list[TrainedHead] | None:
    """Trains the heads of several parts together.

    Args:
        study: whose patches.
        config: with the backbone set.
        parts: the folds.

    Returns:
        A head for each part; None where this configuration's head is not linear in cached features.
    """
    if not can_batch(config):
        return None
    store, training, phase = study.data.store, config.training, config.training.head
    with machine(config):
        model = build_age_model(config.model, store.patches.shape[1], store.patches.shape[-1], seed=config.seed)
        unfreeze(model, 0.0)
        split = split_model(model.trained)
        views = choose_views(training, phase, split)
        if split.prefix is None or views is None or [len(tensor.shape) for tensor in split.boundary] != [1]:
            return None
        learn = [part.learn[store.page] for part in parts]
        choose = [choosing_pages(config, part)[store.page] for part in parts]
        cache = FeatureCache(dtype=config.runtime.prefix_precision)
        policy, label = get_policy(training.augment, training.strength), f"{model.spec.name}: frozen layers"
        rows = np.flatnonzero(np.any(learn, axis=0))
        copies = cache.features(split, store.patches, store.keys, range(views), policy, config.seed, label, rows)
        rows = np.flatnonzero(np.any(choose, axis=0))
        plain = cache.features(split, store.patches, store.keys, label=label, rows=rows) if copies else None
        if plain is None:
            return None
    weights = 1.0 if study.data.weights is None else study.data.weights
    heads = [
        HeadSettings(
            train=weights * mask,
            validate=chosen,
            loss=config.model.loss,
            learning_rate=phase.learning_rate,
            dropout=config.model.dropout,
            seed=config.seed,
            bias=writer_ages(study.table, part)[0],
            patience=phase.stop_patience,
            reduce_patience=phase.plateau_patience if phase.schedule == "plateau" else None,
            reduce_factor=phase.plateau_factor,
        )
        for part, mask, chosen in zip(parts, learn, choose, strict=True)
    ]
    return LinearHeads(heads).fit(
        copies,
        plain,
        study.data.targets,
        store.keys,
        epochs=phase.epochs,
        batch_size=training.batch_size,
        views=views,
        seed=config.seed,
        shuffle=training.shuffle,
    )
