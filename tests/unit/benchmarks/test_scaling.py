"""The scaling benchmark: what it measures, projects and writes, and what it refuses."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import scaling
from semisonic.schema import UserError
from tests.support.benchmarks import scaling_result
from tests.support.processes import ROOT


def test_a_stored_result_is_projected_with_the_users_network(tmp_path: Path, capsys):
    path = tmp_path / "result.json"
    path.write_text(json.dumps(scaling_result()))
    assert scaling.main(["--project", str(path), "--latency-us", "7", "--bandwidth-gb", "99"]) == 0
    said = capsys.readouterr().out
    assert "assumed: 8 GPUs a node, 7 us and 99 GB/s in a node" in said and "does not divide" in said
    path.write_text("{}")
    assert scaling.main(["--project", str(path)]) == 2
    assert capsys.readouterr().err.strip() == f"error: --project {path}: no result of scaling.py of kind scaling"
    assert scaling.main(["--project", str(path), "--latency-us", "0", "--overlap", "2", "--covered", "-1"]) == 2
    assert capsys.readouterr().err.splitlines() == [
        "error: --latency-us: must be positive",
        "error: --overlap: must lie between 0 and 1",
        "error: --covered: must lie between 0 and 1",
    ]


@pytest.mark.parametrize(("compiled", "given", "shown"), [(True, None, 92), (False, None, 0), (True, 0.5, 50)])
def test_what_weight_gradients_hide_is_projected_and_so_is_a_pass_of_weak_views(
    compiled: bool, given: float | None, shown: int, tmp_path: Path, capsys
):
    result = scaling_result()
    result["configuration"]["compiled"] = compiled
    result["config"] = {"algorithm": {"weak_pass": "joint"}}
    path = tmp_path / "result.json"
    path.write_text(json.dumps(result))
    assert scaling.main(["--project", str(path), *(["--covered", str(given)] if given else [])]) == 0
    said = capsys.readouterr().out
    assert f"{shown}% of BatchNorm's messages backward have a weight gradient to travel under" in said
    # Joined, both forwards send as many messages as one, with twice the bytes; eager ones send each its own.
    own = 4 if compiled else 8
    assert "with weak_pass separate, derived from the above" in said
    assert f"BatchNorm {own} calls forward with R x 1.5 KiB, 4 backward with 768 B" in said
    result["config"]["parallel"] = {"overlap": False}
    path.write_text(json.dumps(result))
    assert scaling.main(["--project", str(path)]) == 0
    said = capsys.readouterr().out
    assert " 0% of BatchNorm's messages backward" in said and "BatchNorm 8 calls forward" in said
    result["config"]["algorithm"]["weak_pass"] = "separate"
    path.write_text(json.dumps(result))
    assert scaling.main(["--project", str(path)]) == 0 and "derived from" not in capsys.readouterr().out


def test_one_gpu_that_counted_nothing_is_projected_with_counts_of_elsewhere(tmp_path: Path, capsys):
    path, counts = tmp_path / "result.json", tmp_path / "counts.json"
    alone = scaling_result() | {"communication": {}}
    alone["configuration"] |= {"algorithm": "fixmatch", "model": "small", "compiled": True}
    path.write_text(json.dumps(alone))
    count = {"model": "small", "compiled": True, "ranks": 2, **scaling_result()["communication"]["2"]}
    counts.write_text(json.dumps({"kind": "communication", "algorithm": "fixmatch", "counts": [count]}))
    assert scaling.main(["--project", str(path)]) == 2
    assert "needs measured shares and counted communication" in capsys.readouterr().err
    assert scaling.main(["--project", str(path), "--counts", str(counts)]) == 0
    assert "BatchNorm 4 calls forward with R x 768 B" in capsys.readouterr().out
    counts.write_text(json.dumps({"kind": "communication", "algorithm": "fixmatch", "counts": []}))
    assert scaling.main(["--project", str(path), "--counts", str(counts)]) == 2
    assert "holds no fixmatch with small, compiled" in capsys.readouterr().err


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


@pytest.mark.long
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
