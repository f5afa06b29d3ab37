"""`label`: all images get a label of the newest run; repeated, killed or with new images it comes to the same."""

import shutil
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from pyarrow import parquet

from semisonic.daily.features import open_features
from semisonic.daily.labeling import command, table
from semisonic.daily.labeling.command import run
from semisonic.daily.passes import arrays, job
from semisonic.daily.project import Project
from semisonic.daily.store import ANY, Change, Current, State
from semisonic.schema import ExitCode, Stopped, UserError
from tests.support.image_folders import write_images
from tests.support.labeled_images import add_images, make_project

ARGS = Namespace(who="me", days="all", workers=1, suspicious=None)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    make_project(folder)
    return folder / "project"


@pytest.fixture
def project(made: Path, tmp_path: Path) -> Project:
    shutil.copytree(made, tmp_path / "project")
    return Project.open(tmp_path / "project")


@pytest.fixture(scope="module")
def undisturbed(made: Path, small: None) -> Project:
    """The project once it is labeled, in one go."""
    shutil.copytree(made, made.with_name("other"))
    project = Project.open(made.with_name("other"))
    run(project, ARGS)
    return project


@pytest.fixture(scope="module", autouse=True)
def small() -> Iterator[None]:
    """Several parts of few images."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("semisonic.daily.passes.work.rows_of_part", lambda images: 5)
        yield


def labels(project: Project) -> dict[str, np.ndarray]:
    return table.read(project.auto / "day-001").columns


def same(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> bool:
    return one.keys() == other.keys() and all(np.array_equal(one[name], other[name], equal_nan=True) for name in one)


def test_every_image_has_a_label_and_scores_and_repeating_changes_nothing(
    project: Project, capsys: pytest.CaptureFixture[str]
):
    assert run(project, ARGS) == ExitCode.OK
    found = labels(project)
    assert found["image"].tolist() == list(range(1, 13))
    with project.store() as store:
        ids = {row.id for row in store.classes()}
        current, scored = store.current(), store.scores()
        audit, suspicious = store.queue("audit"), store.queue("suspicious")
        last, audits = store.last_event, store.audits("day-001")
    assert set(found["top"].ravel().tolist()) == ids
    assert set(current.state.tolist()) == {State.AUTO} and np.array_equal(current.class_id, found["top"][:, 0])
    assert np.array_equal(scored.confidence.astype(np.float32), found["p"][:, 0])
    assert np.array_equal(scored.runner_up, found["top"][:, 1])
    assert len(audits) == 1 and len(audit) == 4 and sorted([*audit, *suspicious]) == found["image"].tolist()
    features = open_features(project, "day-001")
    assert features is not None and features.ids.tolist() == found["image"].tolist()
    out = capsys.readouterr().out.splitlines()
    assert out[0] == "12 images labeled by day-001; 12 of these labels are handed out, people's stay"
    assert len(out) == 2 and "semisonic daily" in out[1] and "%" not in "".join(out)

    assert run(project, ARGS) == ExitCode.OK
    with project.store() as store:
        assert (store.last_event, store.audits("day-001")) == (last, audits)
        assert np.array_equal(store.queue("suspicious"), suspicious)
    assert same(labels(project), found)


def test_what_a_person_said_stays_and_rejected_images_are_left_alone(project: Project):
    with project.store() as store:
        bars = store.class_named("bars").id
        store.record([Change(3, State.GIVEN, bars, ANY), Change(4, State.REJECTED, None, ANY)], "me", "command")
    run(project, ARGS)
    assert labels(project)["image"].tolist() == [1, 2, 3, *range(5, 13)]
    with project.store() as store:
        current = store.current()
        assert current.state[2:4].tolist() == [State.GIVEN, State.REJECTED] and current.class_id[2] == bars
        assert not np.isin([3, 4], store.queue("suspicious")).any()


def stopping(monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    written: list[int] = []
    own = job._write

    def write(work, part, found, made):
        if len(written) == after:
            raise Stopped("stopped by SIGTERM")
        written.append(part)
        own(work, part, found, made)

    monkeypatch.setattr(job, "_write", write)


def test_what_was_stopped_goes_on_at_its_next_part(project: Project, undisturbed: Project):
    for after in (1, 0):
        with pytest.MonkeyPatch.context() as patch, pytest.raises(Stopped):
            stopping(patch, after)
            run(project, ARGS)
    with project.store() as store:
        assert store.run is None  # nothing of it is handed out before all is there
        store.record([Change(2, State.REJECTED, None, ANY)], "me", "command")  # a person goes on meanwhile
        store.undo_last("me")
    run(project, ARGS)
    assert same(labels(project), labels(undisturbed))
    for name in ("day-001.npy", "day-001.ids.npy"):
        assert (project.features / name).read_bytes() == (undisturbed.features / name).read_bytes()


class Killed(BaseException):
    """What no handler of errors catches."""


def kill(*_: object) -> None:
    raise Killed


def test_kills_between_two_outcomes_are_made_good(project: Project, undisturbed: Project):
    for where in ("keep_features", "_write_table", "hand_out"):
        with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
            patch.setattr(command, where, kill)
            run(project, ARGS)
    run(project, ARGS)
    assert same(labels(project), labels(undisturbed))
    with project.store() as one, undisturbed.store() as other:
        for name in ("audit", "suspicious"):
            assert np.array_equal(one.queue(name), other.queue(name))
    assert sorted(path.name for path in project.auto.iterdir()) == ["day-001"]


def test_images_of_the_next_day_join_and_the_newest_are_compared_with_all_before(project: Project, tmp_path: Path):
    run(project, ARGS)
    first = labels(project)
    assert np.isnan(first["distance"]).all()
    with project.store() as store:  # an image that was audited stays among those that were drawn from
        store.record([Change(12, State.REJECTED, None, ANY)], "me", "page:audit")
    write_images(tmp_path / "tuesday", [f"{number}.png" for number in range(4)])
    add_images(project, sorted((tmp_path / "tuesday").iterdir()))
    (tmp_path / "tuesday" / "2.png").write_bytes((tmp_path / "tuesday" / "1.png").read_bytes())
    assert run(project, ARGS) == ExitCode.LEFT_OUT
    both = labels(project)
    assert both["image"].tolist() == [*range(1, 15), 16]
    for name in ("top", "p", "views", "run"):
        assert np.array_equal(both[name][:12], first[name])
    assert np.isnan(both["distance"]).tolist() == [True] * 12 + [False] * 3
    with project.store() as store:
        assert store.current().state.tolist() == [State.AUTO] * 11 + [
            State.REJECTED,
            State.AUTO,
            State.AUTO,
            State.UNLABELED,
            State.AUTO,
        ]


def test_the_newest_day_alone(project: Project, tmp_path: Path):
    write_images(tmp_path / "tuesday", [f"{number}.png" for number in range(3)])
    add_images(project, sorted((tmp_path / "tuesday").iterdir()))
    run(project, Namespace(who="me", days="newest", workers=1, suspicious=2))
    found = labels(project)
    assert found["image"].tolist() == [13, 14, 15] and not np.isnan(found["distance"]).any()
    with project.store() as store:
        assert len(store.queue("audit")) == 3 and len(store.queue("suspicious")) == 0  # all of them are audited


def test_images_that_are_gone_or_changed_are_listed_and_come_back(
    project: Project, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    write_images(tmp_path / "more", [f"{number}.png" for number in range(3)])
    paths = sorted((tmp_path / "more").iterdir())
    add_images(project, paths)
    before = paths[0].read_bytes()
    paths[0].write_bytes(paths[1].read_bytes())
    paths[2].unlink()
    assert run(project, ARGS) == ExitCode.LEFT_OUT
    lines = capsys.readouterr().err.splitlines()
    assert lines[-2:] == [
        f"left out: {paths[0]}: was changed since it was added",
        f"left out: {paths[2]}: No such file or directory",
    ]
    assert labels(project)["image"].tolist() == [*range(1, 13), 14]
    paths[0].write_bytes(before)
    assert run(project, ARGS) == ExitCode.LEFT_OUT
    assert labels(project)["image"].tolist() == [*range(1, 15)]


def test_images_that_are_all_gone_are_labeled_once_they_are_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    project = make_project(tmp_path, count=2, snapshot_count=0)
    (tmp_path / "camera").rename(tmp_path / "away")
    with pytest.raises(UserError, match="project: none of its images can be used; put them back"):
        run(project, ARGS)
    (tmp_path / "away").rename(tmp_path / "camera")
    assert run(project, ARGS) == ExitCode.OK and len(labels(project)["image"]) == 2
    assert capsys.readouterr().out.startswith("day-001 has kept one network alone, whose own probability is its mean")
    assert np.array_equal(labels(project)["run"], labels(project)["p"][:, 0])


def test_folds_join_and_calibrate_what_they_have_told_of_stays(project: Project, monkeypatch: pytest.MonkeyPatch):
    run(project, ARGS)
    before = labels(project)
    with project.store() as store:
        ids = [row.id for row in store.classes()]
    proba = np.random.default_rng(0).dirichlet(np.ones(3), 12)
    columns = {"probabilities": list(proba), "class": [ids[number % 3] for number in range(12)]}
    file = project.auto / "day-001" / "folds.parquet"
    parquet.write_table(pa.table(columns), file)
    monkeypatch.setattr(command, "fold_runs", lambda *_: [project.runs / "day-001"])
    run(project, ARGS)
    found = labels(project)
    assert found.keys() - before.keys() == {"folds", "calibrated"} and file.is_file()
    assert np.allclose(found["folds"], found["p"][:, 0]) and np.array_equal(found["p"], before["p"])
    header = table.read_header(project.auto / "day-001")
    assert header is not None and header["folds"] == 1 and header["temperature"] > 0
    with project.store() as store:
        assert len(store.audits("day-001")) == 1  # of the same network


def test_classes_are_those_of_the_day_of_the_training(project: Project):
    with project.store() as store:
        ids = [row.id for row in store.classes()]
        store.rename_class("circle", "round", "me")
        store.merge_classes("bars", "noise", "me")
        store.add_class("new", "me")
    run(project, ARGS)
    found = labels(project)["top"][:, 0]
    assert set(found.tolist()) <= set(ids)
    with project.store() as store:
        assert store.current().class_id.tolist() == [store.resolve(label) for label in found.tolist()]


def test_without_a_run_or_with_another_step_at_work_it_is_one_line(project: Project, tmp_path: Path):
    with project.lock("train"), pytest.raises(UserError, match="label: `train` is at work"):
        run(project, ARGS)
    (project.runs / "day-001" / "summary.json").unlink()
    with pytest.raises(UserError, match="project: no run is finished yet; `train` comes first"):
        run(project, ARGS)


def test_images_that_came_meanwhile_leave_the_distances_as_they_are(tmp_path: Path):
    ids = np.arange(1, 5)
    rows = np.array([[1, 0], [1, 0], [0, 1], [1, 0]], np.float16)
    arrays.write(tmp_path, "day-002", "network", [(ids, rows)], ids, 2)
    features = arrays.read(tmp_path, "day-002")
    assert features is not None
    found = []
    for count in (4, 6):  # the last two are of a third day, which the run has not labeled
        day, zeros = np.array([1, 1, 2, 2, 3, 3])[:count], np.zeros(count, np.int64)
        current = Current(np.arange(1, count + 1), day, zeros, zeros - 1, zeros)
        found.append(command._distances(ids, current, features, torch.device("cpu")))
    np.testing.assert_array_equal(*found)
    assert np.isnan(found[1][:2]).all() and found[1][2] > 0.9 and found[1][3] < 0.1
