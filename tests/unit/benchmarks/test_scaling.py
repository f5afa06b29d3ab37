"""The scaling benchmark: what it counts, what it fits, and what its formula says."""

import json
import os
import subprocess
import sys
from multiprocessing import Pipe
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from tests.support.processes import ROOT

sys.path.append(str(ROOT / "benchmarks"))

import projection
import scaling
import scaling_metrics
from communication import Call, Counter, purpose, summary, wire_bytes
from measure import Failed, Worker, spread
from ranks import Group
from semisonic.schema import UserError

# Counting, on two ranks. (tests/unit/benchmarks/scaling_worker.py holds what they do.)


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


@pytest.mark.parametrize("kind", ["eager", pytest.param("compiled", marks=pytest.mark.slow)])
def test_ddp_reduces_every_parameter_once_and_batch_norm_its_statistics(kind: str, counted: dict):
    found, ranks, channels = counted[kind], 2, [16, 32, 64, 96]
    step = found["step"]
    assert step["gradients"]["bytes"] == found["parameter_bytes"] == 4 * found["parameters"]
    forward, backward = step["BatchNorm forward"], step["BatchNorm backward"]
    assert forward["calls"] == backward["calls"] == found["norm_layers"] == len(channels)
    assert forward["bytes"] == sum(ranks * 2 * width * 4 for width in channels)
    assert backward["bytes"] == sum(2 * width * 4 for width in channels)
    assert set(step) == {"gradients", "BatchNorm forward", "BatchNorm backward"}
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


# The fit.


def test_the_fit_finds_a_line_through_times_of_every_size():
    line = projection.fit_all_reduce([{"bytes": 2.0**k, "seconds": 1e-4 + 1.5 * 2.0**k / 1e9} for k in range(9, 27)], 4)
    assert line.constant == pytest.approx(1e-4) and 1e-9 / line.slope == pytest.approx(1.0)
    assert line.error < 1e-9 and line(0) == line.constant


def test_a_fit_is_never_negative():
    falling = projection.fit([1.0, 2.0, 3.0], [3.0, 2.0, 1.0])
    steep = projection.fit([1.0, 2.0, 3.0], [1.0, 4.0, 9.0])
    assert falling.slope == 0 and falling.constant > 0
    assert steep.constant == 0 and steep.slope > 0
    for bad in (([1.0, 1.0], [1.0, 2.0]), ([1.0, 2.0], [0.0, 1.0])):
        with pytest.raises(ValueError, match="fit: needs"):
            projection.fit(*bad)


# The projection.

INPUTS = projection.Inputs(
    projection.Fit(0.002, 1e-4, 0.0), data=1e-6, images=512, labeled=64, gradient_bytes=8_000_000, gradient_calls=2,
    forward_calls=25, backward_calls=25, channels=1000,
)  # fmt: skip
NETWORK = projection.Network(8, latency_us=20, bandwidth_gb=400, node_latency_us=10, node_bandwidth_gb=50)


def test_the_formula_by_hand():
    parts = projection.step_parts(INPUTS, 64, 8, NETWORK, overlap=0.25)
    latency, ring, speed = 50e-6, 2 * 63 / 64, 50e9  # 64 GPUs are 8 nodes: three doublings
    assert parts["compute"] == pytest.approx(0.0028) and parts["data"] == pytest.approx(8e-6)
    assert parts["gradients"] == pytest.approx(0.75 * (2 * latency + ring * 8e6 / speed))
    assert parts["BatchNorm"] == pytest.approx(50 * latency + ring * (64 * 8000 / 2 + 8000) / speed)
    alone = projection.step_parts(INPUTS, 1, 512, NETWORK, 0.0)
    assert alone["gradients"] == alone["BatchNorm"] == 0 and alone["compute"] == pytest.approx(0.0532)


def test_inside_a_node_its_own_links_count():
    assert NETWORK.latency(8) == 20e-6 and NETWORK.bandwidth(8) == 400e9
    assert NETWORK.latency(16) == 30e-6 and NETWORK.bandwidth(16) == 50e9


