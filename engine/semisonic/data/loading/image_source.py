"""What a stream makes views of: which images, where they are kept, and at what geometry; known without DALI."""

from dataclasses import dataclass

import numpy as np
import torch

from semisonic.data.loading.resident import ResidentImages
from semisonic.data.sets.base import DataSet, ImageFiles, Images
from semisonic.data.views.view import Geometry


@dataclass(frozen=True, eq=False)
class ImageSource:
    """Some images, and how views see them."""

    images: Images | ImageFiles
    geometry: Geometry
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    """Per channel, on the 0..1 scale: the unit of noise."""
    indices: np.ndarray | None = None
    """Those of `images` that samplers count, int64; None: all."""
    resident: ResidentImages | None = None
    """`images` with their margins, where several streams share them; None: they are padded call by call."""

    def __len__(self) -> int:
        return len(self.images) if self.indices is None else len(self.indices)

    def rows(self, positions_N: np.ndarray) -> np.ndarray:
        """Positions of a sampler as rows of `images`."""
        return positions_N if self.indices is None else self.indices[positions_N]


def source_of(
    data: DataSet,
    device: torch.device,
    indices: np.ndarray | None = None,
    resident: ResidentImages | None = None,
    test: bool = False,
) -> ImageSource:
    """The training images of a data set at those indices, or its test images, if it has any."""
    images = data.test if test else data.train
    assert images is not None
    return ImageSource(images, geometry_of(data, device), data.std, indices, resident)


def geometry_of(data: DataSet, device: torch.device) -> Geometry:
    """How the images of a data set are seen on a device."""
    red, green, blue = (round(255 * value) for value in data.mean)
    return Geometry(
        size=data.size,
        pad=0 if isinstance(data.train, ImageFiles) else data.pad,
        flip=data.flip,
        fill=(red, green, blue),
        encoded=isinstance(data.train, ImageFiles),
        least=data.crop_area,
        device="gpu" if device.type == "cuda" else "cpu",
        interpolation=data.interpolation,
        crop=data.crop,
    )
