"""The settings of a recogniser, of its training and of its experiments. Nothing here imports Keras."""

import dataclasses
from pathlib import Path
from typing import Annotated, Literal

from annotated_types import Ge, Interval, MinLen

from age_keras.config.settings import AtLeastOne, Count, Distinct, FolderName, Fraction, Positive, Seed, Settings
from age_keras.errors import InputError
from age_keras.run.folder import Run

EmnistSplit = Literal["byclass", "bymerge", "balanced", "letters", "digits", "mnist"]
DataName = Literal[
    "digits",
    "mnist",
    "emnist-byclass",
    "emnist-bymerge",
    "emnist-balanced",
    "emnist-letters",
    "emnist-digits",
    "emnist-mnist",
    "folder",
    "iam-words",
    "iam-lines",
    "iam-words-text",
    "iam-lines-text",
]
NotNegative = Annotated[float, Ge(0)]
BelowOne = Annotated[float, Interval(ge=0, lt=1)]
# What is held out of the training part: from 1 on a number of characters, below 1 their fraction.
HeldOut = Positive
Seeds = Annotated[tuple[Seed, ...], MinLen(1), Distinct]
Filters = tuple[AtLeastOne, ...]
# L∞ distance of pixels scaled to 0-1.
Epsilon = Annotated[float, Interval(gt=0, le=1)]


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

    detail: Filters = (16,)
    stem: Count = 32
    stages: tuple[Filters, ...] = ((32,), (64, 64, 96))
    sequence: Literal["columns", "rows"] = "columns"
    encoder: Literal["rnn", "transformer"] = "rnn"
    recurrence: Literal["lstm", "gru", "none"] = "gru"
    bidirectional: bool = True
    units: AtLeastOne = 64
    blocks: AtLeastOne = 2
    attention: Literal["none", "dot", "multihead"] = "multihead"
    heads: AtLeastOne = 4
    dropout: BelowOne = 0.2
    normalise: bool = True
    unroll: bool = True

    def __post_init__(self):
        super().__post_init__()
        if not (self.detail or self.stem or any(self.stages)):
            raise InputError("A recogniser needs a convolution: give `detail`, `stem` or `stages`.")
        if self.encoder == "rnn":
            self.refuse_unused("with encoder=rnn", "blocks")
        else:
            self.refuse_unused(f"with encoder={self.encoder}", "recurrence", "unroll")
            if self.units % self.heads:
                raise InputError(
                    "The heads of the transformer blocks must divide their width. "
                    f"Received: units={self.units}, heads={self.heads}."
                )

    def ignored(self) -> dict[str, str]:
        if self.encoder == "transformer":
            return {"bidirectional": "with encoder=transformer"}
        unused = {}
        if self.recurrence == "none":
            unused |= dict.fromkeys(("bidirectional", "unroll"), "with recurrence=none")
        if self.attention != "multihead":
            unused["heads"] = f"with attention={self.attention}"
        return unused


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

    rotation: Annotated[float, Interval(ge=0, le=180)] = 8.0
    zoom: BelowOne = 0.08
    shear: Annotated[float, Interval(ge=0, le=2)] = 0.1
    shift: BelowOne = 0.05
    elastic: NotNegative = 0.6
    elastic_grid: Annotated[int, Interval(ge=2, le=28)] = 5
    width: Fraction = 0.0
    erase: Fraction = 0.0
    erase_side: Annotated[float, Interval(ge=0.1, le=1)] = 0.3

    def __post_init__(self):
        super().__post_init__()
        if self.elastic == 0:
            self.refuse_unused("with elastic=0", "elastic_grid")
        if self.erase == 0:
            self.refuse_unused("with erase=0", "erase_side")


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

    epochs: AtLeastOne = 40
    batch_size: AtLeastOne = 128
    optimizer: Literal["adamw", "sgd"] = "adamw"
    learning_rate: Positive = 5e-3
    momentum: BelowOne = 0.0
    weight_decay: NotNegative = 0.02
    schedule: Literal["one-cycle", "cosine", "constant"] = "one-cycle"
    label_smoothing: BelowOne = 0.05
    ema: BelowOne = 0.999
    augment: bool = True
    warp: WarpSettings = dataclasses.field(default_factory=lambda: WarpSettings(width=0.6))
    keep: Literal["last", "best"] = "last"
    patience: Count = 0

    def __post_init__(self):
        super().__post_init__()
        if self.optimizer != "sgd":
            self.refuse_unused(f"with optimizer={self.optimizer}", "momentum")

    def ignored(self) -> dict[str, str]:
        return {} if self.augment else {"warp": "with augment=False"}


@dataclasses.dataclass(frozen=True)
class Confidence(Settings):
    """What a model promises about its answers. The thresholds are fitted on held-out images.

    Args:
        coverage: Fraction of the conformal sets that hold the truth.
        accuracy: Accuracy of the answers that are not "unsure".

    Raises:
        InputError: A fraction is out of range.
    """

    coverage: Annotated[float, Interval(gt=0, lt=1)] = 0.999
    accuracy: Annotated[float, Interval(gt=0, le=1)] = 0.9995


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
    epsilon: Epsilon = 0.3
    steps: AtLeastOne = 5
    step_size: Positive | None = None
    warm_up: Fraction = 0.2
    clean: BelowOne = 0.0

    def __post_init__(self):
        super().__post_init__()
        if self.kind == "fgsm":
            self.refuse_unused("with kind=fgsm", "steps")


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
    limit: Count = 0
    runs: Path = Path("runs")
    run: FolderName | None = None
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
