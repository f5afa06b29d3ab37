"""Inductor's kernels are compiled for a card that is not there, and one that spills is seen."""

from pathlib import Path
from typing import Any

import pytest

from aot import step
from aot.step_kernels import summary
from tests.support.without_gpu import run_script

triton = pytest.importorskip("triton")
ASSEMBLER = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "ptxas"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not ASSEMBLER.exists(), reason="this Triton comes without NVIDIA's assembler"),
]

SCRIPT = """
import json, torch
from aot import fake_cuda, step_code, step_counts
from aot.step_kernels import Compiler, compile_one, load
fake_cuda.install()
from torch._subclasses import FakeTensorMode
recorder, mode = step_code.Recorder(), FakeTensorMode()
with mode:
    values = torch.empty(4096, 128)
def function(x):
    return x.softmax(1)  # keeps its rows in registers, over two reductions
engine = step_code.Traced("made-up", torch.compile(function, fullgraph=True), function, mode, recorder, None)
with fake_cuda.compiling_for_card(), recorder.watching(), mode, torch.no_grad():
    engine(values)
(graph,) = recorder.graphs
sources = step_counts.sources(graph.code)
((name, source),) = sources.items()
compiler = Compiler()
first, every = compiler.rows(name, source, False), compiler.rows(name, source, True)
import triton
large = triton.Config({"XBLOCK": 128}, num_warps=1)
spilled = compile_one(load(name, source), large)
try:
    compiler.rows(name, source.replace("tl.load", "tl.lode"), False)
    error = ""
except RuntimeError as caught:
    error = str(caught)
print(json.dumps({"first": first, "every": every, "spilled": spilled, "error": error, "name": name}))
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return run_script(SCRIPT, tmp_path_factory.mktemp("caches"))


def test_registers_of_a_kernel_are_read(found: Any):
    (row,) = found["first"]
    assert row["registers"] > 8 and row["stack"] == row["local"] == row["spills"] == 0
    assert found["every"][0] == row and len(found["every"]) > 1
    assert len({one["configuration"] for one in found["every"]}) == len(found["every"])
    assert summary([found["every"]])["kernels"] == 1


def test_a_kernel_with_too_few_registers_breaks_the_rule(found: Any):
    spilled = found["spilled"]
    assert spilled["spills"] > 0 and spilled["stack"] > 0
    row = {"graphs of each": {}, "in local memory": [{"kernel": found["name"], "first": True, **spilled}]}
    assert any("spills" in line for line in step.broken("case", row))
    row["in local memory"][0]["first"] = False
    assert step.broken("case", row) == [], "of configurations that Inductor may try, it leaves out those that spill"
    assert summary([found["first"], [spilled]])["with spills"] == 1


def test_a_kernel_that_does_not_compile_is_named(found: Any):
    assert found["name"] in found["error"] and "lode" in found["error"]
