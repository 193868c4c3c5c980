"""How an age model is trained: phases, what chooses the epoch, batches, augmentation, and the machine."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from age_keras.bands import BAND_EDGES, check_edges
from age_keras.config.columns import ColumnNames
from age_keras.config.model import ModelConfig
from age_keras.config.pages import PageSettings
from age_keras.errors import InputError


@dataclass(frozen=True)
class PhaseConfig:
    """One phase of training.

    Attributes:
        epochs: at most; 0 leaves the phase out.
        learning_rate: at its start (after warm-up).
        unfreeze: fraction of the backbone's layers that train, counted from the top, in [0, 1]; 0 trains the head
            alone.
        optimizer: `adam`, `adamw` (with `weight_decay`) or `sgd` (Nesterov momentum 0.9).
        schedule: `plateau` (times `plateau_factor` after `plateau_patience` epochs without progress), `cosine` (half a
            cosine to zero at the end of the last epoch; each epoch has the rate of its start) or `constant`.
        weight_decay: of `adamw`.
        warmup: epochs of linear growth of the learning rate from a tenth; whole number.
        layer_decay: factor on the learning rate for each block further from the head; 1 leaves it out (BEiT,
            arXiv:2106.08254, uses 0.65 to 0.9).
        stop_patience: epochs without progress until the phase stops.
        plateau_patience, plateau_factor: see `schedule`.
        clip_norm: largest global norm of a gradient; 0 leaves it out.
    """

    epochs: int
    learning_rate: float
    unfreeze: float = 0.0
    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    schedule: Literal["plateau", "cosine", "constant"] = "plateau"
    weight_decay: float = 0.0
    warmup: int = 0
    layer_decay: float = 1.0
    stop_patience: int = 10
    plateau_patience: int = 5
    plateau_factor: float = 0.1
    clip_norm: float = 0.0

    def __post_init__(self):
        if self.epochs < 0:
            raise InputError(f"`epochs` must not be negative. Received: epochs={self.epochs}.")
        if not self.learning_rate > 0:
            raise InputError(f"`learning_rate` must be positive. Received: learning_rate={self.learning_rate}.")
        if not 0 <= self.unfreeze <= 1:
            raise InputError(f"`unfreeze` is a fraction of the layers, in [0, 1]. Received: unfreeze={self.unfreeze}.")


@dataclass(frozen=True)
class TrainingConfig:
    """The protocol.

    Attributes:
        frozen: The first phase, which trains the head on the frozen backbone.
        fine_tune: The second phase, which starts from the best epoch of the first.
        selection: what chooses the epoch: `inner`, a writer-disjoint part of the training data; or `published`, the
            very part that is scored, as the study did in cross-validation (its error is then too small).
        selection_fraction: fraction of the training pages that choose the epoch where the split has no validation part.
        batch_size: patches a step.
        shuffle: patches of the whole training set, anew each epoch; the study did not.
        augment: `none`, `published` or `handwriting`.
        strength: factor on the augmentation's ranges.
        views: augmented copies a patch, another one each epoch; `inf` makes a new one each epoch and so caches nothing;
            `auto` takes what the frozen prefix can compute in about the time of the epochs that use it, and at most
            what fits 16 GB.
        mix: batch policy: `none`, `c_mixup` (arXiv:2210.05775) or `regmixup` (arXiv:2206.14502).
        batched_heads: train the frozen phase of all folds of a cross-validation as one batched model: many times
            faster, with batches that the folds share.
        rare_ages: weights: `none`, or `lds`, label distribution smoothing (arXiv:2102.09554).
    """

    frozen: PhaseConfig = field(default_factory=lambda: PhaseConfig(epochs=50, learning_rate=1e-3))
    fine_tune: PhaseConfig = field(default_factory=lambda: PhaseConfig(epochs=10, learning_rate=1e-4, unfreeze=0.25))
    selection: Literal["inner", "published"] = "inner"
    selection_fraction: float = 0.15
    batch_size: int = 32
    shuffle: bool = True
    augment: Literal["none", "published", "handwriting"] = "handwriting"
    strength: float = 1.0
    views: int | Literal["inf", "auto"] = "auto"
    mix: Literal["none", "c_mixup", "regmixup"] = "none"
    rare_ages: Literal["none", "lds"] = "none"
    batched_heads: bool = False

    def __post_init__(self):
        if self.batch_size < 1:
            raise InputError(f"`batch_size` must be at least 1. Received: batch_size={self.batch_size}.")
        if not 0 < self.selection_fraction < 1:
            raise InputError(
                f"`selection_fraction` must lie in (0, 1). Received: selection_fraction={self.selection_fraction}."
            )
        if isinstance(self.views, int) and self.views < 1:
            raise InputError(f"`views` must be at least 1, `inf` or `auto`. Received: views={self.views}.")
        if self.frozen.epochs + self.fine_tune.epochs == 0:
            raise InputError("Both phases have 0 epochs: give `frozen.epochs` or `fine_tune.epochs`.")


@dataclass(frozen=True)
class RuntimeConfig:
    """The machine's side: none of this changes what is learnt beyond rounding.

    Attributes:
        precision: `float32`, `mixed_float16` (GPUs) or `mixed_bfloat16` (TPUs, newer GPUs and CPUs).
        xla: compile the training step with XLA.
        strategy: `none`, or `mirrored` for all GPUs of this machine (`tf.distribute.MirroredStrategy`).
        prefix_cache: compute the frozen part of the network once; the results are the same without, within rounding.
        prefix_precision: in which its features are kept: `float32`, `float16` or `bfloat16`.
        prefix_compute: in which the frozen part is computed: `float32`, exactly as the model does, or, about twice as
            fast, `bfloat16` (processors with AVX512-BF16 or AMX) or `float16` (GPUs). What that costs is measured and
            reported; where it is too much, or the machine does not have it, float32 is used.
        save_every: seconds between saved states of a running phase.
        tensorboard: write TensorBoard's logs.
        workers: trainings (folds, backbones) at a time, each in a process of its own: 1 for one after the other, 0 for
            one a GPU or one for every two cores; unless it is 1, and RAY_ADDRESS names a Ray cluster, they run on that.
    """

    precision: Literal["float32", "mixed_float16", "mixed_bfloat16"] = "float32"
    xla: bool = False
    strategy: Literal["none", "mirrored"] = "none"
    prefix_cache: bool = True
    prefix_precision: Literal["float32", "float16", "bfloat16"] = "float32"
    prefix_compute: Literal["float32", "float16", "bfloat16"] = "float32"
    save_every: float = 60.0
    tensorboard: bool = True
    workers: int = 1

    def __post_init__(self):
        if self.workers < 0:
            raise InputError(f"`workers` must not be negative. Received: workers={self.workers}.")


@dataclass(frozen=True)
class AgeConfig:
    """An experiment on the age of writers: data, split, backbones, protocol, machine.

    Attributes:
        data: folder of pages with ages; none makes a synthetic cohort.
        synthetic_writers: of that cohort.
        labels: the label file, where it is not found by itself.
        columns: its columns, where they do not have the usual names.
        source: keep only the pages whose `Source` is one of these.
        skip_bad: leave out pages with errors, and record them, instead of stopping.
        backbones: one model each (`age-keras backbones list` shows the names).
        model: what every model is, besides its backbone.
        pages: how pages become patches.
        training: the protocol.
        runtime: the machine's side.
        validation, test: fractions of the pages, where the table has no split.
        use_split: take the table's split where it has one.
        bands: upper ends of the age bands, in years.
        seed: of split, weights, order, augmentation.
        runs: folder of all runs.
        run: name of the run; a hash of the configuration by default.
        fresh: start over instead of going on.
    """

    data: Path | None = None
    synthetic_writers: int = 120
    labels: Path | None = None
    columns: ColumnNames = field(default_factory=ColumnNames)
    source: tuple[str, ...] = ()
    skip_bad: bool = False
    backbones: tuple[str, ...] = ("resnet50",)
    model: ModelConfig = field(default_factory=ModelConfig)
    pages: PageSettings = field(default_factory=lambda: PageSettings(image_size=224))
    training: TrainingConfig = field(default_factory=TrainingConfig)
    runtime: RuntimeConfig = field(default_factory=RuntimeConfig)
    validation: float = 0.15
    test: float = 0.15
    use_split: bool = True
    bands: tuple[float, ...] = BAND_EDGES
    seed: int = 0
    runs: Path = Path("runs")
    run: str | None = None
    fresh: bool = False

    def __post_init__(self):
        check_edges(self.bands)

    @property
    def backbone(self) -> str:
        """The backbone of a configuration of one model, see `with_backbone`."""
        (name,) = self.backbones
        return name
