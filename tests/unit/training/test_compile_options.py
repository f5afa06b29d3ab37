"""What the compiler is told: passes over its graphs, and the order of messages in the code that it writes."""

import re
from functools import partial
from types import SimpleNamespace
from unittest import mock

import pytest
import torch
from torch._inductor import config
from torch._inductor.codecache import compiled_fx_graph_hash
from torch._inductor.fx_passes.post_grad import post_grad_passes
from torch._inductor.graph import GraphLowering
from torch.fx import Graph
from torch.fx.experimental.proxy_tensor import make_fx

from semisonic.training.compile_options import (
    CHECK,
    MESSAGES,
    PASSES,
    GraphPass,
    compile_options,
    in_order,
    inductor_options,
)
from tests.dist.overlap_worker import SHAPE, Residual, Wide, network
from tests.support.ranks import fake_ranks


def one(graph: Graph) -> None:
    graph.owning_module = None


def two(graph: Graph) -> None:
    assert graph.owning_module is None


def test_passes_run_in_order():
    graph = Graph(torch.nn.Module())
    in_order((one, two))(graph)


def test_code_is_kept_under_the_passes():
    assert compile_options() == compile_options()  # else one function would be compiled for every role
    names = [in_order(passes).uuid() for passes in (PASSES, MESSAGES, (one, two), (two, one), (one,))]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("ranks", [1, 2])
def test_code_is_found_in_caches_again(ranks: int):
    """The compiler passes its caches over, with a warning, where it cannot make a key of its options."""

    def key(passes: tuple[GraphPass, ...]) -> str:
        with config.patch(compile_options(passes=passes)):
            return compiled_fx_graph_hash(torch.fx.GraphModule({}, Graph()), [], {}, [])[0]

    with fake_ranks(ranks):
        assert key(PASSES) == key(PASSES) != key((one,))


def test_no_passes_leave_the_compiler_alone():
    nothing = compile_options(passes=(), small=False)
    assert nothing == {}
    assert torch.compile(lambda x: x + 1, options=nothing, dynamic=False) is not None


def test_messages_are_for_several_ranks_that_want_it():
    bare = partial(compile_options, passes=(), small=False)
    with fake_ranks(1):
        assert bare() == {}
    with fake_ranks(2):
        assert bare(overlap=False) == {}
        options = bare()
        assert options == bare() and options["reorder_for_compute_comm_overlap"] is True
    assert torch.compile(lambda x: x + 1, options=options, dynamic=False) is not None


@pytest.mark.skipif(CHECK not in inductor_options(), reason="this torch has ranks compare no graphs")
@pytest.mark.parametrize(("changed", "compared"), [({}, False), ({CHECK: True}, True)])
def test_no_rank_waits_for_another_to_compile(changed: dict[str, bool], compared: bool):
    """Another may have found its code in a cache."""
    with (
        fake_ranks(2),
        config.patch({CHECK: True}),  # the default of torch 2.12
        mock.patch("torch._inductor.fx_passes.spmd_check.spmd_check") as check,
    ):
        module = make_fx(lambda x: [x + 1], tracing_mode="fake")(torch.ones(2))
        with config.patch(compile_options(passes=(), small=False) | changed):
            post_grad_passes(module, is_inference=True)
    assert check.called == compared


class Generated(Exception):
    """Raised in place of running generated code."""


def generated(block: type[torch.nn.Module], overlap: bool, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Forward and backward as Inductor writes them for 8 ranks, each as its messages, waits and convolutions in order:
    send, wait, conv (forward), input, weight or both."""
    codes: list[str] = []

    def refuse(*args: object) -> None:
        raise Generated

    def compile_to_module(lowering: GraphLowering) -> SimpleNamespace:
        codes.append(lowering.codegen()[0].value)
        return SimpleNamespace(call=refuse, __file__="generated")

    monkeypatch.setattr(GraphLowering, "compile_to_module", compile_to_module)
    torch._dynamo.reset()
    with (
        fake_ranks(8),
        torch._functorch.config.patch(force_non_lazy_backward_lowering=True, enable_autograd_cache=False),
        torch._inductor.config.patch(fx_graph_cache=False),
    ):
        made = network(block).to(memory_format=torch.channels_last)
        options = compile_options(overlap)
        with pytest.raises(Generated):
            torch.compile(made.forward, fullgraph=True, dynamic=False, options=options)(torch.randn(SHAPE).double())
    return [events(code[code.index("def call") :]) for code in codes]


def events(code: str) -> list[str]:
    kinds = {"all_gather_into_tensor.default(": "send", "all_reduce_.default(": "send", "wait_tensor.default(": "wait",
             "extern_kernels.convolution(": "conv", "[True, True, False])": "both", "[True, False, False])": "input",
             "[False, True, False])": "weight", "[True, True, True])": "both", "[False, True, True])": "weight"}  # fmt: skip
    pattern = re.compile("|".join(map(re.escape, kinds)))
    lines = [line for line in code.splitlines() if not line.lstrip().startswith(("#", "assert"))]
    return [kinds[found] for line in lines for found in pattern.findall(line)]


def windows(found: list[str]) -> list[list[str]]:
    """What is computed between each message and its wait."""
    begins = [place for place, event in enumerate(found) if event == "send"]
    return [found[place + 1 : found.index("wait", place)] for place in begins]


@pytest.mark.slow
def test_messages_travel_while_weight_gradients_are_computed(monkeypatch: pytest.MonkeyPatch):
    forward, backward = generated(Wide, True, monkeypatch)
    assert forward.count("send") == backward.count("send") == 4
    assert all("weight" in window for window in windows(backward)), backward
    assert [window.count("conv") for window in windows(forward)] == [0, 1, 0, 1], forward  # the shortcuts'


@pytest.mark.slow
def test_a_norm_of_a_shortcut_sends_no_message_of_its_own(monkeypatch: pytest.MonkeyPatch):
    forward, backward = generated(Residual, True, monkeypatch)
    assert forward.count("send") == backward.count("send") == 4  # of six norms
    assert sum("weight" in window for window in windows(backward)) >= 2


@pytest.mark.long
@pytest.mark.parametrize(("block", "norms"), [(Wide, 4), (Residual, 6)])
def test_torch_by_itself_does_neither(block: type[torch.nn.Module], norms: int, monkeypatch: pytest.MonkeyPatch):
    """Else the passes could go."""
    graphs = generated(block, False, monkeypatch)
    assert [graph.count("send") for graph in graphs] == [norms, norms]
    assert not any(any(window) for graph in graphs for window in windows(graph))
