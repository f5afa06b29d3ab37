"""Images are known by their content: moved, copied, changed and labeled ones, and those that are gone."""

from pathlib import Path

import numpy as np
import pytest

from semisonic.daily.store import ANY, Change, State
from semisonic.daily.store.images import CHUNK, file_is, hash_of, real_path, stored_path
from semisonic.schema import UserError
from tests.support.daily import WHO, new_image, new_store, seen


def test_known_moved_and_changed_ones(tmp_path: Path):
    store = new_store(tmp_path, 3)
    folder = tmp_path / "images"
    (folder / "1.png").rename(folder / "new.png")
    (folder / "copy.png").write_bytes((folder / "2.png").read_bytes())
    (folder / "3.png").write_text("something else")
    added = store.add_images([seen(path) for path in sorted(folder.iterdir())], WHO)
    assert (added.new, added.known, added.moved, added.changed, added.day) == (1, 3, 1, 1, 1)
    (line,) = added.problems
    assert line == f"{folder}/3.png: holds another image than before, number 4; the one before was number 3"
    assert [store.path_of(n).name for n in (1, 2, 4)] == ["new.png", "copy.png", "3.png"]
    (folder / "copy.png").unlink()
    assert store.path_of(2).name == "2.png", "the copy is gone"
    with pytest.raises(
        UserError, match="image 3: its file was replaced by another image, and it lies nowhere any more"
    ):
        store.path_of(3)
    with pytest.raises(UserError, match="image 9: there is none of this number"):
        store.path_of(9)
    assert [Path(path).name for path in store.paths(np.array([4, 3, 1]))] == ["3.png", "", "new.png"]
    assert store.image_at(str(folder / "3.png")) == 4 and store.image_at(str(folder)) is None
    assert store.image_with(hash_of(str(folder / "new.png"))) == 1 and store.image_with(b"") is None
    (folder / "new.png").rename(folder / "1.png")  # back where it was
    assert store.add_images([seen(folder / "1.png")], WHO).moved == 1
    assert Path(store.paths(np.array([1]))[0]).name == "1.png"


def test_copies_that_come_with_an_image_have_not_moved(tmp_path: Path):
    store = new_store(tmp_path, 0)
    images = [new_image(tmp_path, name, content="one") for name in ("a.png", "b.png", "c.png")]
    added = store.add_images(images, WHO)
    assert (added.new, added.known, added.moved) == (1, 2, 0)


def test_adding_the_same_again_changes_nothing(tmp_path: Path):
    store = new_store(tmp_path, 3, labeled=2)
    before = store.last_event, store.connection.total_changes
    added = store.add_images([seen(tmp_path / f"images/{i}.png", "cat" if i < 3 else None) for i in (1, 2, 3)], WHO)
    assert (added.new, added.known, added.moved, added.labeled, added.problems) == (0, 3, 0, 0, [])
    assert (store.last_event, store.connection.total_changes) == before


def test_labels_come_as_events_of_who_adds(tmp_path: Path):
    store = new_store(tmp_path, 2)
    images = [seen(tmp_path / "images/1.png", "dog"), new_image(tmp_path, "b.png", "owl")]
    assert store.add_images(images, "bob").labeled == 2
    for image, label in ((1, 2), (3, 3)):
        event = store.event(store.now_of(image)[0])  # type: ignore[index, arg-type]
        assert event[1:7] == ("label", image, label, State.GIVEN, "add", "bob")
    assert store.check() == []


def test_a_folder_does_not_overrule_what_a_person_said(tmp_path: Path):
    store = new_store(tmp_path, 2, labeled=2)
    store.record([Change(1, State.REVIEWED, 2, ANY), Change(2, State.REJECTED, None, ANY)], "bob", "page:given")
    added = store.add_images([seen(tmp_path / f"images/{i}.png", "cat") for i in (1, 2)], WHO)
    assert added.problems == [
        f"{tmp_path}/images/1.png: lies as cat; the label dog that it has here stays",
        f"{tmp_path}/images/2.png: lies as cat; the label rejected that it has here stays",
    ]
    assert store.current().class_id.tolist() == [2, -1] and added.labeled == 0


def test_one_image_under_two_labels_adds_nothing(tmp_path: Path):
    store = new_store(tmp_path, 1)
    images = [
        new_image(tmp_path, "cat/a.png", "cat", "same"), new_image(tmp_path, "dog/b.png", "dog", "same"),
        new_image(tmp_path, "c.png", None, "same"), new_image(tmp_path, "newt/d.png", "newt"),
        new_image(tmp_path, "owl/e.png", "owl", "1.png"), new_image(tmp_path, "cat/f.png", "cat", "1.png"),
    ]  # fmt: skip
    with pytest.raises(UserError) as caught:
        store.add_images(images, WHO)
    assert caught.value.messages == [
        f"{tmp_path}/dog/b.png: is labeled dog, and the same image cat elsewhere",
        f"{tmp_path}/newt/d.png: there is no class newt; add it with `classes add`, or take it out",
        f"{tmp_path}/cat/f.png: is labeled cat, and the same image owl elsewhere",
    ]
    assert len(store.current()) == 1 and store.check() == []


def test_a_label_of_a_merged_class_s_name_counts_for_the_other(tmp_path: Path):
    store = new_store(tmp_path)
    store.merge_classes("dog", "cat", WHO)
    store.add_images([new_image(tmp_path, "a.png", "dog")], WHO)
    assert store.current().class_id.tolist() == [1]


def test_a_day_that_was_trained_takes_no_more(tmp_path: Path):
    store = new_store(tmp_path, 2)
    assert not store.day_is_trained()
    store.freeze("day-001")
    assert store.day_is_trained()
    again = store.add_images([seen(tmp_path / "images/1.png")], WHO)
    assert (again.day, again.opened, store.day) == (1, False, 1), "none of them is new"
    added = store.add_images([new_image(tmp_path, "a.png"), new_image(tmp_path, "b.png")], WHO)
    assert (added.day, added.opened, store.day, store.day_of_images()) == (2, True, 2, {1: 2, 2: 2})
    assert store.current().day.tolist() == [1, 1, 2, 2]


def test_more_images_than_are_looked_up_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("semisonic.daily.store.images.CHUNK", 3)
    store = new_store(tmp_path, 8, labeled=5)
    assert store.current().class_id.tolist() == [1] * 5 + [-1] * 3 and store.check() == [] and CHUNK > 3


def test_any_name_of_a_file_is_kept(tmp_path: Path):
    names = ["caf\udce9.png", "tab\t.png", "back\\x41.png", "'=1.png", "日本.png"]
    store = new_store(tmp_path)
    store.add_images([new_image(tmp_path, name) for name in names], WHO)
    assert [Path(path).name for path in store.paths(store.current().image)] == names
    assert all(store.path_of(number).exists() for number in range(1, 6))
    assert all(real_path(stored_path(name)) == name for name in names)


def test_a_file_that_was_touched_is_the_same_by_its_content(tmp_path: Path):
    image = new_image(tmp_path, "a.png")
    assert file_is(image.path, (image.bytes, image.mtime_ns), image.hash) == ""
    assert file_is(image.path, (image.bytes, 1), image.hash) == ""
    assert file_is(image.path, (image.bytes, 1), b"") == "changed" and file_is("/none", (1, 1), b"") == "gone"
