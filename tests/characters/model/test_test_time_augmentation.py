"""Test-time augmentation: the mean over rotated and zoomed views, the same after saving, and a single view of it."""

import keras
import numpy as np

from age_keras.characters.config import RecogniserConfig
from age_keras.characters.data.warp import affine_batch
from age_keras.characters.explain import attention_map, grad_cam
from age_keras.characters.model.recogniser import build_recogniser, logits_model
from age_keras.characters.model.saving import load_recogniser, save_recogniser
from age_keras.characters.model.test_time_augmentation import (
    VIEWS,
    AugmentedViews,
    MeanOverViews,
    single_view,
    with_test_time_augmentation,
)

TINY = RecogniserConfig(detail=(), stem=4, stages=((4,), (6,)), units=8, heads=2)


def test_an_answer_is_the_mean_over_rotated_and_zoomed_views(tmp_path):
    keras.utils.set_random_seed(0)
    model = build_recogniser(TINY, classes=3)
    model.get_layer("probabilities").temperature.assign(1.7)
    images = np.random.default_rng(0).integers(0, 256, (6, 28, 28), dtype=np.uint8)
    views = [affine_batch(images, rotation=degrees, zoom=zoom) for degrees, zoom in VIEWS]
    found = np.asarray(AugmentedViews(VIEWS)(images[..., None].astype(np.float32))).reshape(5, 6, 28, 28)
    # OpenCV rounds places to 1/32 of a pixel, and values to whole numbers.
    assert np.abs(found - views).mean() < 2
    np.testing.assert_array_equal(found[0], images)
    logits = np.mean([logits_model(model)(view[..., None]) for view in found], axis=0)
    averaged = with_test_time_augmentation(model)
    np.testing.assert_allclose(logits_model(averaged)(images[..., None]), logits, atol=1e-5)
    expected = keras.ops.softmax(logits / 1.7)
    np.testing.assert_allclose(averaged(images[..., None]), expected, atol=1e-6)
    save_recogniser(tmp_path / "a.keras", averaged, "digits")
    again = load_recogniser(tmp_path / "a.keras")
    np.testing.assert_array_equal(again(images[..., None]), averaged(images[..., None]))
    assert grad_cam(single_view(again), images).shape == attention_map(single_view(again), images).shape == images.shape
    assert single_view(model) is model


def test_a_plain_keras_file_of_a_recogniser_loads(tmp_path):
    averaged = with_test_time_augmentation(build_recogniser(TINY, classes=3))
    averaged.save(tmp_path / "plain.keras")
    images = np.random.default_rng(0).integers(0, 256, (2, 28, 28, 1), dtype=np.uint8)
    np.testing.assert_array_equal(load_recogniser(tmp_path / "plain.keras")(images), averaged(images))


def test_saved_layers_keep_the_key_of_files_that_exist():
    assert AugmentedViews(VIEWS).get_config()["looks"] == VIEWS
    assert MeanOverViews(5).get_config()["looks"] == 5
