"""Five looks: the mean over turned and zoomed copies, the same after saving, and one look still to be had."""

import keras
import numpy as np

from age_keras.characters.data.warp import affine_batch
from age_keras.characters.explain import attention_map, grad_cam
from age_keras.characters.model.looks import LOOKS, Looks, one_look, with_looks
from age_keras.characters.model.recogniser import RecogniserConfig, build_recogniser, logits_model

TINY = RecogniserConfig(detail=(), stem=4, stages=((4,), (6,)), units=8, heads=2)


def test_an_answer_is_the_mean_over_turned_and_zoomed_copies(tmp_path):
    keras.utils.set_random_seed(0)
    model = build_recogniser(TINY, classes=3)
    model.get_layer("probabilities").temperature.assign(1.7)
    images = np.random.default_rng(0).integers(0, 256, (6, 28, 28), dtype=np.uint8)
    copies = [affine_batch(images, rotation=degrees, zoom=zoom) for degrees, zoom in LOOKS]
    found = np.asarray(Looks(LOOKS)(images[..., None].astype(np.float32))).reshape(5, 6, 28, 28)
    # OpenCV rounds places to 1/32 of a pixel, and values to whole numbers.
    assert np.abs(found - copies).mean() < 2
    np.testing.assert_array_equal(found[0], images)
    logits = np.mean([logits_model(model)(copy[..., None]) for copy in found], axis=0)
    looking = with_looks(model)
    np.testing.assert_allclose(logits_model(looking)(images[..., None]), logits, atol=1e-5)
    expected = keras.ops.softmax(logits / 1.7)
    np.testing.assert_allclose(looking(images[..., None]), expected, atol=1e-6)
    looking.save(tmp_path / "a.keras")
    again = keras.models.load_model(tmp_path / "a.keras")
    np.testing.assert_array_equal(again(images[..., None]), looking(images[..., None]))
    assert grad_cam(one_look(again), images).shape == attention_map(one_look(again), images).shape == images.shape
    assert one_look(model) is model
