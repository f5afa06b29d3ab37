"""Labels as a person would choose them before there is a network: typical and diverse images (Hacohen et al. 2022,
arXiv 2202.02794), by the principal components of small copies.

Shape suffixes: N images, P values of a small copy, K components.
"""

import io
from collections.abc import Callable

import numpy as np

from semisonic.data.sets.base import ImageFiles, Images
from semisonic.data.sets.limits import open_image, read_regular
from semisonic.data.sets.manifest import rgb_image

SIDE = 32
"""Pixels of the copies, at most."""
COMPONENTS = 32
FITTED = 20_000
"""Images of which components are computed, at most."""
BLOCK = 2**15
"""Copies that are computed on at once: 0.8 GB."""

Chooser = Callable[[np.ndarray, int, int], np.ndarray]
"""(images that may be chosen, int64 [M]; how many; seed) -> those that are, the most useful first."""


def chooser(images: Images | ImageFiles) -> Chooser:
    """Chooses among images, whatever their labels."""

    def choose(candidates: np.ndarray, count: int, seed: int) -> np.ndarray:
        from semisonic.curation.choice import typical  # scikit-learn, which nothing else of a run needs

        copies = np.stack([_copy(images, index) for index in candidates.tolist()]).reshape(len(candidates), -1)
        return candidates[typical(components(copies, seed), count, seed=seed)]

    return choose


def typical_first(order: np.ndarray, count: int, seed: int, choose: Chooser | None) -> np.ndarray:
    """The same images, with `count` typical and diverse ones in front."""
    if choose is None:
        raise ValueError("data.labels_from typical needs the images themselves")
    chosen = choose(np.sort(order), count, seed & 0xFFFFFFFF)
    return np.concatenate([chosen, order[~np.isin(order, chosen)]])


def components(copies_NP: np.ndarray, seed: int = 0) -> np.ndarray:
    """The principal components of uint8 [N, P]: float32 [N, K], K = 32 or as many as there are."""
    rows = len(copies_NP)
    chosen = np.random.default_rng(seed).choice(rows, min(rows, FITTED), replace=False)
    sample = copies_NP[np.sort(chosen)].astype(np.float64) / 255
    mean_P = sample.mean(0)
    # By the smaller of the two products, whose eigenvectors are exact enough to be the same on every machine.
    _, axes_PP = np.linalg.eigh((sample - mean_P).T @ (sample - mean_P))
    axes_PK = axes_PP[:, ::-1][:, : min(COMPONENTS, rows)]
    found = [
        ((copies_NP[first : first + BLOCK] / 255 - mean_P) @ axes_PK).astype(np.float32)
        for first in range(0, rows, BLOCK)
    ]
    return np.concatenate(found)


def _copy(images: Images | ImageFiles, index: int) -> np.ndarray:
    """uint8 [S, S, 3] of the square in the middle, S at most 32."""
    from PIL import Image

    if isinstance(images, Images):
        picture = Image.fromarray(images.pixels[index])
    else:
        with open_image(io.BytesIO(read_regular(images.root / images.paths[index]))) as opened:
            opened.draft("RGB", (2 * SIDE, 2 * SIDE))
            picture = rgb_image(opened)
    side = min(picture.size)
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    picture = picture.crop((left, top, left + side, top + side))
    own = images.pixels.shape[1] if isinstance(images, Images) else SIDE
    return np.asarray(picture.resize((min(SIDE, own),) * 2, Image.Resampling.BOX))
