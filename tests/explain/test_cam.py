"""Maps of patches: they find the half that carries age, agree with tf-keras-vis where it works, and show where not."""

from typing import ClassVar

import keras
import numpy as np
import pytest
import tensorflow as tf
from tf_keras_vis.gradcam import Gradcam
from tf_keras_vis.gradcam_plus_plus import GradcamPlusPlus
from tf_keras_vis.saliency import Saliency
from tf_keras_vis.scorecam import Scorecam

from age_keras.backbones.build import build_backbone
from age_keras.backbones.registry import get_spec
from age_keras.config.model import ModelConfig
from age_keras.errors import InputError
from age_keras.explain.attention import AttentionRollout
from age_keras.explain.cam import SIGNED, YEARS, Explainer
from age_keras.explain.token_grid import cam_layers, fold_tokens, tapped
from age_keras.models.age import build_age_model

SIDE = 48


def stroke_reader(channels=1):
    """Reads age from the slope of strokes: upright ones are old, diagonal ones young, level ones mean nothing."""
    x = inputs = keras.Input((SIDE, SIDE, channels), name="pixels")
    x = keras.layers.Rescaling(-1 / 255, 1.0, name="ink")(x)
    first = keras.layers.Conv2D(3, 7, padding="same", activation="relu", name="strokes")
    x = first(x)
    x = keras.layers.MaxPooling2D(4, name="places")(x)
    x = keras.layers.Conv2D(3, 1, activation="relu", name="last")(x)
    x = keras.layers.GlobalAveragePooling2D(name="head_pooling")(x)
    head = keras.layers.Dense(1, name="head_output")
    model = keras.Model(inputs, head(x), name="stroke_reader")
    level = np.full((7, 7), -0.3, np.float32)
    level[3] = 1.5
    slope = np.where(np.eye(7), 1.5, -0.3).astype(np.float32)
    kernel = np.stack([level.T, slope, level], axis=-1)[:, :, None].repeat(channels, axis=2) / channels
    first.set_weights([kernel, np.full(3, -4.0, np.float32)])
    model.get_layer("last").set_weights([np.eye(3, dtype=np.float32)[None, None], np.zeros(3, np.float32)])
    head.set_weights([np.array([[30.0], [-30.0], [0.0]], np.float32), np.array([25.0], np.float32)])
    return model


def page_of_strokes(sign, seed=0, channels=1):
    """Level strokes on the left; upright (sign 1) or diagonal (sign -1) ones on the right, none near the middle."""
    import cv2

    rng = np.random.default_rng(seed)
    page = np.full((SIDE, SIDE), 240, np.uint8)
    for _ in range(4):
        y, x = int(rng.integers(5, 40)), int(rng.integers(2, 6))
        cv2.line(page, (x, y), (x + 10, y), 20)
    for _ in range(4):
        y, x = int(rng.integers(5, 32)), int(rng.integers(32, 36))
        cv2.line(page, (x, y), (x if sign > 0 else x + 9, y + 9), 20)
    return np.repeat(page[..., None], channels, axis=-1)


@pytest.fixture(scope="module")
def reader():
    return Explainer(stroke_reader(), layers=("last",))


