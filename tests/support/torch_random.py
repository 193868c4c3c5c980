"""PyTorch's normal random numbers on a CPU, from its seeds, without PyTorch: to draw what an oracle's maker drew."""

import numpy as np


class TorchNormal:
    """`torch.randn(shape, generator=torch.Generator().manual_seed(seed))`, call after call, to float32 rounding.

    Sixteen numbers and more are drawn in blocks of 16 from 24-bit uniform ones, fewer in pairs from 53-bit ones, by
    Box and Muller's transform of a Mersenne twister's numbers. Fewer than 16 must be an even number.
    """

    def __init__(self, seed: int):
        self._twister = np.random.MT19937()
        self._twister._legacy_seeding(seed)

    def __call__(self, shape: tuple[int, ...]) -> np.ndarray:
        count = int(np.prod(shape))
        values = self._blocks(count) if count >= 16 else self._pairs(count)
        return values.reshape(shape).astype("float32")

    def _blocks(self, count: int) -> np.ndarray:
        values = self._uniform(count)
        for start in range(0, count - 15, 16):
            values[start : start + 16] = _box_muller(values[start : start + 16])
        if count % 16:
            values[-16:] = _box_muller(self._uniform(16))
        return values

    def _uniform(self, count: int) -> np.ndarray:
        return (self._twister.random_raw(count) & 0xFFFFFF).astype("float32") / np.float32(1 << 24)

    def _pairs(self, count: int) -> np.ndarray:
        raw = self._twister.random_raw(2 * count).astype(np.uint64)
        uniform = ((raw[::2] << np.uint64(32) | raw[1::2]) & np.uint64((1 << 53) - 1)) / 2.0**53
        angle, radius = 2 * np.pi * uniform[::2], np.sqrt(-2 * np.log1p(-uniform[1::2]))
        return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)


def _box_muller(uniform: np.ndarray) -> np.ndarray:
    radius = np.sqrt(-2 * np.log(1 - uniform[:8]))
    angle = np.float32(2 * np.pi) * uniform[8:]
    return np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])
