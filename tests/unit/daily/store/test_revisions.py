"""A frozen training set: a row for each image that is not rejected, labeled where a person has said so."""

import csv
import errno
import hashlib
from pathlib import Path

import pytest

from semisonic.daily.store import ANY, Change, State
from semisonic.schema import UserError
from semisonic.text import csv_text
from tests.support.daily import WHO, batch, new_image, new_store


def rows_of(path: Path) -> dict[str, str]:
    with path.open(newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["path", "label"]
    return {Path(csv_text(path)).name: csv_text(label) for path, label in rows}


def test_labels_of_persons_alone(tmp_path: Path):
    store = new_store(tmp_path, 6, labeled=1)
    decided = [(2, State.REVIEWED, 2), (3, State.REJECTED, None), (4, State.UNSURE, None)]
    store.record([Change(image, state, label, ANY) for image, state, label in decided], WHO, "page:free")
    store.take_over("day-001", [batch([3] * 6)], WHO)
    store.accept(store.current().image, "day-001", WHO, {})
    found = store.freeze("day-001-2", ["cat", "dog", "owl"])
    assert found[:4] == (1, 1, "day-001-2", tmp_path / "revisions/0001.csv") and found[4:6] == (5, 2)
    assert rows_of(found.path) == {"1.png": "cat", "2.png": "dog", "4.png": "", "5.png": "", "6.png": ""}
    assert found.digest == hashlib.blake2b(found.path.read_bytes(), digest_size=16).hexdigest()
    assert (found.classes, found.last_event, found.gone) == (("cat", "dog", "owl"), store.last_event, 0)
    assert store.freeze("day-001-3").number == 2 and store.revisions()[0] == found
    assert store.check() == []
    assert store.training_digest() == found.digest
    store.record([Change(4, State.GIVEN, 1, ANY)], WHO, "page:free")
    assert store.training_digest() == store.freeze("day-001-4").digest != found.digest


def test_odd_names_come_back(tmp_path: Path):
    store = new_store(tmp_path, classes=["=cat, 'big'\n", '"dog"'])
    names = ["a,b.png", 'quo"te.png', "caf\udce9.png", "two\nlines.png"]
    store.add_images([new_image(tmp_path, name, row.name) for name, row in zip(names, store.classes() * 2, strict=True)], WHO)  # fmt: skip
    labels = rows_of(store.freeze("day-001").path)
    assert labels == dict(zip(names, ["=cat, 'big'", '"dog"'] * 2, strict=True))


def test_images_that_are_gone_or_changed_are_left_out_and_counted(tmp_path: Path):
    store = new_store(tmp_path, 4)
    (tmp_path / "images/1.png").unlink()
    (tmp_path / "images/2.png").write_text("another")
    (tmp_path / "images/3.png").touch()
    found = store.freeze("day-001")
    assert (found.images, found.gone) == (2, 2) and rows_of(found.path).keys() == {"3.png", "4.png"}


def test_the_newest_path_is_the_one(tmp_path: Path):
    store = new_store(tmp_path, 1)
    store.add_images([new_image(tmp_path, "again.png", None, "1.png")], WHO)
    assert rows_of(store.freeze("day-001").path) == {"again.png": ""}


def test_classes_that_were_changed_meanwhile_are_told(tmp_path: Path):
    store = new_store(tmp_path, 1)
    store.add_class("newt", WHO)
    with pytest.raises(UserError, match=r"^classes: the project has cat, dog, owl, newt by now, in this order"):
        store.freeze("day-001", ["cat", "dog", "owl"])
    assert not (tmp_path / "revisions").exists() and store.revisions() == []


def test_a_full_disk_leaves_no_revision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    store = new_store(tmp_path, 1)

    def full(path: Path, content: bytes) -> Path:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("semisonic.daily.store.revisions.stage", full)
    with pytest.raises(
        UserError, match=r"0001.csv could not be written: No space left on device; free space, then try"
    ):
        store.freeze("day-001")
    assert store.revisions() == [] and not store.day_is_trained()
    monkeypatch.undo()
    assert store.freeze("day-001").number == 1
