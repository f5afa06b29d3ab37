"""Which training a command begins or goes on with, what it refuses, and what the run is like."""

import os
from pathlib import Path

import pytest
from pyarrow import parquet

from semisonic.checkpoint import snapshots
from semisonic.config.command_line import Invocation
from semisonic.config.migrations import read_saved
from semisonic.daily import given, training
from semisonic.daily.project import Project
from semisonic.daily.store import ANY, Change, State
from semisonic.daily.training import plan, standing
from semisonic.inference.classifier import load_classifier
from semisonic.runs.run import Outcome
from semisonic.schema import ExitCode, UserError
from tests.support.daily_runs import CLASSES, WHO, digit_project, train_options


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return digit_project(tmp_path)


def begin(project: Project, plan: training.Plan, finish: bool = True) -> Path:
    """Leaves what the run of a plan would."""
    cfg = plan.jobs[0].cfg
    cfg.run_folder.mkdir(parents=True)
    (cfg.run_folder / "config.yaml").write_text(cfg.dump())
    if finish:
        (cfg.run_folder / "summary.json").write_text("{}")
    return cfg.run_folder


def label(project: Project, image: int, name: str) -> None:
    with project.store() as store:
        store.record([Change(image, State.GIVEN, store.class_named(name).id, ANY)], WHO, "page:free")


def refused(project: Project, *options: str) -> list[str]:
    with pytest.raises(UserError) as caught:
        plan(project, train_options(*options))
    with project.store() as store:
        assert store.revisions() == [] and not store.day_is_trained()
    return caught.value.messages


def kind(project: Project) -> str:
    with project.store() as store:
        return standing(project, store).kind


def test_a_day_is_trained_on_what_people_have_labeled_and_all_else_is_its_pool(
    project: Project, capsys: pytest.CaptureFixture[str]
):
    assert training.run(project, train_options("--seed", "3")) == ExitCode.OK
    run, printed = project.runs / "day-001", capsys.readouterr().out
    assert printed.startswith("day-001: day 1, revision 1: 24 images, 12 of them labeled by people\n")
    assert "1 of 4 classes have no labeled image, and cannot be learned: seven\n" in printed
    fields = read_saved(run).fields
    assert fields["seed"] == 3 and fields["steps"] == 3 and fields["out"] == str(run)
    assert fields["data"]["csv"] == str(project.folder / "revisions" / "0001.csv")
    assert fields["data"]["classes"] == list(CLASSES) and fields["data"]["test"] == "none"
    assert [path.name for path in snapshots.saved(run)] == ["step-3"]
    assert load_classifier(run / "snapshots" / "step-3").classes == list(CLASSES)
    table = parquet.read_table(given.table(project, "day-001")).to_pydict()
    assert sorted(table["image"]) == list(range(1, 13)) and table["rank"] == list(range(1, 13))
    assert "3 labels of people, the most doubtful by the training, wait" in printed  # a quarter of them
    with project.store() as store:
        assert store.queue("given").tolist() == table["image"][:3]

    assert training.run(project, train_options()) == ExitCode.OK
    assert capsys.readouterr().out == (
        "Nothing has changed since day-001 was trained; label or add images, or train anew with --again\n"
    )


def test_what_is_stopped_goes_on_and_what_has_changed_is_trained_anew(project: Project):
    assert kind(project) == "none"
    first = plan(project, train_options("--steps", "5"))
    assert first.revision.run == "day-001" and not first.jobs[0].resume
    again = plan(project, train_options("--steps", "7"))  # nothing was written: it begins, with other fields
    assert again.revision.number == 1 and again.jobs[0].cfg.steps == 7 and not again.jobs[0].resume
    folder = begin(project, first, finish=False)
    label(project, 20, "0")
    going_on = plan(project, train_options())
    assert going_on.revision.number == 1 and going_on.jobs[0].resume and going_on.jobs[0].cfg.steps == 5
    assert going_on.notes == ("day-001 goes on with its revision 1; what has changed since is for the next",)
    assert kind(project) == "stopped"

    (folder / "summary.json").write_text("{}")
    assert kind(project) == "changed"
    second = plan(project, train_options())
    assert (second.revision.run, second.revision.number, second.revision.labeled) == ("day-001-2", 2, 13)
    begin(project, second)
    assert kind(project) == "finished" and plan(project, train_options()).jobs == ()
    assert plan(project, train_options("--again")).revision.run == "day-001-3"
    with project.store() as store:
        store.add_class("eight", WHO)
    assert kind(project) == "stopped"  # day-001-3, of which nothing was written
    assert plan(project, train_options()).jobs[0].cfg.data.classes == (*CLASSES, "eight")
    with project.store() as store:
        store.open_day()
    assert kind(project) == "none" and plan(project, train_options()).revision.run == "day-002"


