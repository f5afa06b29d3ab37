"""Random numbers and weak views of an image by its own content: the same whatever else is predicted with it, in which
batch, and on how many ranks.

Shape suffixes: N images, K uniforms, C channels, H height, W width.
"""

import hashlib
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from semisonic.data.loading.draws import Draws, purpose, uniforms
from semisonic.data.views.view import Geometry, Weak

STREAM = "predict"


def key_of(digest: bytes) -> int:
    """63 bits of a digest of an image's content."""
    return int.from_bytes(digest[:8], "little") >> 1


def keys_of_pixels(pixels_NHWC: np.ndarray) -> np.ndarray:
    """int64 [N]: the keys of images in memory."""
    return np.array([key_of(hashlib.blake2b(image.tobytes(), digest_size=16).digest()) for image in pixels_NHWC])


@dataclass(frozen=True)
class KeyedDraws(Draws):
    """Draws by the keys of images, in place of the numbers of samples."""

    seed: int = 0
    stream: str = STREAM
    keys_N: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64), compare=False)
    """int64 [N]: of the images that the numbers 0..N-1 stand for; larger numbers stand for the last one."""

    def uniforms(self, kind: str, name: str, numbers_N: np.ndarray, width: int) -> np.ndarray:
        if not width:
            return np.empty((len(numbers_N), 0))
        keys_N = self.keys_N[np.minimum(numbers_N, len(self.keys_N) - 1)]
        unique, back_N = np.unique(keys_N, return_inverse=True)
        return uniforms(self.seed, purpose(kind, self.stream, name), unique, width)[back_N]


@dataclass(frozen=True)
class WeakCrops:
    """The weak view of images that have the run's size already, as runs on images in memory draw it: one of the windows
    of the image with a reflected margin, and a flip where the data set allows it."""

    size: int
    pad: int
    flip: bool

    def __call__(self, images: Tensor, keys_N: np.ndarray, name: str) -> Tensor:
        """uint8 [N, C, S, S] -> the view of that name, of the same shape."""
        weak = Weak(Geometry(self.size, self.pad, self.flip, fill=(0, 0, 0)))
        uniforms_NK = KeyedDraws(keys_N=keys_N).uniforms("view", name, np.arange(len(images)), weak.uniforms)
        window_N23 = weak.params(uniforms_NK, None)["window"]
        mirrored_N1 = window_N23[:, 0, :1] < 0
        place = np.arange(self.size)
        row_NH = window_N23[:, 1, 2:] + place
        column_NW = window_N23[:, 0, 2:] + np.where(mirrored_N1, -1 - place, place)
        rows, columns = (torch.from_numpy(self._reflected(index)).to(images.device) for index in (row_NH, column_NW))
        every = torch.arange(len(images), device=images.device)[:, None, None]
        return images[every, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)

    def _reflected(self, index: np.ndarray) -> np.ndarray:
        """Places in the image with its margin as places in the image: mirrored without repeating the border pixel."""
        inside = np.abs(index.astype(np.int64) - self.pad)
        return np.where(inside < self.size, inside, 2 * (self.size - 1) - inside)