def test_the_table_refuses_what_does_not_divide_and_knows_the_limit():
    rows = projection.project(INPUTS, NETWORK, 0.0)
    strong = {row["ranks"]: row for row in rows if row["mode"] == "strong"}
    weak = {row["ranks"]: row for row in rows if row["mode"] == "weak"}
    assert strong[512]["seconds"] is None and strong[64]["labeled"] == 1 and strong[64]["images"] == 8
    assert weak[512]["efficiency"] > 0.9 > 0.3 > strong[64]["efficiency"]
    text = " ".join(projection.notes(INPUTS, rows))
    assert "at 64 GPUs 1 labeled of 8 images" in text and "do not divide over 512 GPUs" in text
    assert "sends as much as the gradients' 7.6 MiB from 2000 GPUs on" in text


def result() -> dict:
    step = {
        "gradients": {"calls": 2, "wire_bytes": 8e6, "bytes": 8e6},
        "parameters": {"calls": 1, "wire_bytes": 4e6, "bytes": 8e6},
        "BatchNorm forward": {"calls": 4, "bytes": 2 * 8 * 96},
        "BatchNorm backward": {"calls": 4, "bytes": 8 * 96},
    }
    compute = {"fixed_seconds": 0.001, "seconds_per_image": 1e-4, "error": 0.0, "data_seconds_per_image": 0.0}
    return {
        "kind": "scaling", "configuration": {"labeled": 8}, "images_per_step": 64, "compute": compute,
        "communication": {"2": {"step": step, "images_per_step": 64}}, "device": "cpu", "hardware": "a machine",
        "cores": 2, "groups": {}, "all_reduce": {},
    }  # fmt: skip


def test_the_inputs_come_from_a_result():
    inputs = projection.inputs_of(result())
    assert inputs.gradient_bytes == 12e6 and inputs.gradient_calls == 3  # two ranks' ring sends an all-reduce once
    assert inputs.channels == 96 and inputs.forward_calls == inputs.backward_calls == 4
    with pytest.raises(ValueError, match="measured shares and counted communication"):
        projection.inputs_of(result() | {"communication": {}})


def test_a_stored_result_is_projected_with_the_users_network(tmp_path: Path, capsys):
    path = tmp_path / "result.json"
    path.write_text(json.dumps(result()))
    assert scaling.main(["--project", str(path), "--latency-us", "7", "--bandwidth-gb", "99"]) == 0
    said = capsys.readouterr().out
    assert "assumed: 8 GPUs a node, 7 us and 99 GB/s in a node" in said and "does not divide" in said
    path.write_text("{}")
    assert scaling.main(["--project", str(path)]) == 2
    assert capsys.readouterr().err.strip() == f"error: --project {path}: no result of scaling.py of kind scaling"
    assert scaling.main(["--project", str(path), "--latency-us", "0", "--overlap", "2"]) == 2
    assert capsys.readouterr().err.splitlines() == [
        "error: --latency-us: must be positive",
        "error: --overlap: must lie between 0 and 1",
    ]


def test_one_gpu_that_counted_nothing_is_projected_with_counts_of_elsewhere(tmp_path: Path, capsys):
    path, counts = tmp_path / "result.json", tmp_path / "counts.json"
    alone = result() | {"communication": {}}
    alone["configuration"] |= {"algorithm": "fixmatch", "model": "small", "compiled": True}
    path.write_text(json.dumps(alone))
    count = {"model": "small", "compiled": True, "ranks": 2, **result()["communication"]["2"]}
    counts.write_text(json.dumps({"kind": "communication", "algorithm": "fixmatch", "counts": [count]}))
    assert scaling.main(["--project", str(path)]) == 2
    assert "needs measured shares and counted communication" in capsys.readouterr().err
    assert scaling.main(["--project", str(path), "--counts", str(counts)]) == 0
    assert "BatchNorm 4 calls forward with R x 768 B" in capsys.readouterr().out
    counts.write_text(json.dumps({"kind": "communication", "algorithm": "fixmatch", "counts": []}))
    assert scaling.main(["--project", str(path), "--counts", str(counts)]) == 2
    assert "holds no fixmatch with small, compiled" in capsys.readouterr().err


# What is measured.


def options(*argv: str) -> tuple:
    return scaling.parser().parse_known_args(["--model", "small", "--device", "cpu", "--threads", "1", *argv])


