"""What is exported, where to, and that nothing is overwritten or left half."""

import argparse
import csv
import errno
import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from semisonic import cli
from semisonic.checkpoint import atomic_files
from semisonic.daily.accepting import Backed
from semisonic.daily.exchange import exporting
from semisonic.daily.exchange.exporting import free_place
from semisonic.daily.project import Project
from semisonic.daily.store import Store
from tests.support.daily import new_image
from tests.support.daily_projects import RUN, begin, every_state, odd_images


@pytest.fixture
def project(tmp_path: Path) -> Project:
    made = begin(tmp_path / "p", odd_images(tmp_path / "images"))
    every_state(made)
    with made.store() as store:
        store.open_day()
        store.add_images([new_image(tmp_path / "more", "late.png")], "ann")
    return made


def daily(project: Project, *arguments: object) -> int:
    return cli.daily([str(project.folder), "export", *map(str, arguments)])


def rows(project: Project, tmp_path: Path, *options: object) -> list[dict[str, str]]:
    out = tmp_path / "out.csv"
    assert daily(project, "--to", "csv", "--out", out, *options) == 0
    with out.open(newline="") as file:
        found = list(csv.DictReader(file))
    out.unlink()
    return found


def test_each_label_says_what_it_is_worth(project: Project, tmp_path: Path):
    found = rows(project, tmp_path)
    assert Counter(row["state"] for row in found) == {
        "given": 11, "auto": 7, "accepted": 3, "reviewed": 1, "rejected": 1, "unsure": 1,
    }  # fmt: skip
    for row in found:
        network, person = row["state"] in ("auto", "accepted"), row["state"] in ("given", "reviewed")
        assert bool(row["certainty"]) == network and bool(row["label"]) == (network or person)
        assert bool(row["run"]) == (network or row["state"] == "reviewed")
        assert row["who"] == {"auto": "", "accepted": "ann", "given": "ann"}.get(row["state"], "bob")
        assert row["at"].startswith("20") and len(row["hash"]) == 32 and row["exported"] == row["label"]
        assert bool(row["event"]) == (not network)
    assert {row["run"] for row in found} == {"", RUN}


def test_labels_that_an_audit_backs(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    assert daily(project, "--to", "csv", "--at-least", "0.9") == 2
    assert "export: nobody has looked at the audit of day-001 yet" in capsys.readouterr().err

    def backed(project: Project, store: Store, args: argparse.Namespace) -> Backed:
        assert (args.command, args.at_least, args.draw) == ("export", 0.9, False)
        return Backed(RUN, np.array([1, 18, 20]), None, "day 1")  # type: ignore[arg-type]

    monkeypatch.setattr(exporting, "backed", backed)
    sure = rows(project, tmp_path, "--at-least", "0.9")
    assert Counter(row["state"] for row in sure) == {"given": 11, "reviewed": 1, "auto": 1, "accepted": 1}


def test_states_and_days_choose(project: Project, tmp_path: Path):
    assert {row["state"] for row in rows(project, tmp_path, "--states", "given,unsure")} == {"given", "unsure"}
    (late,) = rows(project, tmp_path, "--states", "unlabeled,given", "--days", "2-3")
    assert late["path"].endswith("late.png") and (late["state"], late["label"], late["at"]) == ("unlabeled", "", "")
    assert len(rows(project, tmp_path, "--days", "1")) == 24 and rows(project, tmp_path, "--days", "2") == []


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ("--to csv --states good --days x", "--states: good is none; one of unlabeled, auto,"),
        ("--to csv --days 1-", "--days: 1- are no days; give numbers and ranges such as 1,3-5"),
        ("--to csv --links", "--links, --copies: are for --to tree"),
        ("--to csv --out there.csv", "--out there.csv: already exists; name another file"),
        ("--to csv --out labels.json", "the file must end in .csv"),
        ("--to tree --out full", "--out full: holds something already"),
        ("--to tree --out there.csv", "--out there.csv: is no folder"),
    ],
)
def test_a_mistake_writes_nothing(
    project: Project,
    options: str,
    told: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
):
    monkeypatch.chdir(tmp_path)
    Path("there.csv").write_text("mine")
    Path("full").mkdir()
    Path("full", ".hidden").touch()
    before = sorted(tmp_path.rglob("*"))
    assert daily(project, *options.split()) == 2
    assert told in capsys.readouterr().err.splitlines()[0]
    assert [path for path in sorted(tmp_path.rglob("*")) if "labels.db-" not in path.name] == before


def test_places_that_are_not_named_are_new(tmp_path: Path):
    assert free_place(tmp_path, "day-001", ".csv") == tmp_path / "day-001.csv"
    (tmp_path / "day-001.csv").touch()
    (tmp_path / "day-001-2.csv").symlink_to("nowhere")
    assert free_place(tmp_path, "day-001", ".csv") == tmp_path / "day-001-3.csv"


@pytest.mark.parametrize("to", ["csv", "parquet", "tree", "label-studio"])
def test_a_full_disk_leaves_nothing(
    project: Project, to: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    def full(descriptor: int, content: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(atomic_files.os, "write", full)
    out = tmp_path / "out" / {"label-studio": "l.json", "tree": "t"}.get(to, f"l.{to}")
    assert daily(project, "--to", to, "--out", out) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line == f"error: {out} could not be written: No space left on device; free space, then try again"
    assert not any((tmp_path / "out").iterdir())
