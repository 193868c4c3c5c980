"""The tests of maps believe a right map and doubt wrong ones."""

import keras
import numpy as np
import pytest

from age_keras.explain.cam import Explainer
from age_keras.explain.faithfulness import STEPS, faithfulness, faithfulness_table, shuffled_weights

SIDE = 48


@pytest.fixture(scope="module")
def patches():
    """Ink all over; what is dark is old, what is grey is young."""
    rng = np.random.default_rng(0)
    pages = np.full((5, SIDE, SIDE, 1), 240, np.uint8)
    for page in pages:
        for _ in range(24):
            y, x = rng.integers(0, SIDE - 6, 2)
            page[y : y + 5, x : x + 5] = 20 if rng.random() < 0.5 else 120
    return pages


class Reader(Explainer):
    """Explains by a given map instead of its own."""

    make = None

    def maps(self, patches, method="grad_cam", paper=None, **options):
        return self.make(np.asarray(patches)) if self.make else super().maps(patches, method, paper, **options)


@pytest.fixture(scope="module")
def reader():
    x = inputs = keras.Input((SIDE, SIDE, 1))
    x = keras.layers.Conv2D(2, 1, activation="relu", name="kinds")(x)  # beyond the grey of 120; any ink
    x = keras.layers.GlobalAveragePooling2D()(x)
    model = keras.Model(inputs, keras.layers.Dense(1)(x))
    kernel = np.array([[[[-0.01, -1 / 120]]]], np.float32)
    weights = [kernel, np.array([1.0, 2.0]), np.array([[400.0], [-100.0]]), np.array([30.0])]
    model.set_weights([np.asarray(w, np.float32) for w in weights])
    return Reader(model, layers=("kinds",))


def test_a_right_map_is_believed(reader, patches):
    reader.make = None
    result = faithfulness(reader, patches, 240.0, ["grad_cam"])[0]
    assert result.deletion > 1
    assert result.insertion > 1
    assert result.ink_fraction > 0.99 > result.ink_area
    assert result.shifted > 0.8
    for curve in result.curves.values():
        assert curve.shape == (STEPS + 1,)
        assert curve[0] == pytest.approx(reader.ages(patches).mean(), rel=1e-4)
        assert curve[-1] == pytest.approx(30, abs=0.5)


@pytest.mark.parametrize(
    ("make", "doubt"),
    [
        (lambda x: 240.0 - x[..., 0], "shuffled weights"),  # the picture itself, whatever the model
        (lambda x: np.random.default_rng(int(x.sum())).normal(size=x.shape[:3]), "small shift"),
        (lambda x: -np.where(x[..., 0] < 60, 1.0, -0.5) * (x[..., 0] < 200), "erasing"),  # older for younger
        (lambda x: -np.where(x[..., 0] < 60, 1.0, -0.5) * (x[..., 0] < 200), "inserting"),
    ],
)
def test_wrong_maps_are_doubted(reader, patches, make, doubt):
    reader.make = make
    result = faithfulness(reader, patches, 240.0, ["grad_cam"])[0]
    assert doubt in result.verdict
    assert result.verdict.startswith("no: ")


def test_weights_come_back_also_after_an_error(reader):
    before = reader.model.get_weights()
    with shuffled_weights(reader.model, seed=1):
        assert any((a != b).any() for a, b in zip(before, reader.model.get_weights(), strict=True))
    failing = shuffled_weights(reader.model, seed=1)
    failing.__enter__()
    assert not failing.__exit__(KeyError, KeyError(), None)
    for a, b in zip(before, reader.model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_table_has_a_row_for_each_map(reader, patches):
    reader.make = None
    results = faithfulness(reader, patches[:3], 240.0, ["grad_cam", "saliency"])
    text = faithfulness_table(results)
    assert len(text.splitlines()) == 4
    assert "| Saliency " in text
    assert "to be believed" in text
