"""Every random number of the data path, from a counter: the same for a global sample number whatever the threads,
prefetch depth, batch split, world size or restart.

A Philox generator (Salmon et al. 2011) is keyed by the run's seed and a purpose, and advanced to the sample. Only
its raw 64-bit output is used, which numpy keeps stable over versions (its distributions it does not).
"""

import hashlib
from dataclasses import dataclass

import numpy as np

_FIRST_SPELLINGS = {"labeled": "labelled", "center": "centre"}
"""Words of names as the first version of this engine wrote them; "unlabeled" has "labeled" in it."""


def first_spelling(name: str) -> str:
    """A name as the first version wrote it. Random numbers and hashes of the runs that it made depend on these."""
    for word, first in _FIRST_SPELLINGS.items():
        name = name.replace(word, first)
    return name


def purpose(kind: str, *names: str | int) -> str:
    """What random numbers are for, as a key: purpose("view", "unlabeled", "weak") -> "view/unlabelled/weak".

    Every purpose is built here, in the first version's spelling: whatever streams, views and draws are called in the
    code today, a run of any version draws the same numbers.
    """
    return "/".join([kind, *(first_spelling(str(name)) for name in names)])


def generator(seed: int, purpose: str) -> np.random.Philox:
    """The bit generator of (seed, purpose), at counter 0."""
    digest = hashlib.blake2b(f"{seed}/{purpose}".encode(), digest_size=16).digest()
    return np.random.Philox(key=np.frombuffer(digest, dtype=np.uint64))


def raw(seed: int, purpose: str, numbers_N: np.ndarray, width: int) -> np.ndarray:
    """`width` 64-bit words for each of the ascending sample numbers: uint64 [N, width].

    `width` must be a multiple of 4, the number of words of one counter step.
    """
    if width % 4:
        raise ValueError(f"width must be a multiple of 4, got {width}")
    bits, at, words = generator(seed, purpose), 0, []
    unbroken = int(numbers_N[-1]) - int(numbers_N[0]) == len(numbers_N) - 1
    runs = [numbers_N] if unbroken else np.split(numbers_N, np.flatnonzero(np.diff(numbers_N) != 1) + 1)
    for run in runs:
        bits.advance((int(run[0]) - at) * (width // 4))
        words.append(bits.random_raw(len(run) * width))
        at = int(run[-1]) + 1
    return (words[0] if unbroken else np.concatenate(words)).reshape(len(numbers_N), width)


def uniforms(seed: int, purpose: str, numbers_N: np.ndarray, width: int) -> np.ndarray:
    """`width` (a multiple of 4) doubles in [0, 1) for each of the ascending sample numbers: float64 [N, width]."""
    words = raw(seed, purpose, numbers_N, width)
    words >>= np.uint64(11)
    return words * 2.0**-53


def permutation(seed: int, purpose: str, size: int) -> np.ndarray:
    """A random order of range(size): int64 [size]."""
    return np.argsort(generator(seed, purpose).random_raw(size), kind="stable")


def sample_keys(seed: int, purpose: str, numbers_N: np.ndarray) -> np.ndarray:
    """One 63-bit key for each of the ascending sample numbers, to hash per-pixel noise from: int64 [N]."""
    return (raw(seed, purpose, numbers_N, 4)[:, 0] >> np.uint64(1)).astype(np.int64)


@dataclass(frozen=True)
class Draws:
    """The random numbers of one stream of a run, by what they are for."""

    seed: int
    stream: str

    def uniforms(self, kind: str, name: str, numbers_N: np.ndarray, width: int) -> np.ndarray:
        """float64 [N, width] in [0, 1): see `uniforms`."""
        return uniforms(self.seed, purpose(kind, self.stream, name), numbers_N, width)

    def sample_keys(self, kind: str, name: str, numbers_N: np.ndarray) -> np.ndarray:
        """int64 [N]: see `sample_keys`."""
        return sample_keys(self.seed, purpose(kind, self.stream, name), numbers_N)

    def permutation(self, kind: str, number: int, size: int) -> np.ndarray:
        """int64 [size]: see `permutation`."""
        return permutation(self.seed, purpose(kind, self.stream, number), size)
