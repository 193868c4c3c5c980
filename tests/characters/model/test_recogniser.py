"""The recogniser and its attention: shapes, every option, sizes, saving, exact arithmetic."""

import itertools

import keras
import numpy as np
import pytest

from age_keras.characters.config import RecogniserConfig, small_config
from age_keras.characters.model.attention import DotProductAttention, PositionEmbedding
from age_keras.characters.model.calibrated_softmax import CalibratedSoftmax
from age_keras.characters.model.recogniser import build_recogniser, logits_model
from age_keras.errors import InputError

TINY = {"detail": (), "stem": 4, "stages": ((4,), (6,)), "units": 8, "heads": 2}


def _images(count=3, side=28, channels=1):
    return np.random.default_rng(0).integers(0, 256, (count, side, side, channels)).astype("float32")


def test_attention_is_the_papers_formula():
    layer = DotProductAttention(num_heads=1, key_dim=5)
    rng = np.random.default_rng(0)
    query, value = rng.normal(size=(2, 3, 4)).astype("float32"), rng.normal(size=(2, 6, 7)).astype("float32")
    context, weights = layer(query, value, return_weights=True)
    q = query @ layer.query_map.kernel.numpy() + layer.query_map.bias.numpy()
    k = value @ layer.key_map.kernel.numpy()
    v = value @ layer.value_map.kernel.numpy() + layer.value_map.bias.numpy()
    scores = np.exp(q @ k.transpose(0, 2, 1) / np.sqrt(5))
    expected = scores / scores.sum(-1, keepdims=True)
    np.testing.assert_allclose(weights[:, 0], expected, atol=1e-5)
    np.testing.assert_allclose(context, expected @ v, atol=1e-5)


@pytest.mark.parametrize(("heads", "output"), [(1, None), (2, None), (4, 10)])
def test_self_attention_of_several_heads(heads, output):
    layer = DotProductAttention(num_heads=heads, key_dim=3, output_dim=output)
    context, weights = layer(np.ones((2, 5, 4), "float32"), return_weights=True)
    assert context.shape == (2, 5, output or 3 * heads)
    assert weights.shape == (2, heads, 5, 5)
    np.testing.assert_allclose(np.sum(weights, axis=-1), 1, atol=1e-6)


def test_attention_with_weights_works_in_a_functional_model_and_reloads(tmp_path):
    inputs = keras.Input((5, 4))
    outputs = DotProductAttention(2, 3, output_dim=4, dropout=0.1)(inputs, return_weights=True)
    model = keras.Model(inputs, outputs)
    model.save(tmp_path / "a.keras")
    x = np.random.default_rng(0).normal(size=(2, 5, 4)).astype("float32")
    for a, b in zip(model(x), keras.models.load_model(tmp_path / "a.keras")(x), strict=True):
        np.testing.assert_array_equal(a, b)


STEPS = np.random.default_rng(0).normal(size=(2, 5, 4)).astype("float32")
MASK = np.array([[True, True, False, True, False], [True, True, True, True, True]])


@pytest.mark.parametrize("precision", ["float32", "mixed_float16", "mixed_bfloat16"])
@pytest.mark.parametrize("passed", ["one", "list", "query's", "value's", "carried", "carried by the value"])
def test_masked_steps_get_no_weight(precision, passed):
    layer = DotProductAttention(num_heads=2, key_dim=3, dtype=precision)
    if passed.startswith("carried"):
        steps = keras.layers.Masking()(np.where(MASK[..., None], STEPS, 0))
        inputs, masks = ([STEPS, steps] if "value" in passed else [steps]), {}
    elif passed == "one":
        inputs, masks = [STEPS], {"mask": MASK}
    else:
        inputs = [STEPS[:, :3], STEPS] if passed == "value's" else [STEPS, STEPS]
        masks = {"list": [MASK, MASK], "query's": [MASK, None], "value's": [None, MASK]}
        masks = {"mask": masks[passed]}
    context, weights = layer(*inputs, return_weights=True, **masks)
    weights = np.array(weights, "float32")
    assert (weights[0][..., ~MASK[0]].max() == 0) == (passed != "query's")
    assert (weights[1] > 0).all()
    np.testing.assert_allclose(weights.sum(axis=-1), 1, atol=0.02)
    if passed in ("one", "list", "carried"):
        np.testing.assert_array_equal(context._keras_mask, MASK)


def test_what_is_masked_might_as_well_not_be_there():
    layer = DotProductAttention(num_heads=2, key_dim=3)
    there = layer(STEPS[:1, :1], STEPS[:1, MASK[0]])
    masked = layer(STEPS[:1, :1], STEPS[:1] * np.where(MASK[:1, :, None], 1, 1e4), value_mask=MASK[:1])
    np.testing.assert_allclose(masked, there, atol=1e-6)
    context, weights = layer(STEPS, STEPS, mask=[None, np.zeros((2, 5), bool)], return_weights=True)
    assert not np.any(weights)
    assert not np.any(context)
    with pytest.raises(ValueError, match="list of two"):
        layer(STEPS, STEPS, mask=MASK)


