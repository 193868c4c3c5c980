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

import pandas as pd

from age_keras.cli import run_experiment
from age_keras.config.age import HoldoutConfig
from age_keras.config.pages import PageSettings
from age_keras.evaluation.report.stability import SPIKE, stability_figure, stability_table
from age_keras.evaluation.report.write import write_report
from age_keras.files import atomic_write
from age_keras.training.holdout import holdout_part
from age_keras.training.one_training import gather, train_one
from age_keras.training.study import open_study
from experiments.vit import TRANSFORMER_TRAINING


@dataclass(frozen=True)
class VariantsConfig(HoldoutConfig):
    """Transformers, steadied and plain.

    Attributes:
        plain: also fine-tune without warm-up, layer-wise decay and clipping.
    """

    plain: bool = True


def get_config() -> VariantsConfig:
    """Four families at 224 px."""
    return VariantsConfig(
        backbones=("tinyvit_5m", "fastervit_0", "convnextv2_atto", "vit_tiny_16"),
        pages=PageSettings(image_size=224),
        training=TRANSFORMER_TRAINING,
    )


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
    study = open_study(config, "vit_variants")
    steady = holdout_part(study)
    plain = replace(steady, label="plain", repeat="plain")
    rough = replace(config.training.fine_tune, warmup=0, layer_decay=1.0, clip_norm=0.0, schedule="constant")
    plain_study = study.with_config(replace(config, training=replace(config.training, fine_tune=rough)))
    trainings = []
    for backbone in config.backbones:
        for ground, part in ((study, steady), (plain_study, plain))[: 2 if config.plain else 1]:
            trainings.append((backbone, part))
            train_one(ground, backbone, part, f"[{len(trainings)}/{len(config.backbones) * (1 + config.plain)}]")
    gather(study, trainings)
    report = write_report(
        study.run.path, "Age from handwriting: further transformers", study.image, notes=study.notes()
    )
    history = pd.read_csv(study.run.path / "history.csv")
    history["model"] += ["-plain" if name == "plain" else "" for name in history["part"].fillna("")]
    fine_tuning = history[history["phase"] == "fine_tune"]
    if len(fine_tuning):
        stability_figure(fine_tuning, study.run.path / "figures" / "stability.png")
        text = report.read_text(encoding="utf-8")
        section = (
            f"\n## Stability of fine-tuning\n\n{_protocol(config)}\n\n{stability_table(fine_tuning)}\n\n"
            "![Learning rate, gradient norm and training loss](figures/stability.png)\n\n"
            "*Stability of fine-tuning.* Dashed: plain. The gradient's norm is that of an epoch's last step, before "
            f"clipping; a spike is an epoch whose loss is {SPIKE:g} times the lowest before it.\n"
        )
        with atomic_write(report) as file:
            file.write(text + section)
    return report


if __name__ == "__main__":
    sys.exit(run_experiment(get_config, experiment))
