"""Which image a row is about: by its content where that is named, else by where it lies."""

import os
from pathlib import Path

import pytest

from semisonic.daily.exchange.answers import Wrong
from semisonic.daily.exchange.finding import Names, file_problem, find
from semisonic.daily.exchange.rows import Row
from tests.support.daily import new_image
from tests.support.daily_projects import begin

CLASSES = ("cat", "dog", "owl")


def test_images_are_found_by_content_and_by_place(tmp_path: Path):
    made = [new_image(tmp_path / "images", f"{name}.png") for name in "abc"]
    project = begin(tmp_path / "p", [image.path for image in made], CLASSES)
    a, b, c = made
    copy, strange = new_image(tmp_path / "copies", "a.png"), new_image(tmp_path / "copies", "z.png")
    changed = new_image(tmp_path / "images", "c.png", content="another")
    with project.store() as store:
        store.add_images([changed], "ann")
        found = find(
            store,
            [Row(a.path), Row("images/../images/b.png"), Row("nowhere", hash=b.hash), Row(copy.path), Row(strange.path),
             Row("nowhere"), Row(b.path, hash=a.hash), Row(c.path, hash=c.hash), Row(c.path), Row("", hash=a.hash)],
            tmp_path,
        )  # fmt: skip
        assert found[:4] == [1, 2, 2, 1] and found[8:] == [4, 1]
        for image, told in zip(
            found[4:8],
            ["is no image of this", "nowhere: is no image", "another image now", "another image now"],
            strict=True,
        ):
            assert isinstance(image, str) and told in image
        assert file_problem(store, 1) is None
        os.utime(a.path)
        assert file_problem(store, 1) is None
        assert "image 3: its file was replaced by another image" in str(file_problem(store, 3))
        Path(a.path).write_text("other")
        assert str(file_problem(store, 1)).startswith(f"{a.path}: is changed; put it back")
        os.unlink(a.path)
        assert str(file_problem(store, 1)).startswith(f"{a.path}: is gone; put it back")


def test_classes_go_by_the_names_that_they_had(tmp_path: Path):
    project = begin(tmp_path / "p", [], CLASSES)
    with project.store() as store:
        store.rename_class("cat", "kitten", "ann")
        store.merge_classes("owl", "dog", "ann")
        names = Names(store)
        assert [names.id_of(name) for name in ("kitten", "cat", "dog", "owl")] == [1, 1, 2, 2]
        store.add_class("cat", "ann")
        assert Names(store).id_of("cat") == 4
        store.retire_class("cat", "ann")
        with pytest.raises(Wrong, match="has the label cat, a class that was split or retired"):
            Names(store).id_of("cat")
        with pytest.raises(
            Wrong, match=r"has the label cow, and there is no such class \(kitten, dog\); `classes add`"
        ):
            Names(store).id_of("cow")