def test_the_groups_of_a_measurement():
    args, rest = options("--batch", "8", "--processes", "1,2,4")
    found = scaling.works(args, scaling.make_plan(args, rest))
    assert [(work.key, work.ranks, work.labeled) for work in found] == [
        ("1", 1, 8), ("strong 2", 2, 8), ("weak 2", 2, 16), ("strong 4", 4, 8), ("weak 4", 4, 32),
        ("share 1/2", 1, 4), ("share 1/4", 1, 2), ("share 1/8", 1, 1),
    ]  # fmt: skip
    assert found[0].measures("end_to_end") and not found[-1].measures("end_to_end")


def test_what_is_impossible_is_said_before_anything_starts():
    args, rest = options("--batch", "6", "--processes", "1,4", "--modes", "strong,stong")
    with pytest.raises(UserError) as error:
        scaling.works(args, scaling.make_plan(args, rest))
    first, *others = error.value.messages
    assert first == "--modes: stong is unknown; strong or weak"
    assert others and all("batch.labeled: 6 labeled images do not divide over 4 ranks" in line for line in others[:1])


def test_efficiency_is_taken_round_by_round_and_by_busy_core():
    def row(ranks: int, busy: int, *speeds: float) -> dict:
        return {"ranks": ranks, "busy_cores": busy, "step": {"images_per_second": spread(speeds)}}

    rows = {"1": row(1, 1, 10.0, 100.0), "strong 4": row(4, 2, 20.0, 160.0)}
    found = scaling_metrics.efficiencies(rows, ["step"], on_gpu=False)
    assert found["strong 4, step"]["rounds"] == [0.5, 0.4]
    assert found["strong 4, step, by core"]["rounds"] == [1.0, 0.8]
    assert list(scaling_metrics.efficiencies(rows, ["step"], on_gpu=True)) == ["strong 4, step"]


def test_a_result_says_what_its_machine_could_not_tell():
    row = {"ranks": 4, "threads": 1}
    found = {"device": "cpu", "cores": 2, "load_before": 5.0, "groups": {"strong 4": row}}
    text = " ".join(scaling_metrics.remarks(found, {"strong 4": {"step": [{"idle": False}]}}))
    assert "other work kept 5.0 processes busy on 2 cores" in text and "strong 4 was not idle" in text
    assert "4 processes share 2 cores: their efficiency says nothing of a cluster" in text
    quiet = found | {"load_before": 0.1, "device": "cuda"}
    assert scaling_metrics.remarks(quiet, {"strong 4": {"step": [{"idle": True}]}}) == []


def test_the_rank_that_dies_is_named_though_others_wait_for_it():
    workers, ends = [], []
    for rank in range(2):
        mine, theirs = Pipe()
        worker = Worker.__new__(Worker)
        worker.name, worker.connection = f"strong 2, rank {rank}", mine
        worker.process = SimpleNamespace(join=lambda seconds: None, exitcode=-9)
        workers.append(worker)
        ends.append(theirs)
    group = Group.__new__(Group)
    group.workers = workers
    ends[1].close()
    with pytest.raises(Failed, match=r"strong 2, rank 1: its process ended with exit code -9 .killed: out of memory"):
        group.measure("step", 0.0)
    assert ends[0].recv() == ("step", 0.0)


@pytest.mark.slow
def test_scaling_measures_and_writes_everything(tmp_path: Path):
    out, picture = tmp_path / "out.json", tmp_path / "out.png"
    command = [
        sys.executable, ROOT / "benchmarks" / "scaling.py", "--model", "small", "--image-size", "16", "--batch", "4",
        "--ratio", "2", "--processes", "1,2", "--modes", "strong", "--rounds", "2", "--seconds", "0.1",
        "--out", out, "--plot", picture, "--device", "cpu",
    ]  # fmt: skip
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert "all-reduce of 2 processes: latency" in done.stdout and "batch grows" in done.stdout
    found = json.loads(out.read_text())
    assert {"kind", "configuration", "hardware", "versions", "compute", "all_reduce", "config"} <= found.keys()
    assert set(found["ratios"]) == {
        f"strong 2, {what}" for what in ("step", "end_to_end", "step, by core", "end_to_end, by core")
    }
    assert found["communication"]["2"]["step"]["gradients"]["bytes"] == found["communication"]["2"]["parameter_bytes"]
    assert found["groups"]["strong 2"]["backend"] == "gloo" and len(found["all_reduce"]["2"]["sizes"]) == 7
    assert picture.stat().st_size > 0
