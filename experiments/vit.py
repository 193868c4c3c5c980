"""Vision transformers on a hold-out split: SwinV2, MobileViT and BEiT next to the constants.

    python -m experiments.vit --data DIR

The study's transformers, native in Keras 3, with the published weights, at the learning rates that suit
transformers: a warm-up, AdamW, layer-wise decay. The study's figures on HHD-Age's official split: MobileViT-XXS 2.79
years, SwinV2-Tiny 5.46; a constant of 15 years gives 2.65. Without a GPU:
--backbones mobilevit_xxs --model.weights none.
"""

import sys
from pathlib import Path

from age_keras.cli import run_experiment
from age_keras.config.age import HoldoutConfig, PhaseConfig, TrainingConfig
from age_keras.config.pages import PageSettings

TRANSFORMER_TRAINING = TrainingConfig(
    frozen=PhaseConfig(epochs=30, learning_rate=1e-3),
    fine_tune=PhaseConfig(
        epochs=15,
        learning_rate=5e-5,
        unfreeze=0.5,
        optimizer="adamw",
        weight_decay=0.05,
        schedule="cosine",
        warmup=2,
        layer_decay=0.75,
        clip_norm=1.0,
    ),
)


def get_config() -> HoldoutConfig:
    """Three families at 256 px, the size that SwinV2 and MobileViT were trained at."""
    return HoldoutConfig(
        backbones=("swinv2_tiny", "mobilevit_xxs", "beit_base"),
        pages=PageSettings(image_size=256),
        training=TRANSFORMER_TRAINING,
    )


def experiment(config: HoldoutConfig) -> Path:
    from experiments.train_and_report import on_holdout

    return on_holdout(config, "vit", "Age from handwriting: vision transformers")


if __name__ == "__main__":
    sys.exit(run_experiment(get_config, experiment))
