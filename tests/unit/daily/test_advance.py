"""`next` goes from step to step until a person is needed."""

import argparse
import sys
from types import ModuleType
from typing import Any

import pytest

from semisonic.daily import advance
from semisonic.daily.steps import Facts
from semisonic.daily.subcommands import SUBCOMMANDS
from semisonic.schema import UserError

STOPPED = Facts("p", images=600, classes=3, labels=40, labeled_classes=3, run="day-001", run_day=1)
TRAINED = Facts("p", images=600, classes=3, labels=40, labeled_classes=3, run="day-001", run_day=1, finished=True)
WAITING = Facts(
    "p",
    images=600,
    classes=3,
    run="day-001",
    run_day=1,
    finished=True,
    labeled_run="day-001",
    queues={"audit": 100},
    run_reported=True,
)
DO, DRY = argparse.Namespace(dry=False), argparse.Namespace(dry=True)


def module(monkeypatch: pytest.MonkeyPatch, name: str, **content: Any) -> None:
    made = ModuleType(name)
    made.__dict__.update(content)
    monkeypatch.setitem(sys.modules, name, made)


def test_next_goes_on_until_a_person_is_needed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
    now = [TRAINED]
    monkeypatch.setattr(advance, "gather", lambda project: now[0])

    def label(project: object, args: argparse.Namespace) -> int:
        assert project == "project" and args.command == "label" and args.who
        now[0] = WAITING
        return 0

    module(monkeypatch, SUBCOMMANDS["label"].module, run=label)
    assert advance.run("project", DRY) == 0 and now == [TRAINED]  # type: ignore[arg-type]
    assert capsys.readouterr().out == "Next: label: day-001 is trained, and labels all other images\n"
    assert advance.run("project", DO) == 0  # type: ignore[arg-type]
    first, last = capsys.readouterr().out.splitlines()
    assert first == "label: day-001 is trained, and labels all other images"
    assert last.startswith("Next: Check 100 images")


def test_next_ends_where_a_step_fails_or_changes_nothing(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(advance, "gather", lambda project: STOPPED)
    module(monkeypatch, SUBCOMMANDS["train"].module, run=lambda project, args: 75)
    assert advance.run("project", DO) == 75  # type: ignore[arg-type]
    module(monkeypatch, SUBCOMMANDS["train"].module, run=lambda project, args: 0)
    with pytest.raises(UserError, match="train has ended, and is to be done again"):
        advance.run("project", DO)  # type: ignore[arg-type]