def test_a_model_with_masked_attention_reloads(tmp_path):
    inputs, query = keras.Input((5, 4)), keras.Input((1, 4))
    steps = keras.layers.Masking()(inputs)
    steps = DotProductAttention(1, 4, name="itself")(steps)
    outputs = DotProductAttention(2, 3)(query, steps, return_weights=True)
    model = keras.Model([inputs, query], outputs)
    x = [np.where(MASK[..., None], STEPS, 0), STEPS[:, :1]]
    found = model(x)
    assert (np.array(found[1])[0, :, 0] == 0).tolist() == [list(~MASK[0])] * 2
    model.save(tmp_path / "a.keras")
    for a, b in zip(found, keras.models.load_model(tmp_path / "a.keras")(x), strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_allclose(model.predict(x, verbose=0)[1], found[1], atol=1e-6)


def test_bad_attention_says_what_it_got():
    with pytest.raises(ValueError, match="Received: num_heads=0"):
        DotProductAttention(num_heads=0)


def test_position_embedding_tells_steps_apart():
    layer = PositionEmbedding()
    out = np.array(layer(np.zeros((1, 4, 3), "float32")))
    assert len(np.unique(out[0], axis=0)) == 4


RECURRENCES, ATTENTIONS = ("lstm", "gru", "none"), ("none", "dot", "multihead")
OPTIONS = [
    *(
        {"recurrence": r, "attention": a}
        for r, a in itertools.product(("lstm", "gru", "none"), ("none", "dot", "multihead"))
    ),
    {"detail": (3,)},
    {"detail": (3, 4), "stem": 0, "stages": ()},
    {"bidirectional": False},
    {"sequence": "rows"},
    {"encoder": "transformer"},
    {"encoder": "transformer", "attention": "none"},
    {"normalise": False},
    {"unroll": False},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_every_option_gives_probabilities_and_survives_saving(tmp_path, options):
    model = build_recogniser(RecogniserConfig(**{**TINY, **options}), classes=5)
    found = model(_images())
    assert found.shape == (3, 5)
    np.testing.assert_allclose(np.sum(found, axis=1), 1, atol=1e-5)
    model.save(tmp_path / "m.keras")
    np.testing.assert_allclose(keras.models.load_model(tmp_path / "m.keras")(_images()), found, atol=1e-6)


def test_more_convolutions_than_the_image_has_room_for_are_refused():
    build_recogniser(RecogniserConfig(detail=(1,) * 13, stem=0, stages=((2,), ())))
    with pytest.raises(InputError, match="fewer convolutions"):
        build_recogniser(RecogniserConfig(detail=(1,) * 14, stem=0, stages=((2,), ())))
    with pytest.raises(InputError, match="fewer convolutions"):
        build_recogniser(RecogniserConfig(detail=(1,) * 13, stem=2))


def test_sizes_are_what_is_promised():
    assert build_recogniser().count_params() < 500_000
    assert build_recogniser(small_config()).count_params() < 25_000


@pytest.mark.parametrize(("side", "channels"), [(12, 1), (32, 3)])
def test_other_sizes_and_colours(side, channels):
    model = build_recogniser(RecogniserConfig(**TINY), image_size=side, channels=channels)
    assert model(_images(2, side, channels)).shape == (2, 10)


def test_too_few_classes_or_pixels_are_refused():
    with pytest.raises(ValueError, match="two classes"):
        build_recogniser(classes=1)
    with pytest.raises(ValueError, match="at least 12"):
        build_recogniser(image_size=8)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"detail": 16}, r"`detail` must be a tuple.*detail=16"),
        ({"detail": (16, 0)}, "`detail`"),
        ({"stages": (32, 64)}, "`stages`"),
        ({"stages": ((32,), (-1,))}, "`stages`"),
        ({"stem": -1}, "`stem`"),
        ({"units": 0}, "`units` must be a whole number of at least 1. Received: units=0"),
        ({"heads": 1.5}, "`heads`"),
        ({"blocks": 0}, "`blocks`"),
        ({"dropout": 1.0}, "`dropout`"),
        ({"recurrence": "rnn"}, "`recurrence` must be one of lstm, gru, none. Received: recurrence='rnn'"),
        ({"attention": "multi"}, "`attention`"),
        ({"encoder": "gru"}, "`encoder`"),
        ({"sequence": "pixels"}, "`sequence`"),
        ({"detail": (), "stem": 0, "stages": ()}, "convolution"),
    ],
)
def test_an_impossible_shape_is_named(change, message):
    with pytest.raises(InputError, match=message):
        RecogniserConfig(**change)


def test_the_last_layer_divides_logits_and_keeps_its_facts(tmp_path):
    model = build_recogniser(RecogniserConfig(**TINY), classes=("alef", "bet", "gimel"))
    layer = model.get_layer("probabilities")
    layer.temperature.assign(2.5)
    layer.set_threshold.assign(0.01)
    model.save(tmp_path / "m.keras")
    loaded = keras.models.load_model(tmp_path / "m.keras")
    last = loaded.get_layer("probabilities")
    assert isinstance(last, CalibratedSoftmax)
    assert last.classes == ("alef", "bet", "gimel")
    assert float(last.temperature.numpy()) == 2.5
    assert float(last.set_threshold.numpy()) == pytest.approx(0.01)
    logits = np.array(logits_model(loaded)(_images())) / 2.5
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(loaded(_images()), expected, atol=1e-5)


def test_columns_and_rows_read_the_image_differently():
    image = _images(1)
    for sequence, turned in (("columns", False), ("rows", True)):
        keras.utils.set_random_seed(0)
        model = build_recogniser(RecogniserConfig(**{**TINY, "sequence": sequence}))
        x = image.transpose(0, 2, 1, 3) if turned else image
        steps = keras.Model(model.input, model.get_layer("steps").output)
        assert steps(x).shape == (1, 6, 36)
    # A step is one column: pixels of the left edge change the first step and not the last.
    steps = keras.Model(model.input, model.get_layer("steps").output)
    changed = image.copy()
    changed[:, :3] = 255 - changed[:, :3]
    difference = np.abs(np.array(steps(image)) - np.array(steps(changed)))[0].sum(axis=1)
    assert difference[0] > 0
    assert difference[-1] == 0
