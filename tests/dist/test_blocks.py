"""Blocks under DDP on two ranks: BatchNorm's collectives run once more in the backward and change nothing."""

import os

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from semisonic.models.blocks import counting, use_blocks
from semisonic.models.networks import ModelConfig, build
from semisonic.models.norm import batch_statistics

WORLD = 2
WAYS = {"plain": (False, "off"), "recompute": (True, "off"),
        "recompute, blocks": (True, "blocks"), "recompute, whole": (True, "whole")}  # fmt: skip


def train(way: str, rank: int) -> dict[str, Tensor]:
    """Loss, gradients and buffers of two steps, each with a tracking and another forward."""
    recompute, compiled = WAYS[way]
    torch._dynamo.reset()
    torch.manual_seed(0)
    network = build(ModelConfig(name="wrn-10-1"), 5, 16)
    if recompute or compiled == "blocks":
        use_blocks(network, recompute, compiled == "blocks")
    if compiled == "whole":
        network.forward = counting(torch.compile(network.forward, fullgraph=True, dynamic=False), recompute)
    engine = DistributedDataParallel(network, broadcast_buffers=False)
    generator, found = torch.Generator().manual_seed(rank), {}
    for step in range(2):
        images = torch.randn(2, 4, 3, 16, 16, generator=generator)
        with engine.no_sync():
            with batch_statistics(track=False):
                untracked = engine(images[0]).square().mean()
            untracked.backward()
        loss = engine(images[1]).square().mean()
        loss.backward()
        found[f"loss {step}"] = loss.detach()
    gradients = {f"{name}.grad": parameter.grad for name, parameter in network.named_parameters()}
    return found | gradients | {name: buffer.clone() for name, buffer in network.named_buffers()}


def work(rank: int, folder: str, ways: list[str]) -> None:
    torch.set_num_threads(1)
    compile = torch.compile
    # What torch traces and splits into forward and backward, without the minutes that its code generator takes.
    torch.compile = lambda function, **options: compile(function, **options, backend="aot_eager")  # type: ignore[assignment]
    dist.init_process_group("gloo", init_method=f"file://{folder}/group", rank=rank, world_size=WORLD)
    torch.save({way: train(way, rank) for way in ways}, f"{folder}/{rank}.pt")
    dist.barrier()  # a rank that leaves first takes the connections of the other along
    dist.destroy_process_group()
    os._exit(0)  # at the end of a process, threads of torch's collectives abort it now and then


@pytest.fixture(scope="module")
def ranks(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> list[dict[str, dict[str, Tensor]]]:
    """What each rank found, in the plain way and in those that the chosen tests read."""
    folder, chosen = tmp_path_factory.mktemp("blocks"), {"plain"}
    for item in request.session.items:
        if item.path == request.path and hasattr(item, "callspec"):
            chosen.add(item.callspec.params["way"])
    mp.spawn(work, (str(folder), [way for way in WAYS if way in chosen]), nprocs=WORLD)
    return [torch.load(folder / f"{rank}.pt") for rank in range(WORLD)]


@pytest.mark.parametrize(
    "way",
    ["recompute", *(pytest.param(way, marks=pytest.mark.slow) for way in ("recompute, blocks", "recompute, whole"))],
)
def test_losses_gradients_and_statistics_are_the_same(ranks: list[dict[str, dict[str, Tensor]]], way: str):
    for rank in ranks:
        plain, other = rank["plain"], rank[way]
        assert plain.keys() == other.keys() and plain["norm.num_batches_tracked"] == 2
        for name, value in plain.items():
            if way == "recompute":
                assert torch.equal(value, other[name]), name
            else:
                torch.testing.assert_close(other[name], value, rtol=1e-5, atol=1e-6, msg=name)
    for name, value in ranks[0][way].items():
        assert torch.equal(value, ranks[1][way][name]) or name.startswith("loss"), name  # the ranks agree
