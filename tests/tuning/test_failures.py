"""A trial that fails is recorded with its reason, whatever the reason is."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from fake_search import FakeHyperModel

from age_keras.errors import InputError
from tuning.failures import cause_of
from tuning.search_config import SearchConfig
from tuning.tuner import StoppedSearchError, run_trials

CONFIG = SearchConfig(oracle="grid", trials=0, folds=2, race=0.0)


class Diverging(FakeHyperModel):
    """The loss becomes NaN in the second epoch where `c` is `a`, a fold's figure where it is `c` and `x` is 1."""

    def fit_fold(self, hp, fold, folder, on_epoch):
        _, c = self.space(hp)

        def spoil(epoch, logs):
            on_epoch(epoch, {**logs, "loss": float("nan")} if c == "a" and epoch == 1 else logs)

        figures = super().fit_fold(hp, fold, folder, spoil)
        return {**figures, "mae": float("nan")} if c == "c" and hp.values["x"] == 1.0 else figures


class Refusing(FakeHyperModel):
    """Its space has configurations that are refused."""

    def space(self, hp):
        x, c = super().space(hp)
        if (x, c) == (0.5, "b"):
            raise InputError("`unfreeze` is a fraction of the layers, in [0, 1]. Received: unfreeze=5.")
        return x, c


def test_a_loss_or_a_figure_that_is_not_a_number_is_recorded(tmp_path):
    hypermodel = Diverging(tmp_path, CONFIG)
    run_trials(tmp_path, CONFIG, hypermodel, progress=False)
    failed = [r for r in hypermodel.trials.all() if r.status == "failed"]
    assert {r.cause for r in failed} == {"nan"}
    reasons = {r.reason for r in failed}
    assert reasons == {"nan: the loss became nan in fold 1, epoch 2", "nan: mae is nan in fold 1"}
    assert len(failed) == 6
    assert len(hypermodel.trials.ranked()) == 9


def test_a_refused_configuration_is_recorded_and_the_search_goes_on(tmp_path):
    hypermodel = Refusing(tmp_path, CONFIG)
    run_trials(tmp_path, CONFIG, hypermodel, progress=False)
    failed = [r for r in hypermodel.trials.all() if r.status == "failed"]
    assert [r.reason for r in failed] == [
        "space: `unfreeze` is a fraction of the layers, in [0, 1]. Received: unfreeze=5."
    ]
    assert len(hypermodel.trials.ranked()) == 14


def test_three_out_of_memory_in_a_row_stop_the_search_with_that_cause(tmp_path):
    class ResourceExhaustedError(Exception):
        """As TensorFlow names it."""

    sizes = iter([3, 5, 7])

    def misfortune(hp, fold, epoch):
        raise ResourceExhaustedError(f"OOM when allocating tensor with shape[{next(sizes)},224]")

    with pytest.raises(StoppedSearchError, match=r"memory: OOM when allocating tensor with shape\[7,224\]"):
        run_trials(tmp_path, CONFIG, FakeHyperModel(tmp_path, CONFIG, misfortune=misfortune), progress=False)


class Broken(keras.layers.Layer):
    """Asks for a column that is not there, or multiplies what does not fit."""

    def __init__(self, kind, number=7):
        super().__init__()
        self.kind, self.number = kind, number

    def call(self, x):
        if self.kind == "column":
            return tf.gather(x, tf.cast(x[:, 0] * 0 + self.number, tf.int32), axis=1)[:, :1]
        return tf.matmul(x, tf.reshape(x, [-1, 4])[:, : tf.cast(tf.reduce_sum(x) * 0 + 1, tf.int32)])


def failure_of_fit(*what):
    model = keras.Sequential([keras.Input((3,)), Broken(*what)])
    model.compile("sgd", "mse")
    with pytest.raises(tf.errors.InvalidArgumentError) as caught:
        model.fit(np.ones((8, 3)), np.ones((8, 1)), verbose=0)
    return cause_of(caught.value)


def test_the_reason_of_a_failure_in_a_graph_is_kept():
    column, other, product = failure_of_fit("column"), failure_of_fit("column", 9), failure_of_fit("product")
    assert column[1].startswith("InvalidArgumentError: indices[0] = 7 is not in [0, 3)")
    assert product[1].startswith("InvalidArgumentError: Matrix size-incompatible")
    assert "[[" not in column[1] + product[1]
    assert column[0] == other[0] != product[0]


def test_the_first_of_several_graph_errors_is_the_reason():
    head = (
        "Graph execution error:\n\nDetected at node a defined at (most recent call last):\n<stack traces unavailable>\n"
    )
    tail = "\n\t [[{{node a}}]] [Op:__inference_multi_step_on_iterator_7]"
    assert cause_of(RuntimeError(f"{head}it broke{tail}"))[1] == "RuntimeError: it broke"
    several = "2 root error(s) found.\n  (0) INTERNAL:  it broke\n\t [[{{node a}}]]\n  (1) CANCELLED:  so did I"
    assert cause_of(RuntimeError(f"{head}{several}{tail}"))[1] == "RuntimeError: INTERNAL:  it broke"
    assert cause_of(RuntimeError("Graph execution error:"))[1] == "RuntimeError: Graph execution error:"


def test_a_nested_list_in_a_message_stays():
    assert cause_of(ValueError("Received: [[1, 2], [3, 4]] of x"))[1] == "ValueError: Received: [[1, 2], [3, 4]] of x"


def test_causes_leave_out_what_differs_between_trials():
    first, second = (cause_of(ValueError(f"shape ({n}, {n * 1.5}) at {np.pi * n:.3e}")) for n in (3, 4))
    assert first[0] == second[0]
    assert first[1] != second[1]
    assert cause_of(MemoryError())[1] == "memory: not enough of it"
