"""The bare passes that throughput.py measures a method's step against are those that its step does."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import passes
import variants
from semisonic.algorithms.registry import ALGORITHMS
from semisonic.models.small import Small
from tests.dist.worker import ALGORITHM_FIELDS

B = 8

KNOWN = {
    "fixmatch": ["40 forward + backward"],
    "mixmatch": ["32 forward", "40 forward + backward"],
    "supervised": ["8 forward + backward"],
    "vat": [
        "8 forward + backward",
        "16 forward + backward",
        "16 forward + image's gradient",
        "16 forward + backward",
    ],
}
"""Passes over images of a step of 8 + 16."""


def counted(algorithm: str, *fields: str) -> tuple[nn.Module, list[passes.Pass]]:
    argv = ["--algorithm", algorithm, "--batch.labeled", str(B), "--batch.unlabeled-ratio", "2", "--model", "small",
            "--device", "cpu", "--no-baseline", "--log.trackers", "none", "--compile", "off",
            *ALGORITHM_FIELDS.get(algorithm, []), *fields]  # fmt: skip
    plan = variants.Plan(tuple(argv), 16, 10, 0, 0, True)
    module, found, _ = variants.counted_passes(plan, variants.configuration(plan))
    return module, found


def rows_of_stems(algorithm: nn.Module, action: Callable[[], object]) -> int:
    """Images that go through the first convolution of any network."""
    rows, hooks = [0], []
    for network in (m for m in algorithm.modules() if isinstance(m, Small)):
        hook = network.layers[0].register_forward_hook(lambda m, given, y: rows.append(len(given[0])))
        hooks.append(hook)
    action()
    for hook in hooks:
        hook.remove()
    return sum(rows)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in KNOWN else pytest.mark.slow) for name in ALGORITHMS]
)
def test_no_pass_of_a_step_is_missed(name: str, monkeypatch: pytest.MonkeyPatch):
    """Neither when they are counted nor when they are repeated."""
    stepped: list[int] = []
    record = passes.record

    def watched(algorithm: nn.Module, step: Callable[[], object]) -> list[passes.Pass]:
        found: list[passes.Pass] = []
        stepped.append(rows_of_stems(algorithm, lambda: found.extend(record(algorithm, step))))
        return found

    monkeypatch.setattr(passes, "record", watched)
    algorithm, found = counted(name)
    bare = passes.Passes(algorithm, found, None, torch.device("cpu"))
    counts = [sum(one.shape[0] for one in found if one.images), rows_of_stems(algorithm, bare)]
    assert counts == stepped * 2 and counts[0] >= B
    assert any(one.gradient == "parameters" for one in found)
    assert not any("forward" in vars(module) or "features" in vars(module) for module in algorithm.modules())
    if name in KNOWN:
        assert [one.describe() for one in found if one.images] == KNOWN[name]


def test_weak_views_with_a_forward_of_their_own_have_no_backward():
    """Of 8 + 16 images: the features and the head of labeled and weak views, then of labeled and strong ones."""
    algorithm, found = counted("fixmatch", "--algorithm.weak-pass", "separate")
    assert [one.describe() for one in found if one.images] == ["24 forward", "24 forward + backward"]
    assert [(one.gradient, one.track) for one in found if one.images] == [("none", True), ("parameters", False)]
    bare = passes.Passes(algorithm, found, None, torch.device("cpu"))
    assert rows_of_stems(algorithm, bare) == 48


class Own(nn.Module):
    """A network with a head of the method's own, a forward whose result is detached, and one that tracks nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.network, self.projector = Small(5), nn.Linear(96, 3)
        self.several = nn.ModuleList([nn.Linear(3, 2)])

    def step(self) -> None:
        features = self.network.features(torch.randn(4, 3, 8, 8))
        target = self.network(torch.randn(6, 3, 8, 8)).detach()
        out = self.several[0](self.projector(features))
        (out.sum() + self.network.head(features).sum() + target.sum()).backward()


def test_heads_are_counted_and_what_is_detached_has_no_backward():
    own = Own()
    found = passes.record(own, own.step)
    assert [(one.module, one.method, one.gradient, one.through) for one in found] == [
        ("network", "features", "parameters", False),
        ("network", "forward", "none", False),
        ("projector", "forward", "parameters", True),
        ("several.0", "forward", "parameters", True),
        ("network.head", "forward", "parameters", True),
    ]
    bare = passes.Passes(own, found, None, torch.device("cpu"))
    own.zero_grad()
    bare()
    assert all(parameter.grad is not None for parameter in own.parameters())
    assert [x.grad is not None for x in bare.inputs] == [False, False, True, True, True]


@pytest.mark.slow
def test_compiled_passes_leave_nothing_out():
    """What has no gradient is computed all the same, in one graph."""
    algorithm, found = counted("vat")
    bare = passes.Passes(algorithm, found, None, torch.device("cpu"))
    graphs: list[torch.fx.GraphModule] = []

    def backend(graph: torch.fx.GraphModule, example: list[Tensor]) -> Callable[..., object]:
        graphs.append(graph)
        return graph.forward

    torch._dynamo.reset()
    bare.objective = torch.compile(bare.objective, fullgraph=True, dynamic=False, backend=backend)
    bare()
    torch._dynamo.reset()
    convolutions = sum("conv2d" in str(node.target) for node in graphs[0].graph.nodes)
    assert len(graphs) == 1 and convolutions == 4 * sum(one.images for one in found)
