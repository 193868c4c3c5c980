"""What rotation, shift and images that show no digit do to an answer."""

import numpy as np

from age_keras.characters.robustness.measure import on_out_of_distribution, under_rotation, under_shift


def test_an_answer_from_position_suffers_from_shifts_and_turns():
    def left_or_right(images):
        mass = images[:, :, :14].sum(axis=(1, 2)) / np.maximum(images.sum(axis=(1, 2)), 1)
        return np.stack([mass, 1 - mass], axis=1)

    images = np.zeros((2, 28, 28), np.uint8)
    images[0, 10:18, 9:12] = images[1, 10:18, 16:19] = 255
    labels = np.array([0, 1])
    shifted = under_shift(left_or_right, images, labels)
    assert shifted[0] == 1
    assert shifted[6] == 0.75  # Half of the sideways shifts cross the middle.
    assert under_rotation(left_or_right, images, labels)[0] == 1
    found = on_out_of_distribution(left_or_right, images, {"blank": np.zeros((4, 28, 28), np.uint8)}, 0.7)
    assert found["digits"]["unsure"] == 0
    assert found["blank"]["auroc"] == 0.5
