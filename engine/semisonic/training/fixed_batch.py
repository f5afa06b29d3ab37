"""The tensors at fixed addresses that a CUDA graph reads its batch from, and one launch that fills all of them."""

from math import gcd
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

WIDTHS = {8: torch.int64, 4: torch.int32, 2: torch.int16, 1: torch.uint8}
"""Bytes that are copied at once -> what they are taken for."""


class FixedBatch:
    """Copies of a batch's tensors, into which later batches of the same shapes and dtypes are copied.

    Dense tensors are seen as rows of bytes, so that torch's operation over many tensors copies them in one launch,
    whatever their dtypes: on CUDA up to 64 of them, of 160 MB together. Those with gaps between their elements, or on
    another device than their copies, are copied one by one.
    """

    def __init__(self, batch: Any):
        """batch: a nested structure of tensors, as it is first seen."""
        self.batch = tree_map(lambda value: value.clone(), batch)
        """What `fill` writes, with the strides of the first batch where its tensors are dense."""
        self._leaves: list[Tensor] = tree_leaves(self.batch)
        self._rows: dict[tuple[int, tuple[int, ...]], list[Tensor]] = {}
        """(bytes at once, positions of dense leaves) -> those leaves as rows."""

    @torch.no_grad()
    def fill(self, batch: Any) -> None:
        """Copies a batch. Raises ValueError where it differs from the first one in structure, size or dtype."""
        leaves: list[Tensor] = tree_leaves(batch)
        if [(v.shape, v.dtype) for v in leaves] != [(v.shape, v.dtype) for v in self._leaves]:
            raise ValueError(
                f"a batch of another size: {_listed(leaves)}, where the first one has {_listed(self._leaves)}"
            )
        dense = []
        for position, (fixed, value) in enumerate(zip(self._leaves, leaves, strict=True)):
            if value.device == fixed.device and value.stride() == fixed.stride():  # a clone is dense
                if value.numel():
                    dense.append(position)
            else:
                fixed.copy_(value, non_blocking=True)
        if not dense:
            return
        width = gcd(8, *(number for position in dense for number in _bytes(leaves[position])))
        key = width, tuple(dense)
        if key not in self._rows:
            self._rows[key] = [_row(self._leaves[position], width) for position in dense]
        torch._foreach_copy_(self._rows[key], [_row(leaves[position], width) for position in dense])


def _bytes(value: Tensor) -> tuple[int, int]:
    """Length of a dense tensor, and where it begins in its storage."""
    return value.numel() * value.element_size(), int(value.storage_offset()) * value.element_size()


def _row(value: Tensor, width: int) -> Tensor:
    """A dense tensor's elements in the order of memory, as integers of so many bytes."""
    return value.detach().as_strided((value.numel(),), (1,)).view(WIDTHS[width])


def _listed(leaves: list[Tensor]) -> str:
    return ", ".join(f"{str(value.dtype).removeprefix('torch.')} {list(value.shape)}" for value in leaves)
