"""Runs without test images: what they evaluate, report and leave, and what is refused of them."""

import json
from pathlib import Path

import pytest

import semisonic
from semisonic import cli
from semisonic.inference.evaluate import evaluate_checkpoint
from semisonic.schema import UserError
from tests.support.runs import QUICK

SHORT = [*QUICK, "--no-baseline", "--steps", "4", "--log.every", "2", "--eval.every", "2", "--checkpoint.every", "2"]


@pytest.mark.slow
def test_a_run_with_neither_test_nor_held_out_images_evaluates_nothing(tmp_path: Path, capfd: pytest.CaptureFixture):
    out = tmp_path / "run"
    assert cli.main([*SHORT, "--data.test", "none", "--out", str(out), "--max-hours", "1e-9"]) == 0
    assert cli.main([*SHORT, "--data.test", "none", "--out", str(out), "--resume", "--max-hours", "null"]) == 0
    printed = capfd.readouterr().out
    assert "16x16, 0 test" in printed and "top-1" not in printed
    assert "No accuracy: there are no test images and none are held out" in printed
    summary = json.loads((out / "summary.json").read_text())
    assert summary["test_images"] == 0 and summary["step"] == 4 and summary["evaluations_past_ramps"] == 0
    for name in ("test_top1", "test_top1_raw", "test_top1_interval", "test_top1_last20_median"):
        assert summary[name] is None
    kinds = [json.loads(line)["kind"] for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert set(kinds) == {"train"} and not (out / "confusion.png").exists()
    assert semisonic.load(out).classes == [str(digit) for digit in range(10)]
    with pytest.raises(UserError, match=r"has no test images; name a folder of labeled ones: semisonic evaluate"):
        evaluate_checkpoint(out / "checkpoints/step-4")


def test_the_held_out_images_are_evaluated_and_choose_a_checkpoint(tmp_path: Path, capfd: pytest.CaptureFixture):
    heard: list[dict] = []
    result = semisonic.train(
        test="none", data={"held_out": 20}, steps=4, device="cpu", threads=1, out=tmp_path / "run", callback=heard.append,
        batch={"labeled": 8, "unlabeled_ratio": 2}, eval={"every": 2}, log={"every": 2, "trackers": ()},
    )  # fmt: skip
    printed = capfd.readouterr().out
    assert "held-out top-1" in printed and "Chosen on the held-out images: step" in printed and "Test" not in printed
    assert [entry["step"] for entry in heard] == [2, 4] == [entry["step"] for entry in result.history]
    assert all("held_out/top1" in entry and "test/top1" not in entry for entry in heard)
    best = max(result.history, key=lambda entry: entry["held_out/top1"])
    chosen = {"step": best["step"], "held_out_top1": best["held_out/top1"], "test_top1": None}
    assert result.metrics["held_out_selected"] == chosen and result.metrics["test_top1"] is None
    assert (tmp_path / f"run/checkpoints/step-{best['step']}").is_dir() and (tmp_path / "run/confusion.png").exists()
