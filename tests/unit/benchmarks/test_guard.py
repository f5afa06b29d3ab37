"""The benchmarks: the guard's verdicts, and a conventional loop that is the same work as the engine's, done as others do."""

import itertools
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from tests.support.processes import ROOT

sys.path.append(str(ROOT / "benchmarks"))

import breakdown
import conventional
import guard
import measure
import throughput
import variants
from semisonic.config.command_line import resolve
from semisonic.models.networks import ModelConfig, build
from semisonic.optim.schedules import learning_rate

# The guard.


def result(**ratios: list[float]) -> dict:
    return {
        "kind": "throughput",
        "configuration": {"model": "small", "rows": 12},
        "hardware": "a machine",
        "device": "cpu",
        "cpu_threads": 2,
        "ratios": {name: measure.spread(values) for name, values in ratios.items()},
    }


def verdict(old: list[float], new: list[float]) -> str:
    (row,) = guard.compare(result(x=new), result(x=old))
    return row["verdict"]


def test_a_ratio_is_worse_if_it_fell_by_more_than_both_spreads():
    assert verdict([1.9, 2.0, 2.1], [1.7, 1.8, 1.9]) == "worse"  # by 0.2, spread 0.1
    assert verdict([1.9, 2.0, 2.1], [1.5, 1.8, 2.1]) == "same"  # the new spread is 0.3
    assert verdict([1.7, 2.0, 2.3], [1.8, 1.8, 1.8]) == "same"  # the old one is
    assert verdict([1.9, 2.0, 2.1], [2.1, 2.2, 2.3]) == "better"


def test_a_fall_of_five_per_cent_is_none():
    assert verdict([2.0, 2.0, 2.0], [1.91, 1.91, 1.91]) == "same"
    assert verdict([2.0, 2.0, 2.0], [1.89, 1.89, 1.89]) == "worse"


def test_a_ratio_that_is_no_longer_measured_counts_as_worse(tmp_path: Path):
    rows = guard.compare(result(x=[1.0]), result(x=[1.0], y=[1.0]))
    assert [row["verdict"] for row in rows] == ["same", "missing"]
    for name, content in (("new", result(x=[1.0])), ("old", result(x=[1.0], y=[1.0]))):
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    assert guard.main([str(tmp_path / "new.json"), str(tmp_path / "old.json")]) == 1


def test_a_new_ratio_needs_no_stored_one():
    assert len(guard.compare(result(x=[1.0], y=[1.0]), result(x=[1.0]))) == 1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"configuration": {"model": "small", "rows": 24}}, "rows is 24 here and 12 there"),
        ({"hardware": "another"}, "hardware is another here and a machine there"),
        ({"kind": "kernels"}, "kind is kernels here and throughput there"),
    ],
)
def test_results_of_other_work_are_not_compared(change: dict, said: str, tmp_path: Path, capsys):
    (tmp_path / "old.json").write_text(json.dumps(result(x=[1.0])))
    (tmp_path / "new.json").write_text(json.dumps(result(x=[1.0]) | change))
    assert guard.main([str(tmp_path / "new.json"), str(tmp_path / "old.json")]) == 2
    assert capsys.readouterr().err.strip() == f"error: the two results cannot be compared: {said}"


def test_the_baseline_is_the_stored_result_of_the_same_work(tmp_path: Path, capsys):
    stored = tmp_path / "results"
    stored.mkdir()
    other = result(x=[9.0]) | {"configuration": {"model": "wrn-28-2", "rows": 12}}
    for name, content in (("a", result(x=[2.0])), ("b", other), ("c", {"accuracy": 1})):
        (stored / f"{name}.json").write_text(json.dumps(content))
    new = tmp_path / "new.json"
    new.write_text(json.dumps(result(x=[1.0])))
    assert guard.main([str(new)], stored) == 1
    assert "a.json: worse: x" in capsys.readouterr().out
    new.write_text(json.dumps(result(x=[2.0])))
    assert guard.main([str(new)], stored) == 0
    new.write_text(json.dumps(result(x=[2.0]) | {"hardware": "elsewhere"}))
    assert guard.main([str(new)], stored) == 2
    assert "no result in" in capsys.readouterr().err


def test_a_file_without_ratios_is_refused(tmp_path: Path, capsys):
    (tmp_path / "x.json").write_text("{}")
    assert guard.main([str(tmp_path / "x.json")]) == 2
    assert guard.main([str(tmp_path / "absent.json")]) == 2
    assert "holds no ratios" in capsys.readouterr().err


# Figures.


