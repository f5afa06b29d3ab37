"""Which images of a run the baselines on frozen features use."""

from dataclasses import dataclass

import numpy as np

from semisonic.data.sets.splits import Split

POOL = 100_000
"""Images of the pool that self-training uses, at most. Features take 2 bytes a value, and 4 more while it runs."""
LABELED = 50_000
"""Labeled images that the baselines learn from, at most."""


@dataclass(frozen=True, eq=False)
class Chosen:
    """Numbers of training images, each int64 and ascending or in the split's order."""

    labeled: np.ndarray
    pool: np.ndarray
    """Without the labeled ones, which the pool of a run may include."""
    held_out: np.ndarray
    notes: tuple[str, ...] = ()
    """A line each where there are more than are used."""

    @property
    def all(self) -> np.ndarray:
        """Whose features are needed, ascending."""
        return np.unique(np.concatenate([self.labeled, self.pool, self.held_out]))


def choose(split: Split, seed: int) -> Chosen:
    """All images of a split, or of very many a sample that the seed draws."""
    notes = []

    def some(images: np.ndarray, most: int, what: str, draw: int) -> np.ndarray:
        if len(images) <= most:
            return images
        notes.append(f"frozen features: {most:,} of {len(images):,} {what} are used, drawn by the seed")
        return images[np.sort(np.random.default_rng([seed, draw]).permutation(len(images))[:most])]

    labeled = some(split.labeled, LABELED, "labeled images", 2)
    pool = some(np.setdiff1d(split.unlabeled, np.union1d(split.labeled, split.held_out)), POOL, "images of the pool", 3)
    return Chosen(labeled, pool, split.held_out, tuple(notes))
