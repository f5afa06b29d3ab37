"""What the pipeline keeps in memory and what it sends to the device: padded images, and the small arrays of a batch."""

import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
import torch
from torch import Tensor

from semisonic.data.sets.base import Images

GPU_SHARE = 0.3
"""Of the free GPU memory, up to which padded images are kept there."""
HOST_LIMIT = 2**30
"""Bytes up to which padded images are kept in the host's memory beside the unpadded ones."""
CHUNK = 2**26
"""Bytes that are padded and sent to the GPU at a time."""
ALIGNMENT = 16
"""Bytes; what every array of a packed buffer starts at a multiple of."""

Name = TypeVar("Name", bound=Hashable)


def reflect_pad(images: np.ndarray, pad: int) -> np.ndarray:
    """uint8 [N, H, W, 3] -> [N, H+2p, W+2p, 3], mirrored without repeating the border pixel; pad < H and W."""
    if pad == 0:
        return images
    n, height, width, channels = images.shape
    out = np.empty((n, height + 2 * pad, width + 2 * pad, channels), dtype=images.dtype)
    middle = out[:, pad:-pad]
    middle[:, :, pad:-pad] = images
    middle[:, :, :pad] = images[:, :, pad:0:-1]
    middle[:, :, -pad:] = images[:, :, -2 : -pad - 2 : -1]
    out[:, :pad] = out[:, 2 * pad : pad : -1]
    out[:, -pad:] = out[:, -pad - 2 : -2 * pad - 2 : -1]
    return out


class ResidentImages:
    """A data set's images with their reflected margins, to be gathered by row.

    Where they are kept is decided once: on the GPU if the device is one and they fit `GPU_SHARE` of its free memory,
    else padded in the host's memory up to `HOST_LIMIT`. Otherwise, and with `keep` off, the rows of each batch are
    padded anew.
    """

    def __init__(self, images: Images, pad: int, device: torch.device, keep: bool = True):
        self.pixels, self.pad, self.device = images.pixels, pad, device
        count, height, width, channels = self.pixels.shape
        self.shape = (height + 2 * pad, width + 2 * pad, channels)
        self.bytes = count * math.prod(self.shape)
        self.free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else 0
        self.on_gpu = keep and device.type == "cuda" and self.bytes <= GPU_SHARE * self.free
        self.stream: torch.cuda.Stream | None = None
        """The CUDA stream that rows are gathered on, so that they do not wait behind the steps in the queue."""
        self._words: Tensor | None = None
        self._padded: np.ndarray | None = None
        if self.on_gpu:
            self._words = words(self._on_device())
            self.stream = torch.cuda.Stream(device)
            self.stream.wait_stream(torch.cuda.current_stream(device))
        elif pad == 0 or (keep and self.bytes <= HOST_LIMIT):
            self._padded = reflect_pad(self.pixels, pad)

    def _on_device(self) -> Tensor:
        padded = torch.empty((len(self.pixels), *self.shape), dtype=torch.uint8, device=self.device)
        step = max(1, CHUNK // math.prod(self.shape))
        for first in range(0, len(padded), step):
            part = np.ascontiguousarray(reflect_pad(self.pixels[first : first + step], self.pad))
            padded[first : first + step].copy_(torch.from_numpy(part))
        return padded

    def gather(self, rows: np.ndarray) -> np.ndarray:
        """The rows' images in the host's memory, where they are not on the GPU: uint8 [n, *shape]."""
        if self._padded is not None:
            return self._padded[rows]
        return reflect_pad(self.pixels[rows], self.pad)

    def gather_on_gpu(self, rows: np.ndarray) -> Tensor:
        """The same on the GPU, in the order of `stream`."""
        assert self._words is not None
        with torch.cuda.stream(self.stream):
            index = upload({"rows": rows}, self.device)["rows"]
            return take_words(self._words, index, self.shape)

    def describe(self) -> str:
        """Where the images are, in words."""
        size = f"{self.bytes / 2**20:,.0f} MiB"
        if self.on_gpu:
            return f"resident on the GPU ({size})"
        if self.device.type == "cuda":
            free = f"{self.free / 2**20:,.0f} MiB free there"
            return f"in the host's memory ({size} would be over {GPU_SHARE:.0%} of the GPU's, {free})"
        return f"in memory, padded ({size})" if self._padded is not None else "in memory, padded batch by batch"


def words(images: Tensor) -> Tensor:
    """Contiguous uint8 [N, ...] as [N, m] of the widest integers that a row is made of, to be moved in fewer pieces."""
    rows = images.view(len(images), -1)
    for dtype in (torch.int64, torch.int32, torch.int16):
        if rows.shape[1] % dtype.itemsize == 0:
            return rows.view(dtype)
    return rows


def take_words(table: Tensor, index: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Rows [n] of what `words` made, as uint8 [n, *shape]."""
    return table.index_select(0, index).view(torch.uint8).view(len(index), *shape)


@dataclass(frozen=True)
class Packed(Generic[Name]):
    """Arrays side by side in one buffer."""

    buffer: Tensor
    """uint8 [bytes]."""
    places: Mapping[Name, tuple[int, int, torch.dtype, tuple[int, ...]]]
    """name -> first byte, last byte + 1, dtype, shape."""

    def to(self, device: torch.device) -> "Packed[Name]":
        """One copy, which the host does not wait for; a page-locked buffer is not reused before it is done."""
        return Packed(self.buffer.to(device, non_blocking=True), self.places)

    def arrays(self) -> dict[Name, Tensor]:
        """Views of the buffer."""
        return {
            name: self.buffer[first:last].view(dtype).view(shape)
            for name, (first, last, dtype, shape) in self.places.items()
        }


def pack(arrays: Mapping[Name, np.ndarray], page_locked: bool) -> Packed[Name]:
    """The arrays in a new buffer on the host, each at a multiple of `ALIGNMENT`."""
    places, end = {}, 0
    for name, array in arrays.items():
        first = -(-end // ALIGNMENT) * ALIGNMENT
        end = first + array.nbytes
        places[name] = (first, end, torch.from_numpy(np.empty(0, array.dtype)).dtype, array.shape)
    packed = Packed(torch.empty(end, dtype=torch.uint8, pin_memory=page_locked), places)
    for name, tensor in packed.arrays().items():
        tensor.numpy()[...] = arrays[name]
    return packed


def upload(arrays: Mapping[Name, np.ndarray], device: torch.device) -> dict[Name, Tensor]:
    """The arrays as tensors on the device, in one asynchronous copy; on the CPU they share the arrays' memory."""
    if device.type == "cpu":
        return {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}
    return pack(arrays, page_locked=True).to(device).arrays() if arrays else {}
