"""The page at a run's end, which changes nothing of how the run ends."""

import json
from pathlib import Path
from typing import Any

import pytest

from semisonic import cli
from semisonic.runs import own_page
from tests.support.runs import QUICK

FIELDS = [*QUICK, "--model", "small", "--no-baseline", "--steps", "2", "--eval.every", "2", "--log.every", "1",
          "--checkpoint.every", "1", "--log.trackers", "none"]  # fmt: skip


def test_a_finished_run_has_its_page(run: Path):
    text = (run / "report.html").read_text()
    summary = json.loads((run / "summary.json").read_text())
    assert f"{summary['test_top1']:.2f} %" in text and f"{summary['baseline']['test_top1']:.2f} %" in text
    assert text.count('class="thumb"') > 10 and (run / "supervised" / "report.html").exists()


def test_a_page_that_fails_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture):
    run, there = tmp_path / "run", []

    def fail(*_: Any) -> None:
        there.append(((run / "checkpoints/step-2").exists(), (run / "summary.json").exists()))
        raise RuntimeError("no such font")

    monkeypatch.setattr(own_page, "write", fail)
    assert cli.main([*FIELDS, "--out", str(run)]) == 0
    shown = capfd.readouterr()
    warnings = [line for line in shown.err.splitlines() if line.startswith("warning: ")]
    assert warnings == ["warning: report.html is left out: RuntimeError: no such font"]
    assert "Test accuracy" in shown.out and not (run / "report.html").exists()
    assert json.loads((run / "status.json").read_text())["status"] == "finished"
    assert set(there) == {(True, True)}, "it comes after the last checkpoint and the summary"
