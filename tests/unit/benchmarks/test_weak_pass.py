"""Joint and separate forwards of weak views, measured beside each other."""

import json
from pathlib import Path

import pytest

import guard
import throughput
import weak_pass
from measure import Reading


def reading(seconds: float, cpu: float, idle: bool = True) -> Reading:
    return {"seconds": seconds, "steps": 4, "cpu_seconds": cpu, "peak_bytes": 100, "idle": idle}


def readings(idle: bool = True) -> dict[str, list[Reading]]:
    """Two rounds: steps of 2 and 4 seconds, and separate ones of half of that."""
    found = {}
    for kind in ("bare", "step"):
        found[f"joint {kind}"] = [reading(8, 6), reading(16, 6)]
        found[f"separate {kind}"] = [reading(4, 4), reading(8, 4, idle)]
    return found


MEMORY = {"joint": {"step_bytes": 30}, "separate": {"step_bytes": 20}}


def test_ratios_are_formed_round_by_round_and_above_1_where_separate_is_better():
    found = weak_pass.summarize(readings(), MEMORY, images=10)
    ratios = {name: ratio["rounds"] for name, ratio in found["ratios"].items()}
    assert ratios["step: separate / joint"] == ratios["bare: separate / joint"] == [2, 2]
    assert ratios["step: CPU seconds, joint / separate"] == [1.5, 1.5]
    assert ratios["joint: step / bare"] == ratios["separate: step / bare"] == [1, 1]
    assert ratios["memory of a step: joint / separate"] == [1.5] and "end_to_end: separate / joint" not in ratios
    assert found["measurements"]["joint step"]["images_per_second"]["rounds"] == [5, 2.5]
    assert found["measurements"]["separate step"]["cpu_seconds"]["median"] == 1 and found["notes"] == []


def test_what_was_not_idle_is_said():
    (note, another) = weak_pass.summarize(readings(idle=False), MEMORY, images=10)["notes"]
    assert note.startswith("separate bare was not idle") and another.startswith("separate step")


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--algorithm", "vat"], "error: algorithm.weak-pass: vat has no such field"),
        (["--algorithm", "fixmatch,uda"], "error: --weak-pass: is for one algorithm"),
        (["--plot", "x.png"], "error: --plot, --profile: are for one way"),
    ],
)
def test_mistakes_come_before_anything_is_measured(more: list[str], message: str, capsys: pytest.CaptureFixture):
    assert throughput.main(["--weak-pass", "--device", "cpu", *more]) == 2
    assert capsys.readouterr().err.startswith(message)


def test_no_conventional_loop_has_a_forward_of_its_own():
    """And results of both ways are not compared with each other."""
    args, rest = throughput.parser().parse_known_args(["--device", "cpu", "--algorithm.weak-pass", "separate"])
    plan, cfg = throughput.make_plan(args, rest)
    assert throughput.precisions(args, cfg) == [] and throughput.describe_work(plan, cfg)["weak_pass"] == "separate"
    assert "weak_pass" not in throughput.describe_work(*throughput.make_plan(args, rest[:-2]))


@pytest.mark.long
def test_both_ways_are_measured_and_written(tmp_path: Path, capsys: pytest.CaptureFixture):
    out = tmp_path / "out.json"
    argv = ["--weak-pass", "--model", "small", "--image-size", "16", "--batch", "2", "--ratio", "2", "--no-compile",
            "--workers", "1", "--rounds", "2", "--seconds", "0.1", "--device", "cpu", "--out", str(out)]  # fmt: skip
    assert throughput.main(argv) == 0
    shown, found = capsys.readouterr().out, json.loads(out.read_text())
    assert "separate: 6 forward; 6 forward + backward" in shown and "joint: 10 forward + backward" in shown
    assert list(found["measurements"]) == [
        f"{way} {kind}" for kind in ("bare", "step", "end_to_end") for way in ("joint", "separate")
    ]
    taken = [found["measurements"][f"{way} step"]["step_bytes"] for way in ("joint", "separate")]
    assert taken[0] > taken[1] > 0 and set(found["load"]) == {"before", "after"}
    assert guard.main([str(out), str(out)]) == 0
