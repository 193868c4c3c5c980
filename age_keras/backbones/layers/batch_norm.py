"""Batch normalisation (Ioffe & Szegedy 2015, arXiv:1502.03167) that trains with TensorFlow's one fused operation.

The same numbers as Keras' layer up to rounding, in less than half of its time in training on a CPU: Keras computes
mean, variance and product apart, and differentiates through each.
"""

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable("age_keras")
class BatchNorm(keras.layers.BatchNormalization):
    """`keras.layers.BatchNormalization` over the last axis of a map; computes in float32.

    Input and output: (N, H, W, C).
    """

    def call(self, x, training=None, mask=None):
        if not (training and self.trainable):
            return super().call(x, training=training, mask=mask)
        whole = tf.cast(x, "float32")
        channels = whole.shape[-1]
        normalized, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=whole,
            scale=tf.cast(self.gamma, "float32") if self.scale else tf.ones(channels),
            offset=tf.cast(self.beta, "float32") if self.center else tf.zeros(channels),
            mean=tf.zeros(0),
            variance=tf.zeros(0),
            epsilon=self.epsilon,
        )
        count = tf.cast(tf.size(whole) // channels, "float32")
        variance *= (count - 1) / count  # The operation gives that of a sample, n - 1; Keras keeps the mean square.
        for moving, batch in ((self.moving_mean, mean), (self.moving_variance, variance)):
            moving.assign(tf.cast(moving, "float32") * self.momentum + batch * (1 - self.momentum))
        return tf.cast(normalized, self.compute_dtype)
