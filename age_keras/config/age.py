"""How an age model is trained: pages, split, phases, batches, augmentation, and the machine."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from annotated_types import Ge, Interval, MinLen
from tyro.conf import Fixed, Suppress

from age_keras.bands import BAND_EDGES, check_edges
from age_keras.config.columns import ColumnNames
from age_keras.config.model import ModelConfig
from age_keras.config.pages import PageSettings
from age_keras.config.settings import AtLeastOne, Count, Distinct, FolderName, Fraction, Positive, Seed, Settings
from age_keras.errors import InputError

Views = AtLeastOne | Literal["inf", "auto"]
SomePart = Annotated[float, Interval(gt=0, lt=1)]
# What `synthesize` draws.
Writers = Annotated[int, Interval(ge=5, le=20_000)]


@dataclass(frozen=True)
class PhaseConfig(Settings):
    """One phase of training.

    Args:
        epochs: Maximum number of epochs. 0 leaves the whole phase out.
        learning_rate: Learning rate at the start of the phase, after the warm-up.
        unfreeze: Fraction of the backbone's layers that are trained, counted from the top. 0 trains the head alone.
            Defaults to 0.
        optimizer: `adam`, `adamw` (with `weight_decay`) or `sgd` (with Nesterov momentum 0.9). Defaults to `adam`.
        schedule: `plateau` (the learning rate is multiplied by `plateau_factor` after `plateau_patience` epochs
            without progress), `cosine` (half a cosine to zero at the end of the last epoch; each epoch has the rate of
            its start) or `constant`. Defaults to `plateau`.
        weight_decay: Weight decay of `adamw`. Defaults to 0.
        warmup: Number of epochs, at most all, in which the learning rate rises linearly from a tenth. Defaults to 0.
        layer_decay: Factor on the learning rate for each block further from the head (BEiT, arXiv:2106.08254, uses
            0.65 to 0.9). Defaults to 1, the same rate for all.
        stop_patience: Number of epochs without progress after which the phase stops. Defaults to 10.
        plateau_patience: Number of epochs of the `plateau` schedule. Defaults to 5.
        plateau_factor: Factor of the `plateau` schedule. Defaults to 0.1.
        clip_norm: Maximum global norm of the gradient. Defaults to 0, no limit.
    """

    epochs: Count
    learning_rate: Positive
    unfreeze: Fraction = 0.0
    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    schedule: Literal["plateau", "cosine", "constant"] = "plateau"
    weight_decay: Annotated[float, Ge(0)] = 0.0
    warmup: Count = 0
    layer_decay: Annotated[float, Interval(gt=0, le=1)] = 1.0
    stop_patience: AtLeastOne = 10
    plateau_patience: AtLeastOne = 5
    plateau_factor: SomePart = 0.1
    clip_norm: Annotated[float, Ge(0)] = 0.0

    def __post_init__(self):
        super().__post_init__()
        if self.epochs == 0:
            return  # The phase is left out with all that it says.
        if self.warmup > self.epochs:
            raise InputError(
                f"`warmup` must be at most the number of epochs. Received: warmup={self.warmup}, epochs={self.epochs}."
            )
        if self.optimizer != "adamw":
            self.refuse_unused(f"with optimizer={self.optimizer}", "weight_decay")
        if self.schedule != "plateau":
            self.refuse_unused(f"with schedule={self.schedule}", "plateau_patience", "plateau_factor")
        if self.unfreeze == 0:
            self.refuse_unused("with unfreeze=0, which trains no layer of the backbone", "layer_decay")


@dataclass(frozen=True)
class TrainingConfig(Settings):
    """The training protocol.

    Args:
        frozen: The first phase, in which the backbone is frozen.
        fine_tune: The second phase, which continues from the best epoch of the first.
        batch_size: Number of patches per step. Defaults to 32.
        shuffle: Whether the patches are shuffled anew in each epoch; the published study did not. Defaults to True.
        augment: Augmentation of the patches: `none`, `published` or `handwriting`. Defaults to `handwriting`.
        strength: Factor on the ranges of the augmentation. Defaults to 1.
        views: Number of augmented copies of each patch, used in turn. `inf` makes a new copy in each epoch, so that
            nothing can be cached. `auto` takes as many as the frozen prefix computes in about the time of the epochs
            that use them, and at most what fits 16 GB. Defaults to `auto`; mixing always makes new copies.
        mix: Mixing of batches: `none`, `c_mixup` (arXiv:2210.05775) or `regmixup` (arXiv:2206.14502).
            Defaults to `none`.
        rare_ages: Weights for rare ages: `none`, or `lds`, label distribution smoothing (arXiv:2102.09554).
            Defaults to `none`.
        batched_heads: Whether the first phase of all folds trains as one batched model, which is many times faster
            and makes the folds share their batches. Applies where that phase is a linear head trained by Adam without
            clipping or mixing; otherwise the folds train one by one. Defaults to False.
    """

    frozen: PhaseConfig = field(default_factory=lambda: PhaseConfig(epochs=50, learning_rate=1e-3))
    fine_tune: PhaseConfig = field(default_factory=lambda: PhaseConfig(epochs=10, learning_rate=1e-4, unfreeze=0.25))
    batch_size: AtLeastOne = 32
    shuffle: bool = True
    augment: Literal["none", "published", "handwriting"] = "handwriting"
    strength: Annotated[float, Interval(ge=0, le=3)] = 1.0
    views: Views = "auto"
    mix: Literal["none", "c_mixup", "regmixup"] = "none"
    rare_ages: Literal["none", "lds"] = "none"
    batched_heads: bool = False

    def __post_init__(self):
        super().__post_init__()
        if self.frozen.epochs + self.fine_tune.epochs == 0:
            raise InputError(
                "Both phases have 0 epochs: give `frozen.epochs` or `fine_tune.epochs`. "
                "Received: frozen.epochs=0, fine_tune.epochs=0."
            )
        if self.augment == "none":
            self.refuse_unused("with augment=none", "strength")
        if self.mix != "none" and self.views != "inf":
            self.refuse_unused(f"with mix={self.mix}, which makes new copies in each epoch", "views")


@dataclass(frozen=True)
class RuntimeConfig(Settings):
    """The machine. None of this changes what is learned beyond rounding.

    Args:
        precision: `float32`, `mixed_float16` (GPUs) or `mixed_bfloat16` (TPUs, newer GPUs and CPUs).
            Defaults to `float32`.
        xla: Whether the training step is compiled with XLA. Defaults to False.
        strategy: `none`, or `mirrored` for all GPUs of this machine (`tf.distribute.MirroredStrategy`), which trains
            from pixels, without the prefix cache. Defaults to `none`.
        prefix_cache: Whether the frozen part of the network is computed only once. The results are the same without,
            within rounding. Defaults to True.
        prefix_precision: Precision in which its features are kept: `float32`, `float16` or `bfloat16`.
            Defaults to `float32`.
        prefix_compute: Precision in which the frozen part is computed: `float32`, exactly as the model does, or, about
            twice as fast, `bfloat16` (processors with AVX512-BF16 or AMX) or `float16` (GPUs). The error is measured
            and reported; where it is too large, or the machine does not support it, float32 is used.
            Defaults to `float32`.
        save_every: Seconds between two saved states of a running phase. Defaults to 60.
        tensorboard: Whether TensorBoard logs are written. Defaults to True.
        workers: Number of trainings (folds, backbones) that run at the same time, each in its own process. 0 means one
            per GPU, or one per two cores. Unless it is 1, and if RAY_ADDRESS names a Ray cluster, they run there.
            Defaults to 1.
    """

    precision: Literal["float32", "mixed_float16", "mixed_bfloat16"] = "float32"
    xla: bool = False
    strategy: Literal["none", "mirrored"] = "none"
    prefix_cache: bool = True
    prefix_precision: Literal["float32", "float16", "bfloat16"] = "float32"
    prefix_compute: Literal["float32", "float16", "bfloat16"] = "float32"
    save_every: Annotated[float, Ge(0)] = 60.0
    tensorboard: bool = True
    workers: Count = 1

    def __post_init__(self):
        super().__post_init__()
        if self.strategy == "mirrored":
            self.refuse_unused("with strategy=mirrored", "prefix_precision", "prefix_compute")
        if not self.prefix_cache:
            self.refuse_unused("with prefix_cache=False", "prefix_precision", "prefix_compute")


@dataclass(frozen=True)
class SerialRuntime(RuntimeConfig):
    """The machine of an experiment whose trainings do not run at the same time: there is no flag for `workers`."""

    workers: Suppress[Fixed[Literal[1]]] = 1


@dataclass(frozen=True)
class AgeConfig(Settings):
    """An experiment on the age of writers: pages, backbones, protocol, machine.

    Args:
        data: Folder of pages with ages. Defaults to None, a synthetic cohort.
        synthetic_writers: Number of writers of that cohort. Defaults to 120.
        labels: Label file, if it is not found by itself.
        columns: Columns of the label file, if they do not have the usual names.
        source: Keeps only the pages whose `Source` is one of these. Defaults to all.
        skip_bad: Whether pages with errors are left out and recorded, instead of stopping. Defaults to False.
        backbones: Names of the backbones, one model each (`age-keras backbones list` shows all).
        model: What every model is, besides its backbone.
        pages: How pages become patches.
        training: The training protocol.
        runtime: The machine.
        bands: Last year of each age band but the last. Defaults to HHD's bands, 15 25 50.
        seed: Seed of split, weights, order and augmentation. Defaults to 0.
        runs: Folder of all runs. Defaults to `runs`.
        run: Name of the run. Defaults to a hash of the configuration.
        fresh: Whether to start over instead of resuming. Defaults to False.
    """

    data: Path | None = None
    synthetic_writers: Writers = 120
    labels: Path | None = None
    columns: ColumnNames = field(default_factory=ColumnNames)
    source: Annotated[tuple[str, ...], Distinct] = ()
    skip_bad: bool = False
    backbones: Annotated[tuple[str, ...], MinLen(1), Distinct] = ("resnet50",)
    model: ModelConfig = field(default_factory=ModelConfig)
    pages: PageSettings = field(default_factory=PageSettings)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    runtime: RuntimeConfig = field(default_factory=RuntimeConfig)
    bands: tuple[Count, ...] = BAND_EDGES
    seed: Seed = 0
    runs: Path = Path("runs")
    run: FolderName | None = None
    fresh: bool = False

    def __post_init__(self):
        super().__post_init__()
        check_edges(self.bands)
        if self.data is not None:
            self.refuse_unused("where --data names the pages", "synthetic_writers")

    @property
    def backbone(self) -> str:
        """The backbone of a configuration of one model, see `with_backbone`."""
        (name,) = self.backbones
        return name


@dataclass(frozen=True)
class HoldoutConfig(AgeConfig):
    """An experiment on a hold-out split: training pages, pages that choose the epoch, pages that are scored.

    Args:
        use_split: Whether the label table's own split is used, if it has one. Defaults to True.
        validation: Fraction of the pages that choose the epoch, where the table's split is not used. Defaults to 0.15.
        test: Fraction of the pages that are scored, where the table's split is not used. Defaults to 0.15.
    """

    use_split: bool = True
    validation: SomePart = 0.15
    test: SomePart = 0.15

    def __post_init__(self):
        super().__post_init__()
        if self.validation + self.test >= 1:
            raise InputError(
                "`validation` and `test` must sum to less than 1, so that training pages are left. "
                f"Received: validation={self.validation}, test={self.test}."
            )


@dataclass(frozen=True)
class FoldsConfig(Settings):
    """The folds of a cross-validation.

    Args:
        count: Number of folds. Defaults to 5.
        repeats: Number of times that the cross-validation is repeated with other folds. Defaults to 1.
        column: Column of the label table that holds the folds. Defaults to None: they are dealt by writer and age band.
        selection: What chooses the epoch: `inner`, a writer-disjoint part of the training pages, or `published`, the
            very pages that are scored, as the published study did (its error is then too small). Defaults to `inner`.
        selection_fraction: Fraction of the training pages in that inner part. Defaults to 0.15.
    """

    count: Annotated[int, Ge(2)] = 5
    repeats: AtLeastOne = 1
    column: str | None = None
    selection: Literal["inner", "published"] = "inner"
    selection_fraction: SomePart = 0.15

    def __post_init__(self):
        super().__post_init__()
        if self.column is not None:
            self.refuse_unused("where a column holds the folds", "count", "repeats")
        if self.selection == "published":
            self.refuse_unused("with selection=published", "selection_fraction")


@dataclass(frozen=True)
class CrossValidationConfig(AgeConfig):
    """An experiment by cross-validation.

    Args:
        folds: The folds.
    """

    folds: FoldsConfig = field(default_factory=FoldsConfig)
