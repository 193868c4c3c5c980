"""The settings of a recogniser, of its training and of its experiments. Nothing here imports Keras."""

import dataclasses
import numbers
from pathlib import Path
from typing import Literal

from age_keras.config.settings import Settings
from age_keras.errors import InputError
from age_keras.run.folder import Run


@dataclasses.dataclass(frozen=True)
class RecogniserConfig(Settings):
    """The shape of a recogniser. The defaults have about 265,000 parameters for ten classes.

    Args:
        detail: Filters of the 3x3 convolutions at full resolution before the stem. They are not padded, so each one
            drops a pixel on every side.
        stem: Filters of the convolution that halves the resolution (stride 2, no padding). It is 3x3 after `detail`
            and 5x5 without it; 0 leaves it out.
        stages: Filters of the 3x3 convolutions, one tuple per resolution. Each tuple after the first opens with
            stride 2; an empty one leaves its resolution out.
        sequence: How the feature map becomes a sequence: its columns from left to right, or its rows from top to
            bottom.
        encoder: What reads the sequence: a recurrent layer ("rnn") or transformer blocks.
        recurrence: The recurrent cell of the "rnn" encoder; "none" leaves the sequence as it is.
        bidirectional: Whether the recurrent layer also reads the sequence backwards.
        units: Width of the sequence, of the recurrent state in each direction and of the transformer blocks.
        blocks: Number of transformer blocks.
        attention: How the sequence becomes one vector: "none" takes its mean, "dot" adds one head of scaled
            dot-product attention, "multihead" adds `heads` of them.
        heads: Heads of "multihead" attention and of the transformer blocks; there they must divide `units`.
        dropout: Fraction dropped before the last layer.
        normalise: Whether batch normalisation follows each convolution.
        unroll: Whether the recurrence is written out step by step, which makes the model exportable to LiteRT.

    Raises:
        InputError: A name is unknown, a size is out of range, or there is no convolution.
    """

    detail: tuple[int, ...] = (16,)
    stem: int = 32
    stages: tuple[tuple[int, ...], ...] = ((32,), (64, 64, 96))
    sequence: Literal["columns", "rows"] = "columns"
    encoder: Literal["rnn", "transformer"] = "rnn"
    recurrence: Literal["lstm", "gru", "none"] = "gru"
    bidirectional: bool = True
    units: int = 64
    blocks: int = 2
    attention: Literal["none", "dot", "multihead"] = "multihead"
    heads: int = 4
    dropout: float = 0.2
    normalise: bool = True
    unroll: bool = True

    def __post_init__(self):
        super().__post_init__()
        if not _are_filters(self.detail):
            raise InputError(
                f"`detail` is a tuple of positive numbers of filters, such as (16,). Received: detail={self.detail!r}."
            )
        if not isinstance(self.stages, tuple | list) or not all(map(_are_filters, self.stages)):
            raise InputError(
                "`stages` is a tuple of tuples of positive numbers of filters, such as ((32,), (64, 96)). "
                f"Received: stages={self.stages!r}."
            )
        for name, least in (("stem", 0), ("units", 1), ("blocks", 1), ("heads", 1)):
            value = getattr(self, name)
            if not isinstance(value, numbers.Integral) or value < least:
                raise InputError(f"`{name}` must be a number of at least {least}. Received: {name}={value!r}.")
        if not 0 <= self.dropout < 1:
            raise InputError(f"`dropout` must lie in [0, 1). Received: dropout={self.dropout}.")
        if not (self.detail or self.stem or any(self.stages)):
            raise InputError("A recogniser needs a convolution: give `detail`, `stem` or `stages`.")
        if self.encoder == "transformer" and self.units % self.heads:
            raise InputError(
                "The heads of the transformer blocks must divide their width. "
                f"Received: units={self.units}, heads={self.heads}."
            )


def _are_filters(value) -> bool:
    return isinstance(value, tuple | list) and all(isinstance(n, numbers.Integral) and n > 0 for n in value)


def small_config() -> RecogniserConfig:
    """A recogniser of fewer than 25,000 parameters."""
    return RecogniserConfig(
        detail=(), stem=12, stages=((16, 16), (24, 24)), units=24, heads=2, bidirectional=False, dropout=0.0
    )


@dataclasses.dataclass(frozen=True)
class WarpSettings(Settings):
    """How strongly characters are warped in training. Zero turns a part off.

    Args:
        rotation: Rotation in degrees, uniform within ± this.
        zoom: Scale of each side, uniform within 1 ± this.
        shear: Horizontal shear as a fraction of the height, uniform within ± this.
        shift: Shift along each side as a fraction of the side, uniform within ± this.
        elastic: Standard deviation of the elastic displacement at the points of a grid, in pixels of a 28-pixel image
            (it grows with the side), as in Simard et al. 2003.
        elastic_grid: Points along a side of the elastic grid.
        width: Fraction of the images whose strokes become thicker or thinner.
        erase: Fraction of the images that lose a box (random erasing, Zhong et al. 2020).
        erase_side: Longest side of that box as a fraction of the image's side.
    """

    rotation: float = 8.0
    zoom: float = 0.08
    shear: float = 0.1
    shift: float = 0.05
    elastic: float = 0.6
    elastic_grid: int = 5
    width: float = 0.0
    erase: float = 0.0
    erase_side: float = 0.3