def test_ratios_are_taken_round_by_round():
    assert measure.ratio([2.0, 30.0, 4.0], [1.0, 10.0, 2.0])["rounds"] == [2.0, 3.0, 2.0]
    assert measure.ratio([2.0, 30.0, 4.0], [1.0, 10.0, 2.0])["median"] == 2.0


def test_the_limit_of_a_loop_depends_on_who_shares_the_cores():
    alone = [4.0], [4.0]
    assert throughput.share_of_limit([3.0], *alone, on_gpu=True)["share"]["median"] == 0.75
    assert throughput.share_of_limit([2.0], *alone, on_gpu=False)["share"]["median"] == 1.0


def test_a_window_counts_its_own_calls_only():
    calls = []
    _, counted = measure.timed(lambda: calls.append(1), torch.device("cpu"), 0.0, warm_up=2, least=3)
    assert counted == 3 and len(calls) == 5


def test_the_parts_of_a_step_add_up():
    ms = {"bare": 10.0, "step": 14.0, "end_to_end": 15.0}
    assert sum(breakdown.engine_parts(ms).values()) == ms["end_to_end"]
    assert "data" not in breakdown.engine_parts({"bare": 1.0, "step": 2.0})


def test_at_half_precision_the_conventional_loop_is_measured_twice():
    args, rest = throughput.parser().parse_known_args(["--precision", "bf16", "--device", "cpu"])
    plan, cfg = throughput.make_plan(args, rest)
    keys = [item.key for item in throughput.measurements(plan, cfg, throughput.precisions(args, cfg))]
    assert {"conventional_fp32", "conventional_bf16", "conventional_bf16_step"} <= set(keys)
    assert keys.count("conventional_data") == 1 and len(keys) == len(set(keys))


# Processes.


class Broken:
    """A variant that cannot be built."""

    def __init__(self, plan: str):
        raise RuntimeError(f"cannot build {plan}")


def test_a_failing_variant_hands_its_traceback_to_the_parent():
    with pytest.raises(measure.Failed, match="RuntimeError: cannot build it") as failed:
        measure.Worker("broken", Broken, "it")
    assert failed.value.name == "broken" and failed.value.text.startswith("Traceback")


def test_a_failure_ends_the_benchmark_with_one_clear_line(monkeypatch, capsys):
    monkeypatch.setattr(throughput, "Bare", Broken)
    assert throughput.main(["--model", "small", "--device", "cpu"]) == 1
    *_, last = capsys.readouterr().err.strip().splitlines()
    assert last.startswith("error: bare failed: RuntimeError: cannot build Plan(")


def test_an_unknown_field_is_one_line(capsys):
    assert throughput.main(["--optim.lrr", "1"]) == 2
    assert capsys.readouterr().err.startswith("error: optim.lrr: unknown field")


# The conventional loop.


@pytest.mark.parametrize(
    "cfg",
    [
        ModelConfig(name="wrn-10-1"),
        ModelConfig(name="wrn-13-1"),
        ModelConfig(name="wrn-16-2", residual="port", norm_momentum=0.1, norm_eps=1e-5),
        ModelConfig(name="small"),
        ModelConfig(name="resnet18"),
        ModelConfig(name="shake-shake-8-2x4d"),
    ],
    ids=lambda cfg: cfg.name,
)
def test_the_conventional_network_is_the_engines(cfg: ModelConfig):
    torch.manual_seed(0)
    ours, theirs = build(cfg, 10, 32), conventional.build_network(cfg, 10, 32)
    assert all(type(m) is nn.BatchNorm2d for m in theirs.modules() if isinstance(m, nn.BatchNorm2d))
    count = [sum(p.numel() for p in network.parameters()) for network in (ours, theirs)]
    assert count[0] == count[1]
    conventional.copy_weights(ours, theirs)
    images = torch.randn(4, 3, 32, 32)
    found = []
    for network in (ours, theirs):
        torch.manual_seed(1)  # for those that draw
        found.append(network(images))
    assert torch.allclose(*found, atol=1e-5)
    # The running statistics that this moved are the same ones too.
    assert torch.allclose(ours.eval()(images), theirs.eval()(images), atol=1e-5)


def test_networks_that_differ_are_refused():
    with pytest.raises(ValueError, match="differ"):
        conventional.copy_weights(nn.Linear(2, 3), nn.Linear(3, 3))


def test_the_learning_rate_is_the_engines():
    for schedule in ("fixmatch", "cosine", "constant"):
        cfg = SimpleNamespace(schedule=schedule, warm_up=3)
        for step in (0, 1, 5, 99):
            expected = float(learning_rate(torch.tensor(step), 1.0, schedule, 100, 3))
            assert conventional.learning_rate_factor(step, cfg, 100) == pytest.approx(expected)


