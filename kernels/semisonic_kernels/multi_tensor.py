"""What launches over many tensors share: which program works on which elements, and where the tensors are."""

from collections.abc import Sequence

import torch
from torch import Tensor

BLOCK = 2048
"""Elements of one program."""
KEPT = 64
"""Tables that are kept by their addresses."""

_written_later: list[tuple[Tensor, tuple[int, ...]]] = []


class Launch:
    """One program per BLOCK elements of each of several tensors, found through a table of addresses on the device.

    Tables are kept by their addresses, since allocators hand the same ones out again, so that after a few steps
    nothing is uploaded. While a CUDA graph is captured nothing can be: `finish_capture` writes what was left out. Such
    a table is made in advance, because what is allocated during a capture is memory that the graph itself writes to.
    """

    def __init__(self, sizes: Sequence[int], device: torch.device):
        pairs = [(index, first) for index, size in enumerate(sizes) for first in range(0, size, BLOCK)]
        self.device, self.programs = device, len(pairs)
        self.blocks = torch.tensor(pairs, dtype=torch.int64, device=device).view(-1, 2)
        """(tensor, first element) of each program."""
        self.sizes = torch.tensor(list(sizes), dtype=torch.int64, device=device)
        self._tables: dict[tuple[int, ...], Tensor] = {}
        self._spare: Tensor | None = None
        self._recorded: dict[tuple[int, ...], Tensor] = {}

    def addresses(self, *columns: Sequence[Tensor | None]) -> Tensor:
        """Table [T, columns] of data pointers, int64 on the device; 0 for None. Does not wait for the device."""
        key = tuple(0 if tensor is None else tensor.data_ptr() for row in zip(*columns, strict=True) for tensor in row)
        if self.device.type == "cuda" and torch.cuda.is_current_stream_capturing():
            if key not in self._recorded:
                if self._spare is None:
                    raise RuntimeError("a launch over many tensors must have run once before it is captured")
                self._recorded[key], self._spare = self._spare, None  # kept: the graph reads it at every replay
                _written_later.append((self._recorded[key], key))
            return self._recorded[key]
        if self.device.type == "cuda" and self._spare is None:
            self._spare = torch.empty(len(key) // len(columns), len(columns), dtype=torch.int64, device=self.device)
        if key not in self._tables:
            if len(self._tables) == KEPT:
                self._tables.clear()
            host = torch.tensor(key, dtype=torch.int64).view(-1, len(columns))
            on_gpu = self.device.type == "cuda"
            self._tables[key] = host.pin_memory().to(self.device, non_blocking=True) if on_gpu else host
        return self._tables[key]


def finish_capture(succeeded: bool = True) -> None:
    """Writes the tables of the kernels in a CUDA graph that was just captured; call it before the first replay."""
    if succeeded:
        for table, key in _written_later:
            table.copy_(torch.tensor(key, dtype=torch.int64).view_as(table))
    _written_later.clear()


def laid_out_alike(*tensors: Tensor) -> bool:
    """Whether element i of memory is the same element in all of them: all contiguous, or all channels_last."""
    if all(tensor.is_contiguous() for tensor in tensors):
        return True
    formats = {4: torch.channels_last, 5: torch.channels_last_3d}
    layout = formats.get(tensors[0].dim())
    return layout is not None and all(tensor.is_contiguous(memory_format=layout) for tensor in tensors)
