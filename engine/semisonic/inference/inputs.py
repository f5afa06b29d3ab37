"""Images as people have them, converted as the run's own evaluation converts them, or refused by name.

What an image may be:

* an array: uint8 (0..255) or floats (0..1); [H, W], [H, W, 3], [N, H, W] or [N, H, W, 3] (flat ones, [N, H * W], are
  refused);
* a tensor, channels first: [3, H, W] or [N, 3, H, W], and gray [1, H, W] or [N, 1, H, W];
* one of Pillow's images, of any mode whose range of values is defined; or the path of a file;
* a list or tuple of these, one image each.

Which part of it the network sees is what `preprocess` in the checkpoint says. The view "whole", of data sets that stay
in memory: an image of S x S is taken as it is, another one is resized to what is inside the border. The view "plain",
of runs on files: the central square of 0.875 of the shorter side is resized, also of an image of S x S, or the part
that the weights expect which the run started from. Only uint8 tensors [3, S, S] and [N, 3, S, S] are always taken as
they are: these come out of `Inputs` and of the run's loaders.

Shape suffixes: N images, C channels, H height, W width, S `image_size`.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from semisonic.data.sets.manifest import decode, rgb_image
from semisonic.data.views.central import Interpolation
from semisonic.data.views.resize import center, resize, rounded
from semisonic.data.views.view import Geometry, Plain
from semisonic.schema import UserError, given_path

SCALES = "give uint8, or floats in 0..1"
STRETCHED = 4
"""Times as long as wide, from which on an array of two axes is hardly one image."""
SHOWN = 20
"""Mistakes that a message lists."""


@dataclass(frozen=True)
class Read:
    """Images as they were given, not yet converted."""

    pixels_NCHW: Tensor
    """uint8, or floats of 0..1; one channel or three."""
    tensor: bool = False
    """Whether they were a tensor."""


@dataclass(frozen=True)
class Inputs:
    """The conversion of a run's images; to be called with one image, as the transform of a torchvision data set is.

    It can be pickled, and works in the worker processes of a DataLoader.
    """

    size: int
    """S, in pixels, the border included."""
    view: str = "whole"
    """plain or whole, as above."""
    border: int = 0
    """Black pixels around the image itself, on each side."""
    interpolation: Interpolation = "bilinear"
    crop: float | None = None
    """Share of the shorter side that "plain" shows, as the weights expect that the run started from; None: 0.875 in
    whole pixels."""

    def __call__(self, image: Any) -> Tensor:
        """One image -> uint8 [3, S, S], which the classifier takes as it is."""
        pixels = self.fit(_single(image, "image"))
        return pixels[0] if pixels.dtype == torch.uint8 else pixels[0].round().to(torch.uint8)

    def fits(self, images: Any) -> bool:
        """Whether the images are what the network takes, uint8 [N, 3, S, S]; known without reading their values."""
        return (
            isinstance(images, Tensor)
            and images.dtype == torch.uint8
            and images.ndim == 4
            and tuple(images.shape[1:]) == (3, self.size, self.size)
            and images.shape[0] > 0
        )

    def batches(self, images: Any, batch: int, name: str = "images") -> Iterator[Tensor]:
        """Up to `batch` images at a time, converted: [n, 3, S, S], uint8 or floats on the scale 0..255.

        Raises `UserError` with a line for each image that cannot be taken.
        """
        if not isinstance(images, list | tuple):
            self._refuse_flat(images, name)
            read = read_images(images, name)
            for part in read.pixels_NCHW.split(batch):
                yield self.fit(Read(part, read.tensor))
            return
        if not images:
            raise UserError(f"{name}: none were given")
        for first in range(0, len(images), batch):
            parts = _read_all(images[first : first + batch], first, name)
            yield torch.cat([self.fit(part) for part in parts])

    def _refuse_flat(self, images: Any, name: str) -> None:
        """Raises `UserError` for an array of flat images, a row each, which is no gray image of as many lines. One that
        could be either is refused too."""
        if not isinstance(images, np.ndarray) or images.ndim != 2 or not images.size:
            return
        rows, columns = images.shape
        for channels in (1, 3):
            side = math.isqrt(columns // channels)
            ours = side in (self.size, self.size - 2 * self.border)
            long = max(rows, columns) > STRETCHED * min(rows, columns)
            if side > 3 and channels * side * side == columns and (ours or long):
                shape = f"-1, {side}, {side}" + ", 3" * (channels == 3)
                raise UserError(
                    f"{name}: an array of shape [{rows}, {columns}] may be {rows} flat images; use reshape({shape}), "
                    "or [None] where it is one gray image"
                )

    def convert(self, images: Any, name: str = "images") -> Tensor:
        """All images at once, as `batches` gives them."""
        count = max(1, len(images)) if hasattr(images, "__len__") else 1
        return torch.cat(list(self.batches(images, count, name)))

    def fit(self, read: Read) -> Tensor:
        """[N, 3, S, S], uint8 or, of floats, floats on the scale 0..255, which can be differentiated by."""
        pixels = read.pixels_NCHW
        whole = tuple(pixels.shape[-2:]) == (self.size, self.size)
        exact = pixels.dtype == torch.uint8
        pixels = pixels if exact else 255 * pixels.float()
        pixels = pixels.expand(-1, 3, -1, -1)
        if whole and (self.view == "whole" or (exact and read.tensor and read.pixels_NCHW.shape[1] == 3)):
            return pixels
        if self.view == "plain" and self.crop is not None:
            resized = center(rounded(pixels.float()), self.size, self.crop, self.interpolation)
            return resized.to(torch.uint8) if exact else resized
        top, left, height, width = self.window(*pixels.shape[-2:])
        window = pixels[..., top : top + height, left : left + width].float()
        resized = rounded(resize(rounded(window), self.size - 2 * self.border, self.interpolation))
        resized = torch.nn.functional.pad(resized, [self.border] * 4)
        return resized.to(torch.uint8) if exact else resized

    def window(self, height: int, width: int) -> tuple[int, int, int, int]:
        """The part of an image that is resized: top, left, height, width."""
        geometry = Geometry(self.size, pad=0, flip=False, fill=(0, 0, 0), encoded=True)
        found = Plain(geometry, whole=self.view == "whole").params(np.empty((1, 0)), np.array([[height, width]]))
        return (*found["start"][0].tolist(), *found["shape"][0].tolist())


def _read_all(images: Sequence[Any], first: int, name: str) -> list[Read]:
    found, problems = [], []
    for number, image in enumerate(images, start=first):
        try:
            found.append(_single(image, f"{name}[{number}]"))
        except UserError as error:
            problems += error.messages
    if problems:
        more = [f"{name}: {len(problems) - SHOWN} more that cannot be taken"] if len(problems) > SHOWN else []
        raise UserError([*problems[:SHOWN], *more])
    return found


def _single(image: Any, name: str) -> Read:
    if isinstance(image, list | tuple):
        raise UserError(f"{name}: a {type(image).__name__} in place of one image; give arrays, tensors, or paths")
    read = read_images(image, name)
    if len(read.pixels_NCHW) != 1:
        raise UserError(f"{name}: {len(read.pixels_NCHW)} images in place of one")
    return read


def read_images(images: Any, name: str) -> Read:
    """One image, or an array or tensor of several. Raises `UserError` for what is no image, or could be two things."""
    if isinstance(images, Tensor):
        return Read(_tensor(images, name), tensor=True)
    if isinstance(images, np.ndarray):
        return Read(_array(images, name))
    if isinstance(images, Image.Image):
        return Read(_picture(images, name))
    if isinstance(images, str | Path):
        return Read(_file(given_path(name, images), name))
    hint = "open it with PIL.Image.open(io.BytesIO(...))" if isinstance(images, bytes) else "give an array, a tensor"
    kind = "None" if images is None else f"of type {type(images).__name__}"
    raise UserError(f"{name}: {kind}; {hint}, one of Pillow's images or a path, or a list of these")


def _tensor(images: Tensor, name: str) -> Tensor:
    shape = list(images.shape)
    if images.ndim not in (3, 4):
        raise UserError(f"{name}: a tensor of shape {shape}; {_TENSORS}")
    pixels = images[None] if images.ndim == 3 else images
    first, last = pixels.shape[1] in (1, 3), pixels.shape[3] in (1, 3)
    if first and last:
        raise UserError(f"{name}: a tensor of shape {shape} may have its channels first or last; give an array instead")
    if not first and last:
        turned = "2, 0, 1" if images.ndim == 3 else "0, 3, 1, 2"
        raise UserError(f"{name}: a tensor of shape {shape} has its channels last; use permute({turned})")
    if not first:
        raise UserError(f"{name}: a tensor of shape {shape}{_channels(pixels.shape[1])}; {_TENSORS}")
    return _values(pixels, name)


_TENSORS = "give [3, H, W] or [N, 3, H, W], gray ones as [1, H, W] or [N, 1, H, W]"
_ARRAYS = "give [H, W, 3] or [N, H, W, 3], gray ones as [H, W] or [N, H, W]"


def _channels(count: int) -> str:
    return f" has {count} channels, not 3 (drop alpha)" if count in (2, 4) else ""


def _array(images: np.ndarray, name: str) -> Tensor:
    shape = list(images.shape)
    if images.dtype.kind not in "uf" or images.dtype.itemsize > 8:
        raise UserError(f"{name}: an array of type {images.dtype}; {SCALES}")
    color = images.ndim in (3, 4) and shape[-1] in (1, 3)
    if images.ndim not in (2, 3, 4) or (images.ndim == 4 and not color):
        turned = images.ndim == 4 and shape[1] in (1, 3)
        reason = " has its channels first; use transpose(0, 2, 3, 1)" if turned else _channels((shape or [0])[-1])
        raise UserError(f"{name}: an array of shape {shape}{reason}; {_ARRAYS}")
    if images.ndim == 3 and not color and (shape[0] == 3 or shape[-1] in (2, 4)):
        reason = " is one image, channels first, or three gray ones" if shape[0] == 3 else _channels(shape[-1])
        raise UserError(f"{name}: an array of shape {shape}{reason}; give [H, W, 3] or [N, H, W, 1]")
    if images.ndim == 4 and shape[1] in (1, 3) and shape[2] > 3:
        raise UserError(f"{name}: an array of shape {shape} may have its channels first or last; give a list of images")
    images = np.ascontiguousarray(images, dtype=images.dtype.newbyteorder("="))
    pixels = torch.from_numpy(images if images.flags.writeable else images.copy())
    if color:
        pixels = (pixels[None] if images.ndim == 3 else pixels).permute(0, 3, 1, 2)
    else:
        pixels = pixels[None, None] if images.ndim == 2 else pixels[:, None]
    return _values(pixels, name)


def _values(pixels_NCHW: Tensor, name: str) -> Tensor:
    """The images, if their type and values have a defined meaning. Floats are read, for which the host waits."""
    if pixels_NCHW.dtype != torch.uint8 and not pixels_NCHW.dtype.is_floating_point:
        raise UserError(f"{name}: of type {str(pixels_NCHW.dtype).removeprefix('torch.')}; {SCALES}")
    if not pixels_NCHW.numel():
        what = "none were given" if not len(pixels_NCHW) else "without pixels"
        raise UserError(f"{name}: {what} (shape {list(pixels_NCHW.shape)})")
    if pixels_NCHW.dtype == torch.uint8 or torch.compiler.is_compiling():  # a graph cannot depend on values
        return pixels_NCHW
    low, high = (float(value) for value in torch.aminmax(pixels_NCHW.detach()))
    if not (np.isfinite(low) and np.isfinite(high)):
        raise UserError(f"{name}: values that are not finite; {SCALES}")
    if high > 1:
        raise UserError(f"{name}: floats up to {high:.8g} were given; {SCALES}")
    if low < 0:
        raise UserError(f"{name}: floats down to {low:.4g} were given; {SCALES} (the classifier normalizes itself)")
    return pixels_NCHW


def _picture(image: Image.Image, name: str) -> Tensor:
    try:
        pixels = np.array(rgb_image(image))
    except (OSError, ValueError, SyntaxError) as error:
        raise UserError(f"{name}: one of Pillow's images that cannot be used: {error}") from error
    return _values(torch.from_numpy(pixels)[None].permute(0, 3, 1, 2), name)


def _file(path: Path, name: str) -> Tensor:
    if path.is_dir():
        raise UserError(f"{name}: {path} is a folder; give its files, or use `python -m semisonic predict RUN FOLDER`")
    if not path.exists():
        raise UserError(f"{name}: no such file: {path}")
    try:
        pixels = decode(path)
    except ValueError as error:
        raise UserError(f"{name}: cannot decode {path}: {error}") from error
    return torch.from_numpy(pixels)[None].permute(0, 3, 1, 2)