@dataclasses.dataclass(frozen=True)
class RecogniserTraining(Settings):
    """How a recogniser is trained.

    Args:
        epochs: Passes over the training part.
        batch_size: Images in a training step.
        optimizer: "adamw" or "sgd".
        learning_rate: Highest learning rate of the schedule.
        momentum: Momentum of "sgd".
        weight_decay: Decoupled weight decay of either optimizer (Loshchilov & Hutter 2019).
        schedule: Course of the learning rate: "one-cycle", "cosine" or "constant".
        label_smoothing: Fraction of the target that is spread over all classes.
        ema: Decay of the running average of the weights, which is what is validated and kept. It is lowered to
            1 - 12 / steps in a short training; 0 turns averaging off.
        augment: Whether the characters are warped as `warp` says.
        warp: How strongly they are warped.
        keep: Weights to keep: those of the "last" epoch, or of the "best" by validation loss.
        patience: Epochs without a better validation loss after which training stops; 0 never stops early.

    Raises:
        InputError: A name is unknown, or a number is out of range.
    """

    epochs: int = 40
    batch_size: int = 128
    optimizer: Literal["adamw", "sgd"] = "adamw"
    learning_rate: float = 5e-3
    momentum: float = 0.0
    weight_decay: float = 0.02
    schedule: Literal["one-cycle", "cosine", "constant"] = "one-cycle"
    label_smoothing: float = 0.05
    ema: float = 0.999
    augment: bool = True
    warp: WarpSettings = dataclasses.field(default_factory=lambda: WarpSettings(width=0.6))
    keep: Literal["last", "best"] = "last"
    patience: int = 0

    def __post_init__(self):
        super().__post_init__()
        for name, least in (("epochs", 1), ("batch_size", 1), ("patience", 0)):
            value = getattr(self, name)
            if value < least:
                raise InputError(f"`{name}` must be at least {least}. Received: {name}={value}.")
        if self.learning_rate <= 0:
            raise InputError(f"`learning_rate` must be positive. Received: learning_rate={self.learning_rate}.")
        for name in ("momentum", "label_smoothing", "ema"):
            value = getattr(self, name)
            if not 0 <= value < 1:
                raise InputError(f"`{name}` must lie in [0, 1). Received: {name}={value}.")
        if self.momentum and self.optimizer != "sgd":
            raise InputError(f"`momentum` has an effect with optimizer='sgd' only. Received: momentum={self.momentum}.")


@dataclasses.dataclass(frozen=True)
class Confidence(Settings):
    """What a model promises about its answers. The thresholds are fitted on held-out images.

    Args:
        coverage: Fraction of the conformal sets that hold the truth.
        accuracy: Accuracy of the answers that are not "unsure".

    Raises:
        InputError: A fraction is out of range.
    """

    coverage: float = 0.999
    accuracy: float = 0.9995

    def __post_init__(self):
        super().__post_init__()
        if not 0 < self.coverage < 1:
            raise InputError(f"`coverage` must lie between 0 and 1. Received: coverage={self.coverage}.")
        if not 0 < self.accuracy <= 1:
            raise InputError(f"`accuracy` must lie in (0, 1]. Received: accuracy={self.accuracy}.")


@dataclasses.dataclass(frozen=True)
class Adversary(Settings):
    """What disturbs the training images, within L∞ distance `epsilon` of pixels scaled to 0-1.

    Args:
        kind: "fgsm" takes one step from a random start (Wong, Rice & Kolter 2020); "pgd" takes several (Madry et al.
            2018); "growing" takes several whose number grows from one to `steps` over the training (Cai et al. 2018),
            at little more than half the cost of "pgd".
        epsilon: Largest change of a pixel.
        steps: Steps of "pgd", and the most that "growing" takes.
        step_size: Length of one step as a fraction of epsilon. By default it is 2.5 / steps, and at most 1.25.
        warm_up: Fraction of the training over which epsilon grows from 0.
        clean: Fraction of the loss that is on the untouched images.
    """

    kind: Literal["fgsm", "pgd", "growing"] = "growing"
    epsilon: float = 0.3
    steps: int = 5
    step_size: float | None = None
    warm_up: float = 0.2
    clean: float = 0.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class CharacterRun(Settings):
    """Settings that all experiments on characters share.

    Args:
        path: File or folder of the characters.
        limit: Number of training characters to use; 0 uses all.
        runs: Folder of all runs.
        run: Name of the run. By default it is a hash of the configuration.
        fresh: Start over and delete what the run's folder holds.
    """

    path: Path | None = None
    limit: int = 0
    runs: Path = Path("runs")
    run: str | None = None
    fresh: bool = False

    def open(self, experiment: str, fingerprint: str, **changes) -> Run:
        """The folder of this experiment's run, new or to be resumed.

        Args:
            experiment: Name of the experiment.
            fingerprint: Hash of the characters; a run cannot be resumed with other characters.
            **changes: Fields to record with other values than were given.
        """
        settings = dataclasses.replace(self, runs=Path(), run=None, fresh=False, **changes)
        return Run.open(self.runs, experiment, settings, self.run, self.fresh, data_fingerprint=fingerprint)
