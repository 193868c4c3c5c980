"""Random numbers that are a function of a key: no state, so no order, thread or process can change them.

A counter-based generator in the sense of Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (SC 2011), with
the finaliser of SplitMix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014) as its
bijection. It does not rest on any library's stream of random numbers, so results stay when libraries change.
"""

import zlib

import numpy as np

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def mix(words: np.ndarray) -> np.ndarray:
    """The finaliser of SplitMix64: a bijection of 64-bit words that changes half of the bits for any changed bit."""
    z = np.asarray(words).astype(np.uint64)
    with np.errstate(over="ignore"):
        z = z + _GOLDEN
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def combine(keys: np.ndarray, *words: int | np.ndarray) -> np.ndarray:
    """Hashes each key together with further integers (broadcast). Returns uint64."""
    state = mix(_as_words(keys))
    for word in words:
        state = mix(state ^ mix(_as_words(word)))
    return state


def uniform(keys: np.ndarray, stream: str, size: tuple[int, ...] = (), low=-1.0, high=1.0) -> np.ndarray:
    """Uniform numbers of a named stream for each key.

    Args:
        keys: Integers (N,).
        stream: What the numbers are for; two streams of one key are independent.
        size: Numbers a key. Defaults to one.
        low: The lower bound, included. Defaults to -1.
        high: The upper bound, excluded. Defaults to 1.

    Returns:
        float64 (N, *size).
    """
    counters = np.arange(int(np.prod(size, dtype=np.int64)), dtype=np.uint64)
    streams = combine(keys, zlib.crc32(stream.encode()))
    bits = mix(streams[:, None] ^ mix(counters)[None]) >> np.uint64(11)
    numbers = bits.astype(np.float64) * 2.0**-53
    return (low + (high - low) * numbers).reshape(len(streams), *size)


def permutation(n: int, *words: int) -> np.ndarray:
    """The order of `n` things that the given integers stand for: int64 (n,)."""
    return np.argsort(combine(np.arange(n, dtype=np.uint64), *words), kind="stable")


def _as_words(values: int | np.ndarray) -> np.ndarray:
    if isinstance(values, int):
        return np.asarray(values & 0xFFFFFFFFFFFFFFFF, dtype=np.uint64)
    return np.asarray(values).astype(np.uint64)
