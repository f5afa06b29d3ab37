"""What earlier versions wrote is read by the present names, and every line says what it is of."""

import json
import math
from pathlib import Path

import pytest

from semisonic.reporting.metrics_file import current, parse, read_metrics, results
from semisonic.text import dump_json
from tests.fixtures.older_runs import NAMES, STORED


@pytest.mark.parametrize("name", NAMES)
def test_an_older_run_s_lines_have_kinds_and_the_present_names(name: str):
    lines = read_metrics(STORED / name / "metrics.jsonl")
    assert [(line["step"], line["kind"]) for line in lines] == [
        (5, "train"), (10, "train"), (10, "eval"), (15, "train"), (20, "train"), (20, "eval")
    ]  # fmt: skip
    names = {figure for line in lines for figure in line}
    assert {"test/top1", "test_raw/top1", "test/per_class", "train/loss_labeled"} <= names
    assert not any(figure.startswith("eval") or "mask" in figure or "lled" in figure for figure in names)


def test_names_of_this_version_stay():
    entry = {"step": 3, "test/top1": 1.0, "held_out_raw/loss": 2.0, "lr/teacher": 0.1, "train/evaluated": 4.0}
    assert current(entry) == entry
    assert current({"eval_raw/top5": 1.0, "train/uda_mask": 0.5}) == {"test_raw/top5": 1.0, "train/uda_coverage": 0.5}


def test_what_depends_on_the_machine_is_no_result():
    line = {"step": 3, "time": 1.0, "images_per_second": 9.0, "data_wait": 0.1, "straggler/rank": 1, "train/loss": 2.0}
    assert results(line) == {"step": 3, "train/loss": 2.0}


def test_what_is_not_finite_is_read_as_it_was(tmp_path: Path):
    """Also from a line of an earlier version, which is no JSON."""
    figures = {"step": 1, "train/loss": math.inf, "train/threshold": [0.5, math.nan], "test/per_class": [50.0, None]}
    (tmp_path / "metrics.jsonl").write_text(f"{dump_json(figures)}\n{json.dumps(figures)}\n")
    first, second = read_metrics(tmp_path / "metrics.jsonl")
    assert repr(first) == repr(second) == repr({"kind": "train", **figures})


def test_half_a_line_is_none(tmp_path: Path):
    whole = json.dumps({"step": 1, "kind": "train"}) + "\n"
    assert list(parse([whole, '{"step": 2'])) == [{"step": 1, "kind": "train"}]
    (tmp_path / "metrics.jsonl").write_text(whole + '{"st')
    assert len(read_metrics(tmp_path / "metrics.jsonl")) == 1
