"""Further transformers, and how steadily each trains: gradient norms, loss spikes, warm-up, layer-wise decay.

    python -m experiments.vit_variants --data DIR

TinyViT, FasterViT, ConvNeXtV2 and keras-cv's ViT on a hold-out split, each fine-tuned twice: with warm-up, layer-wise
decay and clipping (`experiments.vit`), and plainly (constant rate, none of the three; models named `-plain`). The
report adds a table and a figure of gradient norms and spikes to the usual ones.
Without a GPU: --backbones tinyvit_5m --model.weights none --training.frozen.epochs 2.
"""

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from age_keras.cli import run_experiment
from age_keras.config.age import HoldoutConfig, PhaseConfig
from experiments.vit import TRANSFORMER_TRAINING

if TYPE_CHECKING:
    from age_keras.training.study import Study


@dataclass(frozen=True)
class VariantsConfig(HoldoutConfig):
    """Transformers, steadied and plain.

    Args:
        plain: Whether each backbone is also fine-tuned without warm-up, layer-wise decay and clipping.
            Defaults to True.
    """

    plain: bool = True


def get_config() -> VariantsConfig:
    """Four families at 224 px."""
    return VariantsConfig(
        backbones=("tinyvit_5m", "fastervit_0", "convnextv2_atto", "vit_tiny_16"),
        training=TRANSFORMER_TRAINING,
    )


def _without_help(phase: PhaseConfig) -> PhaseConfig:
    """A phase at a constant learning rate, without warm-up, layer-wise decay and clipping."""
    plain = PhaseConfig(phase.epochs, phase.learning_rate, schedule="constant")
    kept = {name: getattr(phase, name) for name in ("unfreeze", "optimizer", "weight_decay", "stop_patience")}
    return replace(plain, **kept)


def _protocol(config: VariantsConfig) -> str:
    """One sentence on what steadies, and what the plain models are trained without."""
    phase = config.training.fine_tune
    steady = (
        f"Steadied: {phase.warmup} epochs of warm-up to a learning rate of {phase.learning_rate:g}, then "
        f"{phase.schedule}; layer-wise decay {phase.layer_decay:g} a block; gradients clipped to a norm of "
        f"{phase.clip_norm:g}."
    )
    return f"{steady} Plain: a constant learning rate and none of these." if config.plain else steady


def experiment(config: VariantsConfig) -> Path:
    from age_keras.evaluation.report.write import write_report
    from age_keras.training.holdout import holdout_part
    from age_keras.training.one_training import gather
    from age_keras.training.study import open_study
    from age_keras.training.train_all import train_all

    study = open_study(config, "vit_variants")
    part = holdout_part(study)
    parts = [part]
    train_all(study, [part])
    if config.plain:
        parts.append(replace(part, label="plain", repeat="plain"))
        rough = replace(config, training=replace(config.training, fine_tune=_without_help(config.training.fine_tune)))
        train_all(study.with_config(rough), parts[1:])
    gather(study, [(backbone, part) for backbone in config.backbones for part in parts])
    title = "Age from handwriting: further transformers"
    return write_report(study.run.path, title, study.image, notes=study.notes(), sections=_stability(config, study))


def _stability(config: VariantsConfig, study: "Study") -> list[str]:
    """The section of the report on gradient norms and spikes; empty where nothing was fine-tuned."""
    import pandas as pd

    from age_keras.evaluation.report.stability import SPIKE, stability_figure, stability_table

    history = pd.read_csv(study.run.path / "history.csv")
    history["model"] += ["-plain" if name == "plain" else "" for name in history["part"].fillna("")]
    fine_tuning = history[history["phase"] == "fine_tune"]
    if fine_tuning.empty:
        return []
    stability_figure(fine_tuning, study.run.file("figures", "stability.png"))
    return [
        "## Stability of fine-tuning",
        _protocol(config),
        stability_table(fine_tuning),
        "![Learning rate, gradient norm and training loss](figures/stability.png)",
        "*Stability of fine-tuning.* Dashed: plain. The gradient's norm is that of an epoch's last step, before "
        f"clipping; a spike is an epoch whose loss is {SPIKE:g} times the lowest before it.",
    ]


if __name__ == "__main__":
    sys.exit(run_experiment(get_config, experiment))
