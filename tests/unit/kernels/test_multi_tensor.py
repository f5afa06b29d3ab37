"""Launches over many tensors: they wait for nothing, can be captured, and find all laid out alike."""

import copy

import pytest
import torch

from semisonic.models.networks import ModelConfig, build
from semisonic_kernels.ema import MovingAverage
from semisonic_kernels.multi_tensor import finish_capture, laid_out_alike
from semisonic_kernels.sgd import SgdWithAverage
from tests.support.tensors import scalar, tensors

pytestmark = pytest.mark.kernels("fused")


@pytest.mark.gpu
def test_neither_waits_for_the_device() -> None:
    averages, sources = tensors(torch.float32, 0, "cuda"), tensors(torch.bfloat16, 1, "cuda")
    parameters = tensors(torch.float32, 2, "cuda", strided=False)
    gradients, momenta, shadows = (copy.deepcopy(parameters) for _ in range(3))
    average = MovingAverage(averages, sources)
    step = SgdWithAverage(parameters, momenta, shadows, [0.1] * len(parameters), 0.9, True)
    weight = scalar(0.03, "cuda")
    mode = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        average.update(weight)
        step.step(gradients, weight, weight)
    finally:
        torch.cuda.set_sync_debug_mode(mode)


@pytest.mark.gpu
def test_a_captured_step_finds_its_tensors() -> None:
    """Also where the graph itself writes to small blocks that it allocated and freed before."""
    parameters = tensors(torch.float32, 2, "cuda", strided=False)
    gradients, momenta, shadows = (copy.deepcopy(parameters) for _ in range(3))
    eager = [copy.deepcopy(column) for column in (parameters, gradients, momenta, shadows)]
    decays, rate, weight = [0.1] * len(parameters), scalar(0.1, "cuda"), scalar(0.03, "cuda")
    step = SgdWithAverage(parameters, momenta, shadows, decays, 0.9, True)
    other = SgdWithAverage(eager[0], eager[2], eager[3], decays, 0.9, True)
    step.step(gradients, rate, weight)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for size in range(1, 4096, 64):
            torch.full((size,), 7, device="cuda")
        step.step(gradients, rate, weight)
        step.step(gradients, rate, weight)
    finish_capture()
    graph.replay()
    graph.replay()
    for _ in range(5):
        other.step(eager[1], rate, weight)
    torch.testing.assert_close([parameters, momenta, shadows], [eager[0], eager[2], eager[3]], rtol=0, atol=0)


@pytest.mark.gpu
def test_a_launch_must_have_run_before_it_is_captured() -> None:
    averages, sources = tensors(torch.float32, 0, "cuda"), tensors(torch.float32, 1, "cuda")
    average, weight = MovingAverage(averages, sources), scalar(0.03, "cuda")
    with pytest.raises(RuntimeError, match="run once before it is captured"), torch.cuda.graph(torch.cuda.CUDAGraph()):
        average.update(weight)


def test_all_parameters_of_a_network_are_laid_out_like_their_averages() -> None:
    network = build(ModelConfig(name="wrn-10-1"), 10, 32).to(memory_format=torch.channels_last)
    assert all(laid_out_alike(p, torch.zeros_like(p)) for p in network.parameters())
