"""Messages between ranks: every one is counted, with its bytes and its purpose. scaling_worker.py holds what two ranks do."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from communication import Call, Counter, purpose, summary, wire_bytes
from tests.support.processes import ROOT


@pytest.fixture(scope="module")
def counted(request: pytest.FixtureRequest) -> dict:
    """What was counted; of a compiled step too where a chosen test reads it."""
    kinds = {item.callspec.params.get("kind") for item in request.session.items if hasattr(item, "callspec")}
    worker = Path(__file__).parent / "scaling_worker.py"
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", str(worker)]
    command += ["compiled"] if "compiled" in kinds else []
    path = ":".join(str(ROOT / part) for part in ("benchmarks", "engine", "kernels"))
    environment = {"OMP_NUM_THREADS": "1", "PYTHONPATH": path}
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=os.environ | environment)
    assert done.returncode == 0, done.stderr
    return json.loads(next(line for line in done.stdout.splitlines() if line.startswith("{")))


def test_every_call_is_counted_with_the_bytes_of_its_whole_message(counted: dict):
    float32, ranks = 4, 2
    assert counted["plain"] == [
        ["all_reduce", 3 * float32],
        ["all_reduce", 7 * 8],  # int64
        ["all_gather", ranks * 5 * float32],  # a list of tensors
        ["all_gather", ranks * 5 * float32],  # one tensor
        ["reduce_scatter", ranks * 5 * float32],
        ["send", 2 * float32],
        ["barrier", 0],
        ["all_reduce", 6 * float32],  # functional
        ["all_gather", ranks * 4 * float32],
    ]


@pytest.mark.parametrize("kind", ["eager", pytest.param("compiled", marks=pytest.mark.long)])
def test_ddp_reduces_every_parameter_once_and_batch_norm_its_statistics(kind: str, counted: dict):
    found, ranks, channels = counted[kind], 2, [16, 32, 64, 96]
    step = found["step"]
    assert step["gradients"]["bytes"] == found["parameter_bytes"] == 4 * found["parameters"]
    forward, backward = step["BatchNorm forward"], step["BatchNorm backward"]
    assert forward["calls"] == backward["calls"] == found["norm_layers"] == len(channels)
    assert forward["bytes"] == sum(ranks * 2 * width * 4 for width in channels)
    assert backward["bytes"] == sum(2 * width * 4 for width in channels)
    assert set(step) == {"gradients", "BatchNorm forward", "BatchNorm backward", "algorithm state"}
    assert step["algorithm state"]["calls"] == 1  # the margins of the labeled images
    assert set(found["reading"]) == {"meter", "vote"} and found["reading"]["vote"]["bytes"] == 24


def test_gathered_state_is_counted_as_such(counted: dict):
    assert counted["state"] == {"calls": 1, "bytes": 2 * 6 * 4, "wire_bytes": 6 * 4, "messages": [2 * 6 * 4]}


def test_the_ring_sends_what_it_sends():
    assert wire_bytes("all_reduce", 1000, 4) == 1500
    assert wire_bytes("all_gather", 1000, 4) == wire_bytes("reduce_scatter", 1000, 4) == 750
    assert wire_bytes("send", 1000, 4) == 1000 and wire_bytes("barrier", 0, 4) == 0


def call(phase: str, operation: str, kind: str, *shape: int) -> Call:
    return Call(phase, operation, kind, (shape,), 4 * torch.Size(shape).numel())


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (call("backward", "c10d::allreduce_", "all_reduce", 1000), "gradients"),
        (call("backward", "c10d::_reduce_scatter_base_", "reduce_scatter", 1000), "gradients"),
        (call("optimizer", "c10d::_allgather_base_", "all_gather", 1000), "parameters"),
        (call("forward", "c10d::_allgather_base_", "all_gather", 1000), "parameters"),  # ZeRO-3
        (call("optimizer", "c10d::allreduce_", "all_reduce"), "optimizer checks"),
        (
            call("backward", "_c10d_functional::all_gather_into_tensor", "all_gather", 32),
            "BatchNorm forward",
        ),  # recomputed
        (call("forward", "_c10d_functional::all_reduce", "all_reduce", 32), "BatchNorm backward"),  # an inner gradient
        (call("forward", "_c10d_functional::all_gather_into_tensor", "all_gather", 160), "BatchNorm forward"),  # joined
        (call("backward", "_c10d_functional::all_reduce_", "all_reduce", 160), "BatchNorm backward"),
        (call("forward", "_c10d_functional::all_reduce", "all_reduce", 10), "other"),  # an algorithm's own
        (call("state", "c10d::_allgather_base_", "all_gather", 64), "algorithm state"),
        (call("vote", "c10d::allreduce_", "all_reduce", 2), "vote"),
        (call("", "c10d::allreduce_", "all_reduce", 9), "other"),
    ],
)
def test_the_purpose_of_a_call(made: Call, expected: str):
    assert purpose(made, [16, 64]) == expected
    assert summary([made, made], 4, [16, 64])[expected]["bytes"] == 2 * made.bytes


def test_an_operation_that_is_not_known_is_not_left_out():
    with pytest.raises(NotImplementedError, match="c10d::new_operation_"):
        Counter().call("c10d::new_operation_", [])
