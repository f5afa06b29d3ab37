"""Given labels that are probably wrong: how they are ranked, and which of them are queued."""

from pathlib import Path

import numpy as np
import pyarrow
import pytest
from pyarrow import parquet

from semisonic.daily import folds, given
from semisonic.daily.project import Project
from semisonic.daily.store import ANY, Change, Revision, State
from semisonic.daily.training import plan
from semisonic.data.sets.fingerprint import write_table
from semisonic.data.sets.registry import load_data_set
from tests.support.daily_runs import WHO, digit_project, train_options


@pytest.fixture
def trained(tmp_path: Path) -> tuple[Project, Revision]:
    """A project whose run is done, as far as its labels go."""
    project = digit_project(tmp_path, count=24, labeled=16)
    found = plan(project, train_options())
    (job,) = found.jobs
    data = load_data_set(job.cfg.data)
    (job.cfg.run_folder / "labels").mkdir(parents=True)
    write_table(data, job.cfg.run_folder / "images.npz")
    write_margins(project, {})
    return project, found.revision


def write_margins(project: Project, margins: dict[int, float], unseen: int = 16) -> None:
    """Margins of 1 of all labels but those that are given, by images; the last was never drawn."""
    values = np.array([2 * margins.get(image, 1.0) for image in range(1, 17)])
    counts = np.array([0 if image == unseen else 2 for image in range(1, 17)])
    names = [["0", "1", "2"][place % 3] for place in range(16)]
    columns = {"index": np.arange(16), "class": names, "sum": values, "n": counts}
    parquet.write_table(pyarrow.table(columns), project.runs / "day-001" / "labels" / "margins.parquet")


def queued(project: Project) -> list[int]:
    with project.store() as store:
        return store.queue("given").tolist()


def test_the_smallest_margins_are_looked_at_first(trained: tuple[Project, Revision]):
    project, revision = trained
    write_margins(project, {5: -3, 11: -1, 2: 0.5})
    assert given.look_at(project, revision) == [
        "3 labels of people, the most doubtful by the training, wait in the queue given labels"
    ]
    table = parquet.read_table(given.table(project, "day-001")).to_pydict()
    assert table["image"][:3] == [5, 11, 2] and table["aum"][:3] == [-3, -1, 0.5] and 16 not in table["image"]
    assert table["rank"] == list(range(1, 16)) and np.isnan(table["folds"]).all()
    assert queued(project) == [5, 11, 2]  # a quarter of 15


def test_folds_join_with_what_networks_say_that_have_not_seen_the_label(trained: tuple[Project, Revision]):
    project, revision = trained
    write_margins(project, {5: -3, 11: -1})
    path = folds.table(project, "day-001")
    path.parent.mkdir(parents=True)
    own = dict.fromkeys(range(1, 15), 0.9) | {5: 0.8, 11: 0.01, 7: 0.02}
    parquet.write_table(pyarrow.table({"image": list(own), "given": list(own.values())}), path)
    given.look_at(project, revision)
    assert queued(project) == [11, 5, 7]


def test_labels_that_were_looked_at_or_have_changed_are_not_asked_for_again(trained: tuple[Project, Revision]):
    project, revision = trained
    write_margins(project, {5: -3, 11: -2, 2: -1, 7: -0.5, 8: -0.4})
    with project.store() as store:
        same, other = store.class_named("1").id, store.class_named("2").id
        store.record([Change(5, State.REVIEWED, same, ANY)], WHO, "page:given")  # confirmed
        page = {"queue": "given"}
        store.record([Change(1, State.REVIEWED, store.now_of(1).class_id, ANY, details=page)], WHO, "page:accept")
        store.record([Change(11, State.REVIEWED, other, ANY)], WHO, "page:free")
        store.record([Change(2, State.REJECTED, None, ANY)], WHO, "page:free")
        store.rename_class("0", "zero", WHO)
    given.look_at(project, revision)
    assert queued(project) == [7, 8, 3]
    given.look_at(project, revision)
    assert queued(project) == [7, 8, 3]


def test_a_run_without_margins_says_so(trained: tuple[Project, Revision]):
    project, revision = trained
    (project.runs / "day-001" / "labels" / "margins.parquet").unlink()
    (line,) = given.look_at(project, revision)
    assert line == "day-001 has recorded no margins of given labels, so none of them are looked at again"
