"""Batches of the images that can be used of a part, as a network takes them: the plain image, weak views, or both."""

from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from semisonic.data.sets.base import ImageFiles
from semisonic.inference.files import WEAK_AREA, view_slices
from semisonic.inference.keyed import KeyedDraws, WeakCrops, keys_of_pixels
from semisonic.inference.outputs import Trained
from semisonic.inference.sources import ArraySources, Sources


@dataclass(frozen=True, eq=False)
class Found:
    """A part of the images, and what can be used of it."""

    part: range
    """Rows of the sources."""
    rows: np.ndarray
    """int64 [n]: those that can be used."""
    left_out: list[tuple[int, str]]
    """Those that cannot, and why."""
    files: ImageFiles | None = None
    """Of `rows`, in their order; None for an array's images."""
    keys: np.ndarray | None = None
    """int64 [n]: of the files' contents."""


@dataclass(frozen=True, eq=False)
class Batches:
    """What makes batches of the images of a part. Each image is decoded once, whatever number of views is made of it.

    A batch depends on nothing but the part: it is the same to the last bit wherever it is made.
    """

    classifier: Trained
    sources: Sources
    size: int
    """Images of a batch."""
    views: int = 0
    """Weak views of each image, drawn by its content."""
    plain: bool = True
    """Whether the image as evaluations see it comes first."""

    def of(self, found: Found) -> Generator[tuple[list[Tensor], int], None, None]:
        """The views of each batch, and how many of its images are no repetitions. To be closed."""
        if found.files is None:
            yield from self._of_array(found)
        elif len(found.files):
            yield from self._of_files(found.files, found.keys)

    def _of_files(self, files: ImageFiles, keys: np.ndarray | None) -> Generator[tuple[list[Tensor], int], None, None]:
        inputs, device, specs = self.classifier.transform, self.classifier.device, self._specs()
        assert keys is not None
        crop_area = self.classifier.preprocess.get("crop_area", WEAK_AREA)
        slices = view_slices(
            inputs, files, self.size, device, specs, KeyedDraws(keys_N=keys), self._flip if specs else False, crop_area
        )
        with closing(slices):
            for views, indices, valid in slices:
                made = list(views.values()) if specs else self._crops(views["view"], keys[indices])
                yield made, int(valid.sum())

    def _of_array(self, found: Found) -> Generator[tuple[list[Tensor], int], None, None]:
        assert isinstance(self.sources, ArraySources)
        inputs, name = self.classifier.transform, str(self.sources.path)
        for first in range(0, len(found.rows), self.size):
            pixels = np.asarray(self.sources.pixels[found.rows[first : first + self.size]])
            images = inputs.convert(pixels, name)
            keys = keys_of_pixels(pixels) if self.views else np.empty(0, np.int64)
            if self.views and images.dtype != torch.uint8:
                images = images.round().to(torch.uint8)
            yield self._crops(images, keys), len(pixels)

    @property
    def _flip(self) -> bool:
        return bool(self.classifier.weak.get("flip"))

    def _specs(self) -> dict[str, str] | None:
        """The views that are made while files are decoded, as runs on files make them; None: the image alone is."""
        if not self.views or self.classifier.preprocess["view"] != "plain":
            return None
        weak = dict.fromkeys(self._names, "weak")
        return {"view": self.classifier.transform.view, **weak} if self.plain else weak

    @property
    def _names(self) -> Sequence[str]:
        return [f"weak{number}" for number in range(self.views)]

    def _crops(self, images: Tensor, keys: np.ndarray) -> list[Tensor]:
        """The images themselves, and weak views of them, as runs on images in memory draw them."""
        if not self.views:
            return [images]
        weak = WeakCrops(self.classifier.image_size, self.classifier.weak["pad"], self._flip)
        return [images] * self.plain + [weak(images, keys, name) for name in self._names]
