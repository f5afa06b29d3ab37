"""Run by the tests on several gloo ranks: a few networks, eager, compiled as they are, and with messages overlapped.

Started by `run`; each rank writes FOLDER/RANK.pt: network -> way -> its numbers.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from functorch.compile import make_boxed_func, min_cut_rematerialization_partition
from torch import Tensor, nn
from torch._dynamo.backends.common import aot_autograd
from torch.fx import Graph, GraphModule
from torch.nn.parallel import DistributedDataParallel

from semisonic.models.norm import BatchNorm2d, batch_statistics, make_groups
from semisonic.training.compile_options import MESSAGES, compile_options
from tests.support.counted import counted_messages

EAGER, GRAPHS, PASSES, COMPILED, OVERLAPPED = "eager", "graphs", "passes", "compiled", "overlapped"
"""Ways of a step. graphs: those that the compiler makes of it, run as they are; passes: the same after ours."""
SHAPE = (6, 3, 7, 7)


class Residual(nn.Module):
    """A block whose shortcut has a norm of its own, as ResNet's."""

    def __init__(self, width_in: int, width: int):
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(width_in, width, 3, padding=1, bias=False), BatchNorm2d(width, slope=0.0)
        self.conv2, self.norm2 = nn.Conv2d(width, width, 3, padding=1, bias=True), BatchNorm2d(width)
        self.conv3, self.norm3 = nn.Conv2d(width_in, width, 1, bias=False), BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.norm2(self.conv2(self.norm1(self.conv1(x)))) + self.norm3(self.conv3(x)))


class Wide(nn.Module):
    """A block of pre-activations, whose shortcut is a convolution."""

    def __init__(self, width_in: int, width: int):
        super().__init__()
        self.norm1, self.conv1 = BatchNorm2d(width_in, slope=0.1), nn.Conv2d(width_in, width, 3, padding=1, bias=False)
        self.norm2, self.conv2 = BatchNorm2d(width, slope=0.1), nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.shortcut = nn.Conv2d(width_in, width, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        activated = self.norm1(x)
        return self.conv2(self.norm2(self.conv1(activated))) + self.shortcut(activated)


def network(block: type[nn.Module], groups: int = 1) -> nn.Module:
    torch.manual_seed(0)
    layers = [
        nn.Conv2d(3, 4, 3, padding=1, bias=False),
        block(4, 6),
        block(6, 6),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    ]
    made = nn.Sequential(*layers, nn.Linear(6, 3)).double()
    for layer in made.modules():
        if isinstance(layer, BatchNorm2d):
            layer.groups = groups
    return made


class Twice(nn.Module):
    """A forward without gradient beside one with it, as of weak views with a pass of their own."""

    def __init__(self, inner: nn.Module):
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            first = self.inner(x.flip(0) * 1.5)
        with batch_statistics(track=False):
            return self.inner(x) * first.softmax(1)


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "residual": lambda: network(Residual),
    "wide": lambda: network(Wide),
    "twice": lambda: Twice(network(Wide)),
}


def batch(rank: int) -> Tensor:
    generator = torch.Generator().manual_seed(1 + rank)
    return torch.randn(SHAPE, generator=generator, dtype=torch.float64) + rank


def run_as_it_is(passes: tuple[Callable[[Graph], object], ...]) -> Callable[..., object]:
    """A backend of torch.compile that runs the graphs of forward and backward after these passes, without compiling."""

    def prepare(module: GraphModule, inputs: object) -> Callable[..., object]:
        for one in passes:
            one(module.graph)
        module.graph.lint()
        module.recompile()
        return make_boxed_func(module.forward)

    # Inductor's way to part a graph, which computes no message again.
    return aot_autograd(fw_compiler=prepare, bw_compiler=prepare, partition_fn=min_cut_rematerialization_partition)


def compiled_as(way: str, forward: Callable[..., Tensor]) -> Callable[..., Tensor]:
    torch._dynamo.reset()
    how: dict[str, object]
    if way in (GRAPHS, PASSES):
        how = {"backend": run_as_it_is(MESSAGES if way == PASSES else ())}
    else:
        how = {"options": compile_options(way == OVERLAPPED)}
    return torch.compile(forward, fullgraph=True, dynamic=False, **how)


def trained(made: nn.Module, way: str, rank: int, steps: int = 2) -> dict[str, object]:
    """What some steps leave behind: loss, gradients, weights and running statistics, and the last one's messages."""
    wrapped = DistributedDataParallel(made, broadcast_buffers=False)
    if way != EAGER:
        made.forward = compiled_as(way, made.forward)  # type: ignore[method-assign]
    x = batch(rank)
    for _ in range(steps):
        made.zero_grad()
        with counted_messages() as sent:
            loss = wrapped(x).square().mean()
            loss.backward()
        with torch.no_grad():
            for parameter in made.parameters():
                parameter -= 0.1 * parameter.grad  # type: ignore[operator]
    numbers = {name: value.detach() for name, value in made.state_dict().items()}
    numbers |= {f"{name}.grad": parameter.grad for name, parameter in made.named_parameters()}
    return {"loss": loss.detach(), **numbers, "messages": sent}


def grouped(rank: int, world: int) -> dict[str, object]:
    """Steps with statistics of two groups of ranks, of one alone, and of all."""
    found = {}
    for groups in (1, 2, world):
        if groups > 1:
            make_groups(groups)
        found[f"{groups} groups"] = trained(network(Wide, groups), EAGER, rank)
    return found


def work(rank: int, folder: str, world: int, names: Sequence[str], ways: Sequence[str]) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/group", rank=rank, world_size=world)
    try:
        found = {name: {way: trained(NETWORKS[name](), way, rank) for way in ways} for name in names}
        if not names:
            found["groups"] = grouped(rank, world)
        torch.save(found, f"{folder}/{rank}.pt")
    finally:
        dist.destroy_process_group()


def run(folder: Path, world: int, names: Sequence[str] = (), ways: Sequence[str] = ()) -> list[dict]:
    """Every rank's numbers; without names of networks those of groups."""
    mp.spawn(work, (str(folder), world, names, ways), nprocs=world)
    return [torch.load(folder / f"{rank}.pt") for rank in range(world)]