def test_every_mistake_is_told_before_anything_is_written(tmp_path: Path, project: Project):
    assert refused(project, "--data.csv", "x.csv", "--out=runs/x", "--data.size", "8", "--stepps", "9", "--resume") == [
        "--resume: is for semisonic train; `train` goes on with a stopped run by itself",
        "--data.csv: images are taken in by add; leave it out",
        "--out: a training lies in the project's folder runs; leave it out",
        "--data.size: project.yaml has that of all its networks; leave it out",
        "stepps: unknown field; did you mean steps?",
    ]
    assert refused(project, "--warm", "--folds", "1") == [
        "--folds: 1; give 2 to 12, the number of labels",
        "--warm: there is no finished training to start from; leave it out",
    ]
    images = tmp_path / "images"
    (images / "003.png").unlink()
    (images / "004.png").write_bytes((images / "020.png").read_bytes())
    (images / "023.png").unlink()  # not labeled
    os.utime(images / "005.png")
    assert refused(project) == [
        f"{images}/003.png: is labeled, and is gone",
        f"{images}/004.png: is labeled, and has changed since it was labeled",
        "files: put them back as they were, `add` the folder where they are now, or leave them out with "
        "--without-missing",
    ]
    left = plan(project, train_options("--without-missing")).revision
    assert (left.images, left.labeled, left.gone) == (21, 10, 3)


def test_labels_of_two_classes_are_needed(tmp_path: Path):
    project = digit_project(tmp_path, count=3, labeled=0)
    assert refused(project)[0].startswith("labels: no image is labeled by a person yet")
    label(project, 2, "seven")
    assert refused(project) == ["labels: all are of the class seven; label images of at least one more of 4 classes"]
    with Project.create(tmp_path / "empty", CLASSES, 16).store() as store:
        assert training.label_problems(store, list(CLASSES)) == [
            "images: the project has none; take some in with `add`"
        ]


def test_a_run_that_is_stopped_ends_the_command_as_it_would_by_itself(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    codes = [ExitCode.STOPPED, ExitCode.OK]  # by a signal, or by max_hours
    seen: list[Invocation] = []

    def stopped(invocation: Invocation) -> Outcome:
        seen.append(invocation)
        return Outcome(codes[len(seen) - 1], reason="SIGTERM")

    monkeypatch.setattr(training, "run_one", stopped)
    for code in codes:
        assert training.run(project, train_options("--folds", "2", "--verify-data", "--debug")) == code
    assert capsys.readouterr().out.count("the same command goes on with it, and so does `next`\n") == 2
    assert all(own.debug and own.verify_data and own.cfg.run_folder.name == "day-001" for own in seen)
    assert len(seen) == 2 and not given.table(project, "day-001").exists()


def test_a_run_that_cannot_go_on_names_the_way_out(project: Project, monkeypatch: pytest.MonkeyPatch):
    begin(project, plan(project, train_options()), finish=False)

    def refuse(invocation: Invocation) -> Outcome:
        assert invocation.resume
        raise UserError("steps: 7, but day-001 was planned for 5")

    monkeypatch.setattr(training, "run_one", refuse)
    with pytest.raises(
        UserError, match=r"planned for 5\ntrain: day-001 goes on as it was begun; --again begins another"
    ):
        training.run(project, train_options("--steps", "7"))


def test_two_at_once_are_refused(project: Project):
    with project.lock("train"), pytest.raises(UserError, match="train: another `train` is at work in"):
        training.run(project, train_options())
