"""The tables' comparisons can be made, stop in time, and are stored once they are finished."""

import shlex
import sys
from pathlib import Path
from typing import Any

import pytest

import provenance
import tables
from semisonic.algorithms.registry import ALGORITHMS
from semisonic.config.command_line import resolve
from tests.support.processes import ROOT


@pytest.mark.parametrize("name", [name for name in tables.NAMES if name != "accuracy"])
def test_every_entry_s_run_can_be_configured(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr("semisonic.config.checks.data_sets.data_problems", lambda cfg: [])
    given = tables.fields(name)
    options = dict(zip(given[::2], given[1::2], strict=True))
    entries = options.pop("--algorithms").split(",")
    labels, _ = int(options.pop("--labels").partition(",")[0]), options.pop("--seeds")
    assert name != "digits" or {*ALGORITHMS} - {"rotnet", "simclr"} <= {*entries}
    for entry in entries:
        algorithm, _, own = entry.partition(":")
        more = [
            f"--{part if '.' in part.partition('=')[0] else f'algorithm.{part}'}" for part in own.split(":") if part
        ]
        argv = [*(f"{key}={value}" for key, value in options.items()), f"--data.labels={labels}", "--no-baseline"]
        cfg = resolve([*argv, f"--algorithm={algorithm}", *more, "--out", str(tmp_path)])[1]
        assert (cfg.steps, cfg.data.labels, cfg.model.name, cfg.precision) == (400, labels, "small", "fp32")
        assert cfg.batch.labeled == 32


def test_the_main_job_is_that_of_make_accuracy():
    rule = next(line for line in (ROOT / "Makefile").read_text().splitlines() if "compare.py" in line)
    words, given = shlex.split(rule), tables.fields("accuracy")
    asked = dict(zip(given[::2], given[1::2], strict=True))
    made = {option: words[words.index(option) + 1] for option in asked if option in words}
    assert made and made == {option: asked[option] for option in made} and asked.keys() - made == {"--device"}


def test_a_comparison_is_stopped_in_time_and_another_ends_by_itself():
    assert tables.compare([sys.executable, "-c", "import time; time.sleep(60)"], 0.2 / 3600) == tables.CODE_STOPPED
    assert tables.compare([sys.executable, "-c", "raise SystemExit(3)"], 1) == 3


def test_tables_are_stored_once_all_runs_are_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any):
    out, results = tmp_path / "runs" / "digits", tmp_path / "results"
    out.mkdir(parents=True)
    results.mkdir()
    argv = ["digits", "--folder", str(tmp_path / "runs"), "--results", str(results)]
    monkeypatch.setattr(tables, "compare", lambda command, hours: tables.CODE_STOPPED)
    assert tables.main(argv) == tables.CODE_STOPPED and not list(results.iterdir())
    assert "the same command goes on" in capfd.readouterr().out
    monkeypatch.setattr(tables, "compare", lambda command, hours: 0)
    assert tables.main(argv) == 1 and "has no compare.csv" in capfd.readouterr().err
    for name in ("compare", "runs"):
        (out / f"{name}.csv").write_text(name)
    assert tables.main(argv) == 0
    assert {path.name: path.read_text() for path in provenance.results(results)} == {
        "compare-digits.csv": "compare", "compare-digits-runs.csv": "runs",
    }  # fmt: skip
    for path in provenance.results(results):
        assert provenance.of(path).seeds == (0, 1, 2, 3, 4) and provenance.of(path).versions["torch"]
