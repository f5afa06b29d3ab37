"""The throughput benchmark: what it measures and writes, and how its mistakes and failures are told."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import guard
import throughput
from tests.support.benchmarks import Broken
from tests.support.processes import ROOT


def test_the_limit_of_a_loop_depends_on_who_shares_the_cores():
    alone = [4.0], [4.0]
    assert throughput.share_of_limit([3.0], *alone, on_gpu=True)["share"]["median"] == 0.75
    assert throughput.share_of_limit([2.0], *alone, on_gpu=False)["share"]["median"] == 1.0


def test_at_half_precision_the_conventional_loop_is_measured_twice():
    args, rest = throughput.parser().parse_known_args(["--precision", "bf16", "--device", "cpu"])
    plan, cfg = throughput.make_plan(args, rest)
    keys = [item.key for item in throughput.measurements(plan, cfg, throughput.precisions(args, cfg))]
    assert {"conventional_fp32", "conventional_bf16", "conventional_bf16_step"} <= set(keys)
    assert keys.count("conventional_data") == 1 and len(keys) == len(set(keys))


def test_a_failure_ends_the_benchmark_with_one_clear_line(monkeypatch, capsys):
    monkeypatch.setattr(throughput, "Bare", Broken)
    assert throughput.main(["--model", "small", "--device", "cpu"]) == 1
    *_, last = capsys.readouterr().err.strip().splitlines()
    assert last.startswith("error: bare failed: RuntimeError: cannot build Plan(")


def test_an_unknown_field_is_one_line(capsys):
    assert throughput.main(["--optim.lrr", "1"]) == 2
    assert capsys.readouterr().err.startswith("error: optim.lrr: unknown field")


@pytest.mark.slow
def test_throughput_measures_and_writes_everything(tmp_path: Path):
    out, picture, trace = tmp_path / "out.json", tmp_path / "out.png", tmp_path / "trace.json"
    command = [
        sys.executable, ROOT / "benchmarks" / "throughput.py", "--model", "small", "--image-size", "16", "--batch", "2",
        "--ratio", "2", "--no-compile", "--workers", "1", "--rounds", "2", "--seconds", "0.2",
        "--out", out, "--plot", picture, "--profile", trace, "--device", "cpu",
    ]  # fmt: skip
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "of its own limit" in done.stdout and picture.stat().st_size > 0 and json.loads(trace.read_text())
    found = json.loads(out.read_text())
    assert {"kind", "configuration", "hardware", "device", "versions", "rounds", "config"} <= found.keys()
    keys = ["bare", "step", "end_to_end", "conventional_fp32", "conventional_fp32_step", "conventional_data"]
    assert list(found["measurements"]) == keys
    for row in found["measurements"].values():
        assert len(row["images_per_second"]["rounds"]) == 2 and row["peak_bytes"] > 0 and row["hours"] > 0
    assert 0 <= found["measurements"]["end_to_end"]["data_wait"]["median"] <= 1
    pairs = ["step / bare", "end_to_end / bare", "end_to_end / step"]
    pairs += ["step / conventional_fp32_step", "end_to_end / conventional_fp32"]
    assert list(found["ratios"]) == pairs and all(len(found["ratios"][name]["rounds"]) == 2 for name in pairs)
    assert set(found["limits"]) == {"conventional_fp32"}
    assert set(found["breakdown_ms"]) == {"engine", "conventional fp32"}
    assert guard.main([str(out), str(out)]) == 0


@pytest.mark.long
def test_without_data_only_steps_are_measured(tmp_path: Path):
    out = tmp_path / "out.json"
    command = [
        sys.executable, ROOT / "benchmarks" / "throughput.py", "--model", "small", "--image-size", "16", "--batch", "2",
        "--no-compile", "--rounds", "1", "--seconds", "0.1", "--no-data", "--out", out, "--device", "cpu",
        "--algorithm", "supervised",
    ]  # fmt: skip
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    found = json.loads(out.read_text())
    assert set(found["measurements"]) == {"bare", "step", "conventional_fp32_step"}
    assert found["images_per_step"] == 2 and found["limits"] == {}


@pytest.mark.parametrize("argv", [["--algorithm", "vat,nothing"], ["--algorithm", "all", "--plot", "x.png"]])
def test_mistakes_come_before_anything_is_measured(argv: list[str], capsys: pytest.CaptureFixture):
    assert throughput.main([*argv, "--device", "cpu"]) == 2
    assert capsys.readouterr().err.startswith("error: ")
