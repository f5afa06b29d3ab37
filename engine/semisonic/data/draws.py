"""Every random number of the data path, from a counter: the same for a global sample number whatever the threads,
prefetch depth, batch split, world size or restart.

A Philox generator (Salmon et al. 2011) is keyed by the run's seed and a purpose, and advanced to the sample. Only
its raw 64-bit output is used, which numpy keeps stable over versions (its distributions it does not).
"""

import hashlib

import numpy as np


def generator(seed: int, purpose: str) -> np.random.Philox:
    """The bit generator of (seed, purpose), at counter 0."""
    digest = hashlib.blake2b(f"{seed}/{purpose}".encode(), digest_size=16).digest()
    return np.random.Philox(key=np.frombuffer(digest, dtype=np.uint64))


def uniforms(seed: int, purpose: str, first: int, count: int, width: int) -> np.ndarray:
    """`width` doubles in [0, 1) for each of the samples first, ..., first + count - 1: float64 [count, width].

    `width` must be a multiple of 4, the number of outputs of one counter step.
    """
    if width % 4:
        raise ValueError(f"width must be a multiple of 4, got {width}")
    bits = generator(seed, purpose)
    bits.advance(first * (width // 4))
    raw = bits.random_raw(count * width) >> np.uint64(11)
    return (raw * 2.0**-53).reshape(count, width)


def permutation(seed: int, purpose: str, size: int) -> np.ndarray:
    """A random order of range(size): int64 [size]."""
    return np.argsort(generator(seed, purpose).random_raw(size), kind="stable")


def sample_keys(seed: int, purpose: str, first: int, count: int) -> np.ndarray:
    """One 63-bit key a sample, from which the device hashes per-pixel noise: int64 [count]."""
    bits = generator(seed, purpose)
    bits.advance(first)
    return (bits.random_raw(4 * count)[::4] >> np.uint64(1)).astype(np.int64)
