"""Messages that are ready together travel as one, with the same numbers; what depends on another message does not."""

import operator
from collections.abc import Callable

import pytest
import torch
import torch.distributed as dist
from torch import Tensor
from torch.fx import Graph, GraphModule, Node
from torch.fx.experimental.proxy_tensor import make_fx

from semisonic_kernels.joined_messages import SENDS, has_messages, join_messages
from tests.support.ranks import fake_ranks

ops = torch.ops._c10d_functional
RANKS = 4


@pytest.fixture(autouse=True)
def _ranks():
    with fake_ranks(RANKS):
        yield


def traced(function: Callable[..., object], *inputs: Tensor) -> GraphModule:
    """Its graph of functional operations, with values, as the compiler has it."""
    return make_fx(function, tracing_mode="fake")(*inputs)


def gathered(x: Tensor) -> Tensor:
    return ops.wait_tensor(ops.all_gather_into_tensor(x, RANKS, group()))


def reduced(x: Tensor, how: str = "sum") -> Tensor:
    return ops.wait_tensor(ops.all_reduce(x, how, group()))


def group() -> str:
    assert dist.group.WORLD is not None
    return dist.group.WORLD.group_name


def sends(module: GraphModule) -> list[Node]:
    return [node for node in module.graph.nodes if node.target in SENDS]


def joined(function: Callable[..., object], *inputs: Tensor, largest: int = 1 << 20) -> tuple[GraphModule, int]:
    """The graph after the pass, checked to compute what it did, and how many messages it saved.

    Ranks that are not there send what this one does, so that one process knows what is gathered and summed.
    """
    module = traced(function, *inputs)
    expected = played(module, *inputs)
    saved = join_messages(module.graph, largest)
    module.graph.lint()
    module.recompile()
    found = played(module, *inputs)
    assert len(expected) == len(found)
    for one, other in zip(expected, found, strict=True):
        assert one.shape == other.shape and one.stride() == other.stride() and torch.equal(one, other)
    for node in module.graph.nodes:
        if node.op == "call_function":
            assert "val" in node.meta, node
    return module, saved


def played(module: GraphModule, *inputs: Tensor) -> list[Tensor]:
    """Its outputs where rank r sends r + 1 times what this rank does."""

    class Player(torch.fx.Interpreter):
        def call_function(self, target, args, kwargs):  # type: ignore[no-untyped-def]
            if target == ops.all_gather_into_tensor.default:
                return torch.cat([args[0] * (rank + 1) for rank in range(RANKS)])
            if target == ops.all_reduce.default:
                return args[0] * (10 if args[1] == "sum" else RANKS)
            return args[0] if target == ops.wait_tensor.default else super().call_function(target, args, kwargs)

    out = Player(module).run(*inputs)
    return list(out) if isinstance(out, (tuple, list)) else [out]


def test_two_messages_that_are_ready_together_become_one():
    def two(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        return gathered(x.sum(0)) + 1, gathered(y.sum(0)) * 2

    module, saved = joined(two, torch.randn(3, 4), torch.randn(5, 6))
    assert saved == 1 and len(sends(module)) == 1
    assert sends(module)[0].args[0].meta["val"].shape == (10,)


def test_sums_become_one_and_so_do_messages_of_several_dimensions():
    def three(x: Tensor, y: Tensor, z: Tensor) -> tuple[Tensor, ...]:
        return reduced(x * 2), reduced(y * 3), reduced(z * 4)

    module, saved = joined(three, torch.randn(3), torch.randn(2, 5), torch.randn(1, 2, 2))
    assert saved == 2 and len(sends(module)) == 1

    def rows(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        return gathered(x * 2), gathered(y * 3)

    assert joined(rows, torch.randn(3, 2), torch.randn(2, 5))[1] == 1


def test_a_message_that_depends_on_another_stays_behind_it():
    def chain(x: Tensor) -> Tensor:
        return gathered(gathered(x.sum(0)).mean() * x)

    module, saved = joined(chain, torch.randn(3, 4))
    assert saved == 0 and len(sends(module)) == 2


def test_chains_side_by_side_send_as_many_as_one():
    """Even where the graph has one chain after the other: as of two forwards."""

    def chain(x: Tensor) -> Tensor:
        for _ in range(3):
            x = x * gathered(x.sum(0)).mean()
        return x

    module, saved = joined(lambda x, y: (chain(x), chain(y)), torch.randn(3, 4), torch.randn(2, 6))
    assert saved == 3 and len(sends(module)) == 3


def test_a_branch_joins_the_first_message_that_is_ready_with_it():
    """As of a residual block: two norms one after the other, and one in the shortcut."""

    def block(x: Tensor) -> Tensor:
        inner = x * gathered(x.mean(0)).sum()
        return inner * gathered(inner.mean(0)).sum() + x * gathered(x.square().mean(0)).sum()

    module, saved = joined(block, torch.randn(3, 4))
    assert saved == 1 and [send.args[0].meta["val"].numel() for send in sends(module)] == [8, 4]


@pytest.mark.parametrize("fault", ["kind", "operation", "dtype", "size", "read elsewhere"])
def test_what_is_not_alike_is_not_joined(fault: str):
    def two(x: Tensor, y: Tensor) -> tuple[Tensor, ...]:
        if fault == "kind":
            return gathered(x * 2), reduced(y * 2)
        if fault == "operation":
            return reduced(x * 2), reduced(y * 2, "max")
        if fault == "dtype":
            return gathered(x * 2), gathered(y.double())
        share = x * 2
        if fault == "read elsewhere":  # the compiler reduces in place
            return reduced(share), reduced(y * 2), share + 1
        return reduced(share), reduced(y * 2)

    module, saved = joined(two, torch.randn(4), torch.randn(4), largest=15 if fault == "size" else 16)
    assert saved == 0 and len(sends(module)) == 2


def test_what_is_written_into_inputs_is_written_last():
    """Nodes wait for the joined message; none of them may read an input after it was written."""

    def two(x: Tensor, y: Tensor, running: Tensor) -> tuple[Tensor, Tensor]:
        first = gathered(x.sum(0)).mean()
        new = running + first
        second = gathered(y.sum(0)).mean() + running
        running.copy_(new)
        return first + 1, second

    module = traced(two, torch.randn(3, 4), torch.randn(5, 6), torch.zeros(()))
    assert join_messages(module.graph) == 1
    last = list(module.graph.nodes)[-2]
    assert last.target == torch.ops.aten.copy_.default and last.next.op == "output"


def test_a_graph_without_messages_is_left_alone():
    module = traced(lambda x: operator.mul(x, 2), torch.randn(3))
    before = str(module.graph)
    assert not has_messages(module.graph) and join_messages(module.graph) == 0 and str(module.graph) == before


def test_a_circle_is_an_error():
    """Which equal levels cannot make; what would is told, not sent."""
    from semisonic_kernels import joined_messages

    graph = Graph()
    x = graph.placeholder("x")
    one = graph.call_function(torch.neg, (x,))
    two = graph.call_function(torch.neg, (one,))
    graph.output(two)
    one.args = (two,)
    with pytest.raises(RuntimeError, match="depend on each other"):
        joined_messages._sort(graph)
