"""Kernels against their plain-torch references: value, gradient, determinism, and what they refuse."""

import copy
import os
import socket
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor

from semisonic_kernels.ema import ema_update, ema_update_reference
from semisonic_kernels.sync_batch_norm import batch_norm, batch_norm_reference

SHAPES = [(), (1,), (7,), (3, 5), (2, 3, 5, 7), (0, 4)]


def tensors(dtype: torch.dtype, seed: int, device: str = "cpu") -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    plain = [torch.randn(shape, generator=generator).to(dtype) for shape in SHAPES]
    strided = torch.randn(6, 5, generator=generator).to(dtype).t()[::2]
    nhwc = torch.randn(2, 3, 4, 5, generator=generator).to(dtype).to(memory_format=torch.channels_last)
    return [tensor.to(device) for tensor in [*plain, strided, nhwc]]


class TestEma:
    @pytest.mark.parametrize("average_dtype", [torch.float32, torch.float64, torch.bfloat16])
    @pytest.mark.parametrize("source_dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
    @pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
    def test_equals_the_reference(
        self, average_dtype: torch.dtype, source_dtype: torch.dtype, device: str
    ) -> None:
        weight = torch.tensor(0.03, dtype=torch.float64, device=device)
        averages, sources = tensors(average_dtype, 0, device), tensors(source_dtype, 1, device)
        expected, kept = copy.deepcopy(averages), copy.deepcopy(sources)
        for _ in range(3):
            ema_update(averages, sources, weight)
            ema_update_reference(expected, sources, weight)
        torch.testing.assert_close(averages, expected)
        torch.testing.assert_close(sources, kept, rtol=0, atol=0)
        assert not torch.equal(averages[2], tensors(average_dtype, 0, device)[2])

    @pytest.mark.gpu
    def test_does_not_wait_for_the_device(self) -> None:
        averages, sources = tensors(torch.float32, 0, "cuda"), tensors(torch.bfloat16, 1, "cuda")
        weight = torch.tensor(0.03, dtype=torch.float64, device="cuda")
        mode = torch.cuda.get_sync_debug_mode()
        torch.cuda.set_sync_debug_mode("error")
        try:
            ema_update(averages, sources, weight)
        finally:
            torch.cuda.set_sync_debug_mode(mode)

    def test_tensor_scalar_path(self) -> None:
        """The path of CUDA tensors, whose weight may not be read, gives the reference's values on meta-free CPU."""
        averages, sources = tensors(torch.float32, 0), tensors(torch.bfloat16, 1)
        averages[3], expected = averages[3].double(), None
        expected = copy.deepcopy(averages)
        lerp_by_tensor(averages, sources, torch.tensor(0.03, dtype=torch.float64))
        ema_update_reference(expected, sources, torch.tensor(0.03, dtype=torch.float64))
        torch.testing.assert_close(averages, expected)
