"""The engine's own step is compiled for a card that is not there, in whatever way the engine compiles it."""

from typing import Any

import pytest
import torch

from tests.support.without_gpu import run_script

FIELDS = ["--algorithm", "fixmatch", "--model", "small", "--batch.labeled", "8", "--batch.unlabeled-ratio", "2",
          "--precision", "bf16"]  # fmt: skip
SCRIPT = f"""
import json, torch
from aot import step_code, step_counts
graphs = step_code.generate({FIELDS!r}, size=8)
first = [[graph.name, step_counts.count(graph)] for graph in graphs]

from semisonic.training import step
real = torch.compile
def other(*args, **named):
    return real(*args, **named, options={{"combo_kernels": True, "benchmark_combo_kernel": False}})
torch.compile = other
combined = [[graph.name, step_counts.count(graph)] for graph in step_code.generate({FIELDS!r}, size=8)]
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
print(json.dumps({{"first": first, "combined": combined, "error": error}}))
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return run_script(SCRIPT, tmp_path_factory.mktemp("caches"))


def test_a_role_is_one_graph_forward_and_one_backward(found: Any):
    before = torch.cuda.is_available()
    names = [name for name, _ in found["first"]]
    assert sorted(names) == ["network backward", "network forward"]
    counts = dict(found["first"])
    assert counts["network forward"]["convolutions"] == counts["network backward"]["convolution backwards"] > 0
    assert counts["network forward"]["launches"] > 0 and counts["network backward"]["launches"] > 0
    assert counts["network forward"]["tiny"]["casts of weights"] > 0, "fp32 weights are cast to bf16"
    assert counts["network backward"]["tiny"]["casts of weight gradients"] > 0
    assert counts["network forward"]["transposes"] == 0, "the engine's tensors are channels_last"
    assert before == torch.cuda.is_available() is False or torch.cuda.device_count() > 0


def test_options_that_the_engine_compiles_with_are_seen(found: Any):
    plain, combined = dict(found["first"]), dict(found["combined"])
    assert combined["network forward"]["launches"] < plain["network forward"]["launches"]


def test_a_graph_break_is_an_error(found: Any):
    assert "graph_break" in found["error"] and "Unsupported" in found["error"]
