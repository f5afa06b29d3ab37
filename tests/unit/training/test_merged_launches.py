"""Tiny operations of compiled graphs that are merged: which ones, and that no number changes by it."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._functorch.aot_autograd import aot_module_simplified, make_boxed_func
from torch.fx import Graph, GraphModule

from semisonic.models.norm import BatchNorm2d, batch_statistics
from semisonic.training import merged_launches
from semisonic.training.merged_launches import merge_tiny_launches

CAST, MERGED_CASTS = "prims.convert_element_type.default", "aten._foreach_copy.default"
MERGED_COUNTS = "aten._foreach_add.Scalar"


class Net(nn.Module):
    """Seen twice in a forward, as methods with weak and strong views do; one pass of it moves no statistics."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(
            nn.Conv2d(3, 8, 3), BatchNorm2d(8, slope=0.1), nn.Conv2d(8, 8, 1, bias=False), BatchNorm2d(8, slope=0)
        )
        self.body.to(memory_format=torch.channels_last)
        self.head = nn.Linear(8, 5)

    def logits(self, images: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return self.head(self.body(images).mean((2, 3))).float()

    def forward(self, images: Tensor) -> Tensor:
        with batch_statistics(track=False), torch.no_grad():
            labels = self.logits(images).argmax(1)
        return nn.functional.cross_entropy(self.logits(images.flip(3)), labels)


def operations(graph: Graph) -> list[str]:
    return [str(node.target) for node in graph.nodes if node.op == "call_function"]


def backend(graphs: list[Graph], change: Callable[[Graph], None]) -> Callable[..., Any]:
    """Graphs as a compiler gets them, with a change, computed one operation after the other."""
    from functorch.compile import min_cut_rematerialization_partition
    from torch._inductor.decomposition import select_decomp_table

    def compiler(module: GraphModule, inputs: Any) -> Any:
        change(module.graph)
        module.recompile()
        graphs.append(module.graph)
        return make_boxed_func(module.forward)

    def run(module: GraphModule, inputs: Any) -> Any:
        return aot_module_simplified(
            module, inputs, fw_compiler=compiler, bw_compiler=compiler,
            partition_fn=min_cut_rematerialization_partition, decompositions=select_decomp_table(),
            keep_inference_input_mutations=True,
        )  # fmt: skip

    return run


def trained(change: Callable[[Graph], None]) -> tuple[dict[str, Tensor], list[Graph]]:
    """Losses, gradients and state of three steps with a change of the graphs; forward's graph and backward's."""
    torch._dynamo.reset()
    graphs: list[Graph] = []
    net = Net()
    compiled = torch.compile(net.forward, fullgraph=True, dynamic=False, backend=backend(graphs, change))
    found: dict[str, Tensor] = {}
    for step in range(3):
        torch.manual_seed(step)
        loss = compiled(torch.randn(4, 3, 8, 8).to(memory_format=torch.channels_last))
        loss.backward()
        found[f"loss {step}"] = loss.detach()
        for name, parameter in net.named_parameters():
            assert parameter.grad is not None and parameter.grad.dtype == torch.float32
            assert parameter.grad.stride() == parameter.stride()
            found[f"gradient {step} {name}"] = parameter.grad.clone()
            parameter.data.add_(parameter.grad, alpha=-0.1)  # from outside the graph: no copy of a weight may be stale
    return found | {name: value.clone() for name, value in net.state_dict().items()}, graphs


@pytest.fixture(scope="module")
def both() -> Iterator[tuple[Any, Any]]:
    yield trained(lambda graph: None), trained(merge_tiny_launches)


def test_no_number_changes(both):
    (plain, _), (merged, _) = both
    assert plain.keys() == merged.keys()
    for name, value in plain.items():
        assert value.equal(merged[name]), name
    assert merged["body.1.num_batches_tracked"] == merged["body.3.num_batches_tracked"] == 3


def test_casts_and_counts_are_merged(both):
    (_, (forward, backward)), (_, (merged_forward, merged_backward)) = both
    before, after = operations(forward), operations(merged_forward)
    assert MERGED_CASTS not in before and after.count(MERGED_CASTS) == after.count(MERGED_COUNTS) == 1
    # Two convolutions, a matrix and its bias. The convolution's bias is no kernel of its own.
    assert before.count(CAST) - after.count(CAST) == sum(map(merged_launches._casts_weight, forward.nodes)) == 4
    assert before.count("aten.add.Tensor") - after.count("aten.add.Tensor") == 2
    before, after = operations(backward), operations(merged_backward)
    assert MERGED_CASTS not in before and after.count(MERGED_CASTS) == 1
    # On the CPU the convolution's backward gives its bias's gradient too. The matrix's bias has a sum's.
    assert before.count(CAST) - after.count(CAST) == 4


def test_what_is_erased_is_no_place_to_insert():
    """A graph that begins with casts to two dtypes, before it counts."""

    def products(a: Tensor, b: Tensor, c: Tensor, d: Tensor, x: Tensor, counts: list[Tensor]) -> list[Tensor]:
        one = x.bfloat16() @ a.bfloat16() @ b.bfloat16()
        two = x.half() @ c.half() @ d.half()
        for count in counts:
            count.add_(1)
        return [one, two]

    from torch._inductor.decomposition import select_decomp_table
    from torch.fx.experimental.proxy_tensor import make_fx

    given = [torch.eye(3) * number for number in range(1, 6)]
    counts = [torch.tensor(number) for number in range(2)]
    module = make_fx(torch.func.functionalize(products), select_decomp_table(), tracing_mode="fake")(*given, counts)
    module.graph.eliminate_dead_code()  # as the compiler does
    merge_tiny_launches(module.graph)
    module.recompile()
    found = operations(module.graph)
    assert found.count(MERGED_CASTS) == 2 and found.count(MERGED_COUNTS) == 1 and CAST not in found
    one, two = module(*given, counts)
    assert one.equal(torch.eye(3).bfloat16() * 10) and two.equal(torch.eye(3).half() * 60)
    assert counts == [torch.tensor(1), torch.tensor(2)]


def test_large_weights_are_left_alone(monkeypatch):
    monkeypatch.setattr(merged_launches, "LARGEST", 64)  # the second convolution's, the matrix's and biases
    _, (forward, _) = trained(merge_tiny_launches)
    (merged,) = (node for node in forward.nodes if str(node.target) == MERGED_CASTS)
    assert sorted(list(value.shape) for value in merged.meta["val"]) == [[5], [5, 8], [8, 8, 1, 1]]


@pytest.mark.parametrize(
    "fault",
    [
        lambda group, merged: merged.update_arg(0, merged.args[0][::-1]),  # results that belong to others
        lambda group, merged: None if str(merged.target) == MERGED_CASTS else merged.update_arg(1, 2),  # counted twice
    ],
)
def test_a_wrong_merge_is_seen(fault, monkeypatch, both):
    take_over = merged_launches._take_over

    def wrong(graph: Graph, group: Any, merged: Any) -> None:
        fault(group, merged)
        take_over(graph, group, merged)

    monkeypatch.setattr(merged_launches, "_take_over", wrong)
    (plain, _), _ = both
    try:
        found, _ = trained(merge_tiny_launches)
    except RuntimeError:
        return
    assert any(not value.equal(plain[name]) for name, value in found.items())
