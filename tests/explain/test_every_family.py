"""Every family of backbones has a map of a real page: folded, finite, and empty where the paper is."""

import numpy as np
import pytest
import tensorflow as tf

from age_keras.config.model import ModelConfig
from age_keras.config.pages import PageSettings
from age_keras.explain.cam import Explainer
from age_keras.explain.page import explain_page
from age_keras.explain.page_figure import colour_levels
from age_keras.models.age import build_age_model

FAMILIES = {
    "resnet10": 64,
    "resnet50": 64,
    "inception_v3": 96,
    "inception_resnet_v2": 96,
    "densenet121": 64,
    "efficientnetv2_m": 64,
    "mobilenetv3_small": 64,
    "convnextv2_atto": 64,
    "swinv2_tiny": 64,
    "mobilevit_xxs": 64,
    "tinyvit_5m": 64,
    "fastervit_0": 224,
    "vit_tiny_16": 64,
    "mit_b0": 64,
    "beit_base": 64,
    "dit_base": 64,
}


@pytest.fixture
def eager():
    """Tracing the big networks takes longer than running them once."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.mark.slow
@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("backbone", FAMILIES)
def test_maps_a_real_page(backbone, shared_data):
    side = FAMILIES[backbone]
    model = build_age_model(backbone, ModelConfig(weights="none"), side, 1, median=20.0).predictor
    kernel = model.get_layer("head_output").kernel
    kernel.assign(np.random.default_rng(0).normal(size=kernel.shape) * 0.3)
    explainer = Explainer(model, backbone, fused=2)
    assert len(explainer.layers) == 2
    path = shared_data / "handwriting_age" / "dysgraphia" / "dg016_s1.png"
    page = explain_page(explainer, path, PageSettings(image_size=side, stride=400))
    levels = colour_levels(page)
    assert np.isfinite(levels).all()
    assert np.abs(levels).max() > 0.1
    assert not levels[page.near_ink == 0].any()
    if "attention_rollout" in explainer.methods:
        attention = explainer.maps(np.full((1, side, side, 1), 200, np.uint8), "attention_rollout")
        assert (attention >= 0).all()
