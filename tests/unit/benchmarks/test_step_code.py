"""The engine's own step is compiled for a card that is not there, in whatever way the engine compiles it."""

from typing import Any

import pytest
import torch

from tests.support.without_gpu import run_script

pytestmark = pytest.mark.long

FIELDS = ["--algorithm", "fixmatch", "--model", "small", "--batch.labeled", "8", "--batch.unlabeled-ratio", "2",
          "--precision", "bf16"]  # fmt: skip
SCRIPT = f"""
import json, torch
from aot import step_code, step_counts
real = torch.compile
def combining(*args, **named):
    options = {{**(named.pop("options", None) or {{}}), "combo_kernels": True, "benchmark_combo_kernel": False}}
    return real(*args, **named, options=options)
torch.compile = combining
graphs = step_code.generate({FIELDS!r}, size=8)
torch.compile = real

from semisonic.algorithms.base import Algorithm
forward = Algorithm.forward
def broken(self, batch):
    torch._dynamo.graph_break()
    return forward(self, batch)
Algorithm.forward = broken
try:
    step_code.generate({FIELDS!r}, size=8)
    error = ""
except Exception as caught:
    error = type(caught).__name__ + str(caught)
print(json.dumps({{
    "counts": {{graph.name: step_counts.count(graph) for graph in graphs}}, "graphs": len(graphs), "error": error,
    "combined": "combo_grid_meta" in graphs[0].code,
}}))
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Any:
    before = torch.cuda.is_available()
    made = run_script(SCRIPT, tmp_path_factory.mktemp("caches"))
    assert torch.cuda.is_available() == before, "CUDA is mocked in the script's process alone"
    return made


def test_a_role_is_one_graph_forward_and_one_backward(found: Any):
    counts = found["counts"]
    assert sorted(counts) == ["network backward", "network forward"] and found["graphs"] == 2
    forward, backward = counts["network forward"], counts["network backward"]
    assert forward["convolutions"] == backward["convolution backwards"] == 4 and forward["convolution backwards"] == 0
    assert forward["launches"] > 0 < backward["launches"] and forward["matrix products"] == 1
    assert forward["transposes"] == 0, "the engine's tensors are channels_last"


def test_options_that_the_engine_compiles_with_are_seen(found: Any):
    assert found["combined"], "combo kernels are asked for in the call of torch.compile"


def test_a_graph_break_is_an_error(found: Any):
    assert "graph_break" in found["error"] and "Unsupported" in found["error"]
