"""Attacks by Foolbox on a model that is easy to fool: it compares the ink of the two halves."""

import numpy as np
import pytest
import tensorflow as tf

from age_keras.errors import InputError


def _halves(images):
    return tf.stack([tf.reduce_sum(images[:, :, :14], (1, 2, 3)), tf.reduce_sum(images[:, :, 14:], (1, 2, 3))], axis=1)


def test_foolbox_breaks_a_plain_model_and_reports_who_withstood():
    pytest.importorskip("foolbox", reason="attacks need the extra: pip install -e '.[attacks]'")
    from age_keras.characters.robustness.attacks import robust_accuracy

    images = np.full((20, 28, 28), 100, np.uint8)
    labels = np.arange(20) % 2
    images[labels == 0, :, :14] += 20
    images[labels == 1, :, 14:] += 20

    def attacked(**options):
        return robust_accuracy(lambda x: _halves(x) / 1000, images, labels, steps=5, progress=False, **options)

    clean, withstood = attacked(epsilon=0.0, attack="noise")
    assert clean == withstood.mean() == 1
    for attack in ("fgsm", "pgd"):
        assert attacked(epsilon=0.02, attack=attack)[0] == 1  # 5 of 255: the halves differ by 20.
        assert attacked(epsilon=0.2, attack=attack)[0] == 0
    with pytest.raises(InputError, match="fgsm"):
        attacked(attack="magic")