@pytest.mark.parametrize("method", SIGNED)
@pytest.mark.parametrize("sign", [1, -1])
def test_finds_the_half_that_carries_age(reader, method, sign):
    patches = np.stack([page_of_strokes(sign, seed) for seed in range(3)])
    maps = reader.maps(patches, method, paper=240.0)
    assert maps.shape == (3, SIDE, SIDE)
    assert maps.dtype == np.float32
    right = np.abs(maps[:, :, SIDE // 2 :]).sum(axis=(1, 2))
    assert (right / np.abs(maps).sum(axis=(1, 2)) >= 0.9).all()
    signed = np.maximum(sign * maps, 0).sum(axis=(1, 2))
    assert (signed / np.abs(maps).sum(axis=(1, 2)) >= 0.9).all()


@pytest.mark.parametrize("method", ["grad_cam", "grad_cam_plus_plus", "score_cam"])
def test_finds_the_half_with_several_layers(method):
    explainer = Explainer(stroke_reader(), layers=("strokes", "last"))
    maps = explainer.maps(page_of_strokes(1)[None], method, paper=240.0)
    assert np.abs(maps[..., SIDE // 2 :]).sum() >= 0.9 * np.abs(maps).sum()


def test_colour_pages_and_one_map_a_patch_whatever_the_batch():
    patches = np.stack([page_of_strokes(1, seed, channels=3) for seed in range(5)])
    model = stroke_reader(channels=3)
    small = Explainer(model, layers=("last",), batch_size=2)
    large = Explainer(model, layers=("last",), batch_size=8)
    for method in ("grad_cam", "grad_cam_plus_plus", "saliency"):
        np.testing.assert_allclose(small.maps(patches, method), large.maps(patches, method), rtol=1e-5, atol=1e-5)


def test_grad_cam_adds_up_to_the_answer_less_that_for_empty_paper(reader):
    patches = np.stack([page_of_strokes(sign, 4) for sign in (1, -1)])
    means = reader.maps(patches, "grad_cam", paper=240.0).mean(axis=(1, 2))
    empty = reader.ages(np.full((1, SIDE, SIDE, 1), 240))
    np.testing.assert_allclose(means, reader.ages(patches) - empty, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("method", SIGNED)
def test_empty_paper_has_an_empty_map(reader, method):
    maps = reader.maps(np.full((1, SIDE, SIDE, 1), 240, np.uint8), method, paper=240.0)
    np.testing.assert_allclose(maps, 0, atol=1e-4)


def test_smooth_grad_is_repeatable(reader):
    patches = page_of_strokes(1)[None]
    maps = [reader.maps(patches, "smooth_grad", seed=seed) for seed in (0, 0, 1)]
    np.testing.assert_array_equal(maps[0], maps[1])
    assert (maps[0] != maps[2]).any()


def test_traced_once(reader):
    for count in (1, 2, 5):
        for method in SIGNED:
            reader.maps(np.stack([page_of_strokes(1)] * count), method)
    for function in (reader._ages, reader._features, reader._grids, reader._pixels):
        assert function.experimental_get_tracing_count() == 1


class TestAgainstTheLibrary:
    """tf-keras-vis where it works: flat models, classical maps without a reference."""

    patches = np.stack([page_of_strokes(1, 1), page_of_strokes(-1, 2)]).astype(np.float32)
    options: ClassVar = {"penultimate_layer": "last", "expand_cam": False, "normalize_cam": False}

    @staticmethod
    def score(outputs):
        return outputs[:, 0]

    def test_grad_cam(self, reader):
        theirs = Gradcam(reader.model)(self.score, self.patches, activation_modifier=None, **self.options)
        ours = reader.maps(self.patches, "grad_cam", paper=np.nan)
        cells = theirs.shape[1] ** 2
        np.testing.assert_allclose(
            ours, tf.image.resize(theirs[..., None] * cells, (SIDE, SIDE))[..., 0], atol=1e-3, rtol=1e-3
        )

    def test_grad_cam_plus_plus_of_the_age_and_of_its_negative(self, reader):
        ages = reader.ages(self.patches)[:, None]
        halves = []
        for sign in (1, -1):
            halves.append(
                GradcamPlusPlus(reader.model)(
                    lambda outputs, sign=sign: sign * (outputs - ages) / YEARS, self.patches, **self.options
                )
            )
        theirs = tf.image.resize((halves[0] - halves[1])[..., None], (SIDE, SIDE))[..., 0]
        ours = reader.maps(self.patches, "grad_cam_plus_plus", paper=np.nan)
        np.testing.assert_allclose(ours, theirs, atol=1e-4, rtol=1e-3)

    def test_saliency(self, reader):
        theirs = Saliency(reader.model)(self.score, self.patches, gradient_modifier=None, normalize_map=False)
        np.testing.assert_allclose(reader.maps(self.patches, "saliency", paper=np.nan), theirs, rtol=1e-5, atol=1e-6)

    def test_its_relu_hides_what_looks_younger(self, reader):
        theirs = np.asarray(Gradcam(reader.model)(self.score, self.patches[1:], **self.options))
        ours = reader.maps(self.patches[1:], "grad_cam")
        assert theirs.max() * theirs.shape[1] ** 2 < 0.1 * -ours.min()

    def test_its_grad_cam_plus_plus_of_an_age_is_not_a_number(self, reader):
        model = keras.Model(reader.model.input, reader.model.output + 70.0)  # an old writer: exp(age) overflows
        theirs = GradcamPlusPlus(model)(self.score, self.patches, **self.options)
        assert np.isnan(theirs).any()
        assert np.isfinite(Explainer(model, layers=("last",)).maps(self.patches, "grad_cam_plus_plus")).all()

    def test_its_score_cam_weighs_all_channels_alike_for_a_single_output(self, reader):
        theirs = Scorecam(reader.model)(self.score, self.patches, **self.options)
        features = reader._features(self.patches)[1][0]
        np.testing.assert_allclose(theirs, tf.reduce_sum(features, axis=-1), rtol=1e-4)


class TestNestedModels:
    """A backbone called like a layer, as in the Keras transfer-learning guide."""

    @pytest.fixture(scope="class")
    def nested(self):
        flat = stroke_reader()
        features = keras.Model(flat.input, flat.get_layer("last").output, name="features")
        inputs = keras.Input((SIDE, SIDE, 1))
        x = keras.layers.GlobalAveragePooling2D()(features(inputs))
        return keras.Model(inputs, flat.get_layer("head_output")(x), name="nested")

    def test_the_library_fails(self, nested):
        with pytest.raises(ValueError, match="not connected"):
            Gradcam(nested)(lambda outputs: outputs[:, 0], page_of_strokes(1)[None], penultimate_layer="last")

    def test_ours_equals_the_flat_model(self, nested, reader):
        ours = Explainer(nested, layers=("last",))
        patches = page_of_strokes(1)[None]
        for method in ("grad_cam", "score_cam"):
            np.testing.assert_allclose(ours.maps(patches, method), reader.maps(patches, method), rtol=1e-5, atol=1e-4)

    def test_nested_twice_and_sequential(self, nested, reader):
        twice = keras.Sequential([keras.Input((SIDE, SIDE, 1)), nested])
        patches = page_of_strokes(-1)[None]
        ours = Explainer(twice, layers=("last",)).maps(patches, "grad_cam")
        np.testing.assert_allclose(ours, reader.maps(patches, "grad_cam"), rtol=1e-5, atol=1e-4)

    def test_an_unknown_layer_is_named(self, nested):
        with pytest.raises(InputError, match="no layer nowhere"):
            tapped(nested, ["nowhere"])


class TestTokens:
    """A transformer of two narrow blocks."""

    @pytest.fixture(scope="class")
    def transformer(self):
        keras.utils.set_random_seed(0)
        backbone = build_backbone("beit_base", 64, 1, embed_dim=16, depth=2, num_heads=2)
        x = keras.layers.Cropping1D((1, 0), name="head_tokens")(backbone.output)
        x = keras.layers.GlobalAveragePooling1D(name="head_pooling")(x)
        return keras.Model(backbone.input, keras.layers.Dense(1, name="head_output")(x))

    patches = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 1)).astype(np.uint8)

    def test_the_library_returns_the_patch_embedding_instead(self, transformer):
        options = {"expand_cam": False, "normalize_cam": False, "activation_modifier": None}
        pixels = self.patches.astype(np.float32)
        asked = Gradcam(transformer)(lambda o: o[:, 0], pixels, penultimate_layer="blocks.1", **options)
        embedding = Gradcam(transformer)(lambda o: o[:, 0], pixels, penultimate_layer="patch_embed.proj", **options)
        np.testing.assert_array_equal(asked, embedding)

    def test_the_library_gives_a_line_rather_than_a_map_for_the_tokens_themselves(self, transformer):
        pixels = self.patches.astype(np.float32)
        options = {"penultimate_layer": "blocks.1", "seek_penultimate_conv_layer": False}
        assert Gradcam(transformer)(lambda o: o[:, 0], pixels, **options).shape == (2, 64)

    def test_ours_is_a_grid_that_adds_up(self, transformer):
        explainer = Explainer(transformer, get_spec("beit_base"), layers=("blocks.1",))
        maps = explainer.maps(self.patches, "grad_cam", paper=255.0)
        empty = explainer.ages(np.full((1, 64, 64, 1), 255))
        np.testing.assert_allclose(maps.mean(axis=(1, 2)), explainer.ages(self.patches) - empty, rtol=1e-5, atol=1e-4)
        assert "attention_rollout" in explainer.methods

    def test_attention_weights_are_the_layers_own(self, transformer):
        layer = transformer.get_layer("blocks.0.attn")
        qkv = keras.Model(transformer.input, layer.input)(self.patches)
        weights = layer.attention_weights(qkv)
        value = (qkv + tf.concat([tf.zeros(32), layer.v_bias], 0))[..., 32:]
        value = tf.transpose(tf.reshape(value, (2, 17, 2, 8)), (0, 2, 1, 3))
        mixed = tf.reshape(tf.transpose(weights @ value, (0, 2, 1, 3)), (2, 17, 16))
        np.testing.assert_allclose(layer(qkv), mixed, atol=1e-5)

    def test_rollout_sums_to_one_and_follows_the_attention(self, transformer):
        rollout = AttentionRollout(transformer, 1)
        grids = rollout(tf.cast(self.patches, tf.float32)).numpy()
        np.testing.assert_allclose(grids.sum(axis=(1, 2)), 1, rtol=1e-5)
        # A bias that sends every token to the place two cells to its right: the right side is reached.
        for layer in rollout.layers:
            table = np.zeros(layer.table.shape, np.float32)
            side = 2 * layer.grid - 1
            table[(layer.grid - 1) * side + layer.grid - 1 - 2] = 20.0
            layer.table.assign(table)
        grids = rollout(tf.cast(self.patches, tf.float32)).numpy()
        assert grids[:, :, 2:].sum() > 1.5 * grids[:, :, :2].sum()

    def test_none_without_attention(self, reader):
        assert "attention_rollout" not in reader.methods
        with pytest.raises(InputError, match="no attention"):
            reader.maps(page_of_strokes(1)[None], "attention_rollout")


def test_fold_tokens():
    tokens = tf.reshape(tf.range(2 * 5 * 3, dtype=tf.float32), (2, 5, 3))
    np.testing.assert_array_equal(fold_tokens(tokens, 1)[0, 1, 0], tokens[0, 3])
    with pytest.raises(ValueError, match="square grid"):
        fold_tokens(tokens)


def test_layers_of_a_backbone_that_pools_its_class_token():
    model = build_age_model("vit_tiny_32", ModelConfig(weights="none", pooling="class_token"), 64).predictor
    assert cam_layers(model, get_spec("vit_tiny_32")) == ("block_10",)


def test_layers_of_several_resolutions_and_the_median_of_quantiles():
    built = build_age_model("resnet10", ModelConfig(weights="none", head="quantile"), 64, median=31.0)
    explainer = Explainer(built.predictor, "resnet10", fused=3)
    assert explainer.layers == ("stage2_out", "stage3_out", "stage4_out")
    np.testing.assert_allclose(explainer.ages(np.zeros((1, 64, 64, 1))), 31.0, rtol=1e-5)
    with pytest.raises(InputError, match="it is no vit"):
        cam_layers(built.predictor, get_spec("vit_tiny_16"))
