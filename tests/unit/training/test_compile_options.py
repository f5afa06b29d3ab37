"""What the compiler is told: passes over its graphs, and the names that it keeps compiled code under."""

import torch
from torch.fx import Graph

from semisonic.training.compile_options import PASSES, compile_options, in_order


def one(graph: Graph) -> None:
    graph.owning_module = None


def two(graph: Graph) -> None:
    assert graph.owning_module is None


def test_passes_run_in_order():
    graph = Graph(torch.nn.Module())
    in_order((one, two))(graph)


def test_code_is_kept_under_the_passes():
    assert compile_options() == compile_options()  # else one function would be compiled for every role
    names = [in_order(passes).uuid() for passes in (PASSES, (one, two), (two, one), (one,))]
    assert len(set(names)) == len(names)


def test_no_passes_leave_the_compiler_alone():
    assert compile_options((), small=False) == {}
    assert torch.compile(lambda x: x + 1, options=compile_options((), small=False), dynamic=False) is not None
