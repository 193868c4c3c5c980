"""Attention roll-out: how much each place of the patch reaches the pooled tokens through all attention layers.

Abnar and Zuidema 2020, "Quantifying Attention Flow in Transformers", arXiv:2005.00928, section 3. It needs layers in
which every token attends to every other: BEiT and DiT (`TokenAttention`) and keras-cv's ViTs. Windowed (SwinV2,
TinyViT), carrier (FasterViT), reduced (MiT) and place-wise (MobileViT) attention has no such matrix over the patch.
"""

from typing import Any

import keras
import tensorflow as tf

from age_keras.errors import InputError


class AttentionRollout:
    """Of one model; its attention layers' inputs are tapped once and the whole is traced once.

    Args:
        model: A model with global attention.
        class_tokens: Tokens before those of places.

    Raises:
        InputError: The model has no global attention.
    """

    def __init__(self, model: keras.Model, class_tokens: int):
        self.layers = _attention_layers(model)
        if not self.layers:
            raise InputError(
                f"{model.name} has no attention over the whole patch: attention_rollout is for BEiT, DiT and ViT."
            )
        self.class_tokens = class_tokens
        self.pools_class_token = "head_token" in {layer.name for layer in model.layers}
        self._inputs = keras.Model(model.inputs, [layer.input for layer in self.layers])
        signature = [tf.TensorSpec((None, *model.inputs[0].shape[1:]), tf.float32)]
        self._traced = tf.function(self._rollout, input_signature=signature, autograph=False)

    @staticmethod
    def possible(model: keras.Model) -> bool:
        """Whether the model has attention over the whole patch."""
        return bool(_attention_layers(model))

    def __call__(self, pixels: tf.Tensor) -> tf.Tensor:
        """Pixels (N, S, S, C) to maps (N, h, h) that sum to 1."""
        return self._traced(pixels)

    def _rollout(self, pixels):
        inputs = self._inputs(pixels, training=False)
        inputs = inputs if isinstance(inputs, list) else [inputs]
        flow: Any = None
        for layer, x in zip(self.layers, inputs, strict=True):
            attention = tf.reduce_mean(layer.attention_weights(x), axis=1)
            # Half of a block's output comes along its skip connection, unmixed (equation 1).
            mixed = 0.5 * attention + 0.5 * tf.eye(attention.shape[-1])
            flow = mixed if flow is None else mixed @ flow
        reached = flow[:, 0] if self.pools_class_token else tf.reduce_mean(flow[:, self.class_tokens :], axis=1)
        places = reached[:, self.class_tokens :]
        side = round(places.shape[-1] ** 0.5)
        return tf.reshape(places / tf.reduce_sum(places, axis=-1, keepdims=True), (-1, side, side))


def _attention_layers(model: keras.Model) -> list[keras.layers.Layer]:
    """In the order of the graph."""
    return [layer for layer in model.layers if getattr(layer, "attends_to_all", False)]
