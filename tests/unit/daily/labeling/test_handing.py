"""Labels are handed out once, and of the suspicious ones those are queued that differ and that nobody has seen to."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from semisonic.daily.labeling import handing
from semisonic.daily.labeling.handing import batches, hand_out, is_current, queue_suspicious
from semisonic.daily.labeling.table import Table
from semisonic.daily.passes import arrays
from semisonic.daily.project import Project
from semisonic.daily.store import ANY, Change, State
from semisonic.schema import UserError
from tests.support.daily import new_image

COUNT = 40


@pytest.fixture
def project(tmp_path: Path) -> Project:
    project = Project.create(tmp_path / "project", ("a", "b", "c"), 8)
    with project.store() as store:
        store.add_images([new_image(tmp_path, f"{number}.png") for number in range(COUNT)], "me")
    angle = np.repeat(np.arange(4), COUNT // 4) + 0.01 * np.arange(COUNT)  # four clusters of ten
    rows = np.stack([np.cos(angle), np.sin(angle)], 1).astype(np.float16)
    ids = np.arange(1, COUNT + 1)
    arrays.write(project.features, "day-001", "network", [(ids, rows)], ids, 2)
    return project


def labels(classes: int = 3) -> Table:
    """The later an image, the more suspicious."""
    suspicion = np.linspace(0, 1, COUNT).astype(np.float32)
    columns: dict[str, Any] = {"image": np.arange(1, COUNT + 1), "suspicion": suspicion, "certainty": 1 - suspicion}
    columns["top"] = np.tile(np.arange(1, classes + 1, dtype=np.int32), (COUNT, 1))
    columns["p"] = np.full((COUNT, classes), 1 / classes, np.float32)
    columns["distance"] = np.full(COUNT, np.nan, np.float32)
    return Table(columns)


def test_the_most_suspicious_of_each_cluster_are_queued_and_no_audited_or_decided_one(project: Project):
    with project.store() as store:
        store.take_over("day-001", batches(labels()), "me")
        store.put_queue("audit", [40], 1)
        store.record([Change(39, State.REVIEWED, 1, ANY), Change(30, State.REJECTED, None, ANY)], "me", "command")
        store.put_queue("suspicious", [1, 2], 1)  # of an earlier day
        queue_suspicious(project, store, "day-001", labels(), 4)
        assert store.queue("suspicious").tolist() == [38, 29, 20, 10]
        queue_suspicious(project, store, "day-001", labels(), 0)
        assert store.queue("suspicious").tolist() == []


def test_the_audit_is_drawn_before_suspicious_labels_are_queued(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    seen_then: list[list[int]] = []
    own = handing.queue_suspicious

    def queued(project, store, *args):
        seen_then.append(store.queue("audit").tolist())
        own(project, store, *args)

    monkeypatch.setattr(handing, "queue_suspicious", queued)
    project.settings = project.settings.model_copy(update={"audit": 7})
    hand_out(project, "day-001", labels(), "me", 3)
    hand_out(project, "day-001", labels(), "me", 3)
    with project.store() as store:
        audit, suspicious, audits = store.queue("audit").tolist(), store.queue("suspicious"), store.audits("day-001")
        assert [event for (event,) in store.connection.execute("SELECT kind FROM event WHERE kind = 'auto'")] == [
            "auto"
        ]
    assert seen_then == [audit, audit] and len(audit) == 7 and len(audits) == 1
    assert len(suspicious) == 3 and not np.isin(suspicious, audit).any()
    assert (
        capsys.readouterr().out.count("the 7 images of the audit, then at the 3 images that are suspicious: semisonic")
        == 2
    )


def test_labels_are_current_until_others_are_handed_out(project: Project):
    with project.store() as store:
        assert not is_current(store, "day-001", labels())
        store.take_over("day-001", batches(labels()), "me")
        assert is_current(store, "day-001", labels()) and not is_current(store, "day-002", labels())
        other = labels()
        other.columns["suspicion"] = other.columns["suspicion"][::-1]
        assert not is_current(store, "day-001", other)


def test_a_single_class_has_no_runner_up(project: Project):
    with project.store() as store:
        store.take_over("day-001", batches(labels(1)), "me")
        assert set(store.scores().runner_up.tolist()) == {-1}


def test_labels_whose_audit_cannot_be_drawn_are_not_handed_out(project: Project, monkeypatch: pytest.MonkeyPatch):
    def drawn(project, store, run):
        assert store.run == run and store.connection.in_transaction
        raise UserError("audit: none")

    monkeypatch.setattr(handing, "draw", drawn)
    with pytest.raises(UserError, match="audit: none"):
        hand_out(project, "day-001", labels(), "me")
    with project.store() as store:
        assert store.run is None and not len(store.scores()), "or guesses would be seen before the draw"


def test_images_that_came_while_a_run_labeled_do_not_stand_in_the_way_of_its_audit(project: Project, tmp_path: Path):
    project.settings = project.settings.model_copy(update={"audit": 7})
    with project.store() as store:
        store.freeze("day-001")
        assert store.add_images([new_image(tmp_path, "late.png")], "me").day == 2
        for _ in range(2):
            hand_out(project, "day-001", labels(), "me", 3)
            (drawn,) = store.audits("day-001")
            assert (drawn.day, drawn.population, len(store.queue("audit"))) == (1, COUNT, 7)
