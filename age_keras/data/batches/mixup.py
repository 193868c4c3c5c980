"""Batch policies that mix pages: C-Mixup and RegMixup.

They act on whole batches of pixels behind the augmentation, so they need plain training: a cached prefix has no mixed
pages. What is mixed with what is a function of the seed and the batch's number.
"""

from typing import Literal

import tensorflow as tf

C_MIXUP_ALPHA = 2.0  # of Beta(alpha, alpha); the value of Yao et al. 2022 for most regression sets
C_MIXUP_BANDWIDTH = 5.0  # years: pages whose ages differ by more than twice this are hardly ever mixed
REGMIXUP_ALPHA = 10.0  # Pinto et al. 2022: strong mixing, far from both originals


def mix_batches(dataset: tf.data.Dataset, kind: Literal["c_mixup", "regmixup"], seed: int) -> tf.data.Dataset:
    """Mixes the pages of each batch.

    `c_mixup` replaces each page by a mixture with another of about the same age (Yao et al. 2022, arXiv:2210.05775);
    `regmixup` keeps the batch and adds a mixed one behind it (Pinto et al. 2022, arXiv:2206.14502).

    Args:
        dataset: Batches (x, y) or (x, y, w): x (N, H, W, C) uint8, y (N, 1) years, w (N,).
        kind: Which of the two.
        seed: Seed of partners and proportions.

    Returns:
        Batches of the same structure, x float32 in [0, 255]; `regmixup` has 2N rows.
    """

    def mix(number, batch):
        x, y, *w = batch
        x, y = tf.cast(x, tf.float32), tf.cast(y, tf.float32)
        key = tf.stack([tf.cast(seed, tf.int64), number])
        partner = (
            _near_in_age(y, key)
            if kind == "c_mixup"
            else tf.random.experimental.stateless_shuffle(tf.range(tf.shape(y)[0]), seed=key)
        )
        weight = _beta(C_MIXUP_ALPHA if kind == "c_mixup" else REGMIXUP_ALPHA, tf.shape(y)[0], key)

        def blend(a):
            s = tf.reshape(weight, tf.concat([tf.shape(weight), tf.ones(tf.rank(a) - 1, tf.int32)], 0))
            return s * a + (1 - s) * tf.gather(a, partner)

        mixed = [tf.ensure_shape(blend(a), a.shape) for a in (x, y, *w)]
        if kind == "regmixup":
            mixed = [tf.concat([a, m], 0) for a, m in zip((x, y, *w), mixed, strict=True)]
        return tuple(mixed)

    return dataset.enumerate().map(lambda n, b: mix(n, b), num_parallel_calls=2, deterministic=True).prefetch(2)


def _near_in_age(y, key):
    """A partner for each row, with probability proportional to a Gaussian of the difference of ages."""
    difference = tf.reshape(y, (-1, 1)) - tf.reshape(y, (1, -1))
    logits = -0.5 * tf.square(difference / C_MIXUP_BANDWIDTH)
    logits = tf.linalg.set_diag(logits, tf.fill(tf.shape(y)[:1], -1e9))  # not with itself
    return tf.random.stateless_categorical(logits, 1, seed=key + 1)[:, 0]


def _beta(alpha, n, key):
    """Beta(alpha, alpha) from two gammas."""
    a = tf.random.stateless_gamma([n], seed=key + 2, alpha=alpha)
    b = tf.random.stateless_gamma([n], seed=key + 3, alpha=alpha)
    return a / (a + b)
