"""A run that starts from the newest network: its head's rows, by what has become of the classes."""

from pathlib import Path

import pytest
import torch

from semisonic.checkpoint import format as checkpoints
from semisonic.daily import warm
from semisonic.daily.project import Project
from semisonic.daily.store import ANY, Change, State
from semisonic.daily.training import plan
from semisonic.schema import UserError
from semisonic.training.build import build_trainer
from tests.support.daily_runs import WHO, digit_project, train_options


def finish(project: Project, *options: str) -> Path:
    """A run that has taken no step, and its summary."""
    (job, *_) = plan(project, train_options(*options)).jobs
    trainer = build_trainer(job.cfg)
    with torch.no_grad():
        rows = torch.arange(float(len(trainer.data.classes)))
        trainer.algorithm.ema.get_buffer("head.bias").copy_(rows)
    trainer.save()
    trainer.checkpoint_writer.finish()
    (job.cfg.run_folder / "config.yaml").write_text(job.cfg.dump())
    (job.cfg.run_folder / "summary.json").write_text("{}")
    return job.cfg.run_folder


def test_rows_follow_their_classes(tmp_path: Path):
    project = digit_project(tmp_path)
    first = finish(project)
    with project.store() as store:
        store.record([Change(15, State.GIVEN, store.class_named("2").id, ANY)], WHO, "page:free")
    same = plan(project, train_options("--warm"))
    assert same.notes[0] == "Warm start from day-001" and same.jobs[0].cfg.init == first
    with project.store() as store:
        store.merge_classes("seven", "1", WHO)
        store.rename_class("0", "zero", WHO)
        store.add_class("eight", WHO)
    (job,) = plan(project, train_options("--warm")).jobs
    assert job.cfg.data.classes == ("zero", "1", "2", "eight") and job.cfg.init != first
    start = checkpoints.load_checkpoint(job.cfg.init)
    assert start.state["classes"] == ["zero", "1", "2"] and start.optimizer == {}
    assert start.model["ema.head.bias"].tolist() == [0, (1 + 3) / 2, 2]
    said: list[str] = []
    trainer = build_trainer(job.cfg, say=said.append)
    assert trainer.algorithm.network.head.bias[:3].tolist() == [0, 2, 2]
    assert "head: 3 of 4 classes taken by name; fresh: eight" in said[0]


def test_there_must_be_a_network_that_knows_a_class(tmp_path: Path):
    project = digit_project(tmp_path)
    finish(project)
    with project.store() as store:
        names = [row.name for row in store.classes()]
        for name in ("x", "y"):
            store.add_class(name, WHO)
        for image, name in ((1, "x"), (2, "y")):
            store.record([Change(image, State.GIVEN, store.class_named(name).id, ANY)], WHO, "page:free")
        for name in names:
            store.retire_class(name, WHO)
        assert warm.start(project, store, wanted=False) == (None, [], [])
    with pytest.raises(UserError, match=r"^--warm: day-001 knows none of the project's classes; leave it out$"):
        plan(project, train_options("--warm"))
