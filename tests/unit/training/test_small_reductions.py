"""Small reductions in fewer launches: what is left whole, what is joined, and that only the step is told so."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch._inductor import config
from torch._inductor.choices import InductorChoices
from torch._inductor.virtualized import V

from semisonic.training import small_reductions
from semisonic.training.compile_options import PASSES, compile_options, in_order
from semisonic.training.small_reductions import join_tiny_reductions, leave_small_reductions_whole
from tests.support.without_gpu import run_script

pytestmark = pytest.mark.skipif(not small_reductions.possible(), reason="this torch's compiler has other places")


@pytest.fixture
def choices(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The compiler's choices, which split everything into 7 parts."""
    monkeypatch.setattr(InductorChoices, "reduction_split_factor", lambda *args, **named: 7)
    with V.set_choices_handler(InductorChoices()):
        leave_small_reductions_whole(torch.fx.Graph())
        yield V.choices


def split(choices: Any, reduced: int, results: int) -> int:
    return choices.reduction_split_factor(torch.device("cpu"), reduced, results, inner_reduction=False)


def test_small_reductions_of_a_step_are_left_whole(choices):
    with config.patch(compile_options()):
        assert split(choices, 1024, 128) == 1
        assert split(choices, 1025, 128) == 7 and split(choices, 960 * 1024, 32) == 7


def test_other_functions_are_compiled_as_ever(choices):
    assert split(choices, 1024, 128) == 7
    with config.patch(post_grad_custom_post_pass=in_order(PASSES)):
        assert split(choices, 1024, 128) == 7


def test_the_choices_of_others_are_left_alone():
    class Theirs(InductorChoices):
        pass

    with V.set_choices_handler(Theirs()):
        leave_small_reductions_whole(torch.fx.Graph())
        assert type(V.choices) is Theirs


def test_nothing_is_joined_of_nothing():
    assert join_tiny_reductions([]) == []


@pytest.mark.slow
def test_nothing_is_joined_on_a_cpu():
    found: list[int] = []

    def counted(nodes: list[Any]) -> list[Any]:
        found.append(sum(map(small_reductions._is_tiny_reduction, nodes)))
        return nodes

    torch._dynamo.reset()
    options = {"_post_fusion_custom_pass": counted, "fx_graph_cache": False}
    torch.compile(lambda x: x.sum(0) + 1, options=options, dynamic=False)(torch.ones(4, 4))
    assert found == [0]


SCRIPT = """
import json
from aot import step_code, step_counts
from semisonic.training import step
from semisonic.training.compile_options import compile_options

counts = {}
for name, options in (("as ever", compile_options(passes=(), small=False)), ("merged", compile_options())):
    step.compile_options = lambda overlap: options
    graphs = step_code.generate(
        ["--algorithm", "supervised", "--model", "wrn-10-1", "--precision", "bf16", "--batch.labeled", "512"]
    )
    counts[name] = {graph.kind: step_counts.count(graph) | {"bytes": sum(launch.bytes for launch in graph.launches)}
                    for graph in graphs}
print(json.dumps(counts))
"""


@pytest.mark.long
def test_a_step_has_fewer_launches(tmp_path: Path):
    """The code for a GPU: 7 BatchNorms and 9 weights, of which the backward gives 9 gradients in bf16."""
    counts = run_script(SCRIPT, tmp_path, 600)
    ever, merged = counts["as ever"], counts["merged"]
    saved = {kind: ever[kind]["launches"] - merged[kind]["launches"] for kind in ever}
    # A cast for each weight and the head's bias, a counter for each layer, a middle stage for each layer.
    assert saved["forward"] >= 9 + 6 + 7
    # A cast for each weight; of each layer two sums are finished by one kernel.
    assert saved["backward"] >= 8 + 7
    for kind, own in merged.items():
        assert sum(own["tiny"][name] for name in own["tiny"] if name.startswith(("casts", "counter"))) == 0
        assert own["copies"] == ever[kind]["copies"] and own["bytes"] < 1.01 * ever[kind]["bytes"]
        for calls in ("convolutions", "convolution backwards", "matrix products", "transposes"):
            assert own[calls] == ever[kind][calls]