def tiny_loop(algorithm: str, *fields: str) -> conventional.Loop:
    argv = ["--no-baseline", "--algorithm", algorithm, "--batch.labeled", "4", "--batch.unlabeled-ratio", "2"]
    cfg = resolve([*argv, "--model", "small", "--device", "cpu", *fields])[1]
    torch.manual_seed(0)
    images, labels = torch.randn(4, 3, 16, 16), torch.arange(4)
    views = (torch.randn(8, 3, 16, 16), torch.randn(8, 3, 16, 16))
    unlabeled = itertools.repeat(views) if algorithm == "fixmatch" else None
    return conventional.Loop(cfg, 10, 16, torch.device("cpu"), "fp32", itertools.repeat((images, labels)), unlabeled)


@pytest.mark.parametrize("algorithm", conventional.ALGORITHMS)
def test_a_conventional_step_trains(algorithm: str):
    loop = tiny_loop(algorithm, "--ema.decay", "0.9", "--ema.start_up", "none")
    live, shadow = loop.network, loop.average.network
    before = {name: value.clone() for name, value in shadow.state_dict().items()}
    losses = []
    for _ in range(12):
        loop.step(loop.next_batch())
        losses.append(loop.metrics["labeled"])
        if len(losses) == 1:
            for name, parameter in live.named_parameters():
                expected = 0.9 * before[name] + 0.1 * parameter
                assert torch.allclose(shadow.get_parameter(name), expected, atol=1e-6), name
            for name, buffer in live.named_buffers():
                assert torch.equal(shadow.get_buffer(name), buffer), name
    assert all(torch.isfinite(torch.tensor(losses))) and losses[-1] < losses[0]
    assert ("mask" in loop.metrics) == (algorithm == "fixmatch")
    assert loop.optimizer.param_groups[0]["lr"] < loop.cfg.optim.peak
    assert all(value >= 0 for value in loop.parts_of_a_step().values())


@pytest.mark.parametrize("start_up", ["none", pytest.param("tf", marks=pytest.mark.slow)])
def test_the_two_loops_do_the_same_arithmetic(start_up: str):
    """One batch, ten steps: the engine's trainer and the conventional loop arrive at the same weights."""
    from semisonic.training.build import build_trainer

    loop = tiny_loop("fixmatch", "--ema.start_up", start_up, "--algorithm.threshold", "0.2", "--optim.lr", "0.01")
    cfg = loop.cfg
    trainer = build_trainer(cfg)
    conventional.copy_weights(loop.network, trainer.algorithm.network)
    # The engine's EMA keeps parameters as buffers, in another order.
    ema = [trainer.algorithm.ema.get_buffer(name) for name in trainer.algorithm.network.state_dict()]
    for own, value in zip(ema, loop.average.network.state_dict().values(), strict=True):
        own.copy_(value)
    images, labels, weak, strong = loop.next_batch()
    plan = variants.Plan((), 16, 10, 0, 0, False)
    batch = variants.random_batch(cfg, plan, torch.device("cpu"))
    batch = batch._replace(x={"weak": images}, y=labels, u={"weak": weak, "strong": strong})
    for _ in range(10):
        trainer.training_step(batch)
        loop.step((images, labels, weak, strong))
    assert loop.metrics["mask"] > 0
    network = trainer.algorithm.network.state_dict().values()
    for ours, theirs in ((network, loop.network), (ema, loop.average.network)):
        for a, b in zip(ours, theirs.state_dict().values(), strict=True):
            assert torch.allclose(a.float(), b.float(), atol=1e-4)


# End to end.


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


@pytest.mark.slow
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


@pytest.mark.slow
def test_kernels_are_compared_with_their_reference_and_with_peers(tmp_path: Path):
    script, out = str(ROOT / "benchmarks" / "kernels.py"), tmp_path / "out.json"
    options = ["--device", "cpu", "--only", "ema, wrn-28-2", "--rounds", "2", "--seconds", "0.01", "--out", str(out)]
    done = subprocess.run([sys.executable, script, *options], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    found = json.loads(out.read_text())
    cases = ["ema, wrn-28-2", "sgd + ema, wrn-28-2"]
    assert list(found["measurements"]) == cases
    assert list(found["ratios"]) == [f"{c}: {other} / ours" for c in cases for other in ("reference", "peers")]
    assert guard.main([str(out), str(out)]) == 0
    done = subprocess.run([sys.executable, script, "--only", "x y z"], capture_output=True, text=True, timeout=300)
    assert done.returncode == 2 and done.stderr.startswith("error: --only x y z: no such case")
