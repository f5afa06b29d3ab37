"""Figures: whole lines in metrics.jsonl whatever interrupts, and plain numbers for trackers."""

import errno
import json
import os
from pathlib import Path

import pytest

from semisonic.reporting.trackers import append, discard_after, scalars, write_missing


def test_a_line_of_figures_is_appended_whole_or_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    real = os.write
    with (tmp_path / "m").open("ab", buffering=0) as file:
        append(file, "one\n")

        def half(descriptor: int, data: memoryview) -> int:
            if len(data) < 4:
                raise OSError(errno.ENOSPC, "full")
            return real(descriptor, data[:2])

        with monkeypatch.context() as patch:
            patch.setattr(os, "write", half)
            with pytest.raises(OSError, match="full"):
                append(file, "two\n")
        append(file, "three\n")
    assert (tmp_path / "m").read_text() == "one\nthree\n"


def test_figures_that_a_kill_or_a_file_system_tore_are_set_aside(tmp_path: Path):
    path = tmp_path / "metrics.jsonl"
    lines = [json.dumps({"step": step, "x": 1}) for step in (1, 2, 3, 4)]
    torn = "\n".join([lines[0], "\0" * 20, lines[1], '{"step"', "[]", lines[2], lines[3], lines[3][:6]])
    path.write_bytes(torn.encode() + b"\xff")
    assert discard_after(path, 3) == 5
    assert path.read_text() == "".join(f"{line}\n" for line in lines[:3])
    assert len((tmp_path / "metrics.discarded.jsonl").read_text().splitlines()) == 5
    assert discard_after(path, 3) == 0 and discard_after(tmp_path / "none", 3) == 0


def test_evaluations_that_a_file_of_metrics_has_lost_come_from_the_history(tmp_path: Path):
    path = tmp_path / "metrics.jsonl"
    history = [{"step": step, "test/top1": float(step)} for step in (2, 4, 6)]
    assert write_missing(path, []) == 0 and not path.exists()
    whole = [
        json.dumps({"step": 4, "kind": "train", "time": 1}),
        json.dumps({"step": 4, "kind": "eval", "test/top1": 4.0}),
    ]
    path.write_text("".join(f"{line}\n" for line in whole))
    assert write_missing(path, history) == 2
    lines = path.read_text().splitlines()
    assert lines[1:3] == whole and [json.loads(line)["step"] for line in lines] == [2, 4, 4, 6]
    assert json.loads(lines[3]) == {"step": 6, "kind": "eval", "test/top1": 6.0}
    assert write_missing(path, history) == 0 and path.read_text().splitlines() == lines
    path.write_text('{"step": 2,\r "kind": "eval", "test/top1": 2.0}\r\n')  # two lines to str.splitlines
    assert write_missing(path, history) == 2
    path.unlink()
    assert write_missing(path, history) == 3 and len(path.read_text().splitlines()) == 3


def test_every_tag_has_a_section():
    figures = {"lr": 0.1, "lr/teacher": 0.2, "lr_smallest/teacher": 0.3, "images_per_second": 4.0, "test_raw/top1": 5.0}
    assert scalars(figures, ["a"]) == {
        "train/lr": 0.1, "train/lr_teacher": 0.2, "train/lr_smallest_teacher": 0.3, "speed/images_per_second": 4.0,
        "test_raw/top1": 5.0,
    }  # fmt: skip


def test_trackers_get_every_class_of_few_and_the_extremes_of_many():
    figures = {
        "train/loss": 1.0,
        "train/class_share": [0.1, 0.4],
        "test/per_class": [50.0, None],
        "train/collapsed_classes": ["a"],
    }
    assert scalars(figures, ["red fox", "b/c"]) == {
        "train/loss": 1.0, "train/class_share_min": 0.1, "train/class_share_max": 0.4,
        "train_class_share/0 red fox": 0.1, "train_class_share/1 b_c": 0.4,
        "test/per_class_min": 50.0, "test/per_class_max": 50.0, "test_per_class/0 red fox": 50.0,
    }  # fmt: skip
    odd = ["\n" * 3, "a/../b", "\udcff", "n" * 10**5]
    names = scalars({"test/per_class": [1.0] * 4}, odd).keys() - {"test/per_class_min", "test/per_class_max"}
    assert names == {
        "test_per_class/0 _",
        "test_per_class/1 a_.._b",
        "test_per_class/2 _",
        f"test_per_class/3 {'n' * 80}",
    }
    many = [index / 1000 for index in range(1000)]
    assert scalars({"train/class_share": many}, [str(k) for k in range(1000)]) == {
        "train/class_share_min": 0.0,
        "train/class_share_max": 0.999,
    }
    assert scalars({"train/threshold": [0.1, 0.2]}, [str(k) for k in range(10)]).keys() >= {
        "train_threshold/0",
        "train_threshold/1",
    }
