"""What an inspection finds, and that a training judges the same images alike."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from semisonic.data.sets.base import DataConfig, ImageFiles
from semisonic.data.sets.splits import make_split
from semisonic.inspection.facts import Pixels
from semisonic.inspection.survey import Survey, spread
from semisonic.schema import UserError
from semisonic.text import dump_json
from tests.support.image_folders import load_it

Look = Callable[..., Survey]


def test_sound_images_are_counted_by_role_and_class(tree: Path, look: Look):
    found = look(tree).found
    roles = found.roles
    assert (roles.labeled, roles.unlabeled, roles.test, roles.test_held_back) == (18, 5, 4, False)
    assert (roles.drawn, roles.held_out, roles.pool) == (18, 0, 23) and not found.refused
    assert [note.partition(":")[0] for note in found.notes] == ["few test images"]
    assert [tuple(entry) for entry in found.classes] == [("cat", 12, 12, 0, 2), ("dog", 6, 6, 0, 2)]
    assert found.files.formats == {"PNG": 22, "JPEG": 5} and found.files.colors == {"RGB": 27}
    assert found.files.bytes == sum(path.stat().st_size for path in tree.rglob("*.*"))
    assert (found.decoded.images, found.decoded.whole) == (27, True)
    assert not found.unusable and not found.copies.same and not found.decoded.nearly_empty


def test_without_a_test_and_with_labels_drawn_at_random(tree: Path, look: Look):
    found = look(tree, test="none", labels=2, labels_from="random").found
    assert not found.refused and (found.roles.test, found.roles.drawn, found.roles.pool) == (0, 2, 23)
    drawn = [entry.drawn for entry in found.classes]
    assert sum(drawn) == 2 and any("have no labeled image" in note for note in found.notes) == (0 in drawn)
    shutil.rmtree(tree / "test")
    assert not look(tree, test="none").found.roles.test_held_back and look(tree).found.roles.test_held_back


def test_all_that_is_odd_is_found_at_once(odd_tree: Path, look: Look):
    found = look(odd_tree).found
    copies = found.copies
    assert (copies.same, copies.links) == (4, 1) and len(copies.groups) == 4
    assert copies.contradictions == [["train/cat/1.png", "train/dog/one-of-cat.png"]]
    assert copies.leaks == [["test/cat/leak.png", "train/cat/2.png"]]
    assert copies.harmless == [["train/cat/0.png", "train/cat/copy.png"], ["unlabeled/0.jpg", "unlabeled/link.jpg"]]
    assert found.decoded.nearly_empty == ["train/cat/black.png", "unlabeled/blank.png"]
    assert [entry.path for entry in found.unusable] == ["train/cat/cut.jpg", "train/cat/gone.png"]
    assert "runcated" in found.unusable[0].reason and "a link to" in found.unusable[1].reason
    assert found.passed_over == {".txt": 1, ".heic": 1} and "convert" in found.advice and found.tools == {"._*": 1}
    assert found.files.colors["palette"] == 1 and found.files.colors["gray"] == 1
    fields = [problem.partition(":")[0] for problem in found.problems]
    assert fields[0] == "data.bad_files" and fields.count("data.duplicates") >= 2
    assert found.refused and found.roles.drawn == 0


def test_what_is_refused_and_what_is_drawn_is_as_in_a_training(odd_tree: Path, look: Look):
    found = look(odd_tree, bad_files="skip").found
    with pytest.raises(UserError) as refused:
        load_it(odd_tree, bad_files="skip")
    assert found.problems == refused.value.messages
    fields = {"bad_files": "skip", "duplicates": "drop", "labels": 8, "held_out": 2}
    found = look(odd_tree, **fields).found
    data = load_it(odd_tree, **fields)
    assert isinstance(data.train, ImageFiles)
    split = make_split(DataConfig(name="folder", **fields), data.train.labels, 2, 0)
    drawn = np.bincount(data.train.labels[split.labeled]).tolist()
    assert not found.refused and [entry.drawn for entry in found.classes] == drawn == [4, 4]
    assert (found.roles.held_out, found.roles.pool) == (2, len(split.unlabeled))


def test_a_run_may_go_without_test_images(tree: Path, look: Look):
    for folder in (tree, tree / "train"):
        found = look(folder, test="none").found
        assert (found.roles.labeled, found.roles.test, found.roles.test_held_back) == (18, 0, False)
        unused = ["data.test=none: 4 test images are not used"] if folder == tree else []
        assert found.roles.drawn == 18 and not found.refused and [n for n in found.notes if "test" in n] == unused
    assert look(tree / "train").found.roles.test_held_back


def test_what_a_run_would_draw_follows_the_fields(tree: Path, look: Look, tmp_path: Path):
    found = look(tree, labels=1, labels_from="random").found
    assert sorted(entry.drawn for entry in found.classes) == [0, 1] and "no labeled image" in " ".join(found.notes)
    (tree / "train/cat/extra.png").write_bytes((tree / "train/cat/0.png").read_bytes())
    found = look(tree, held_out=12, labels=None).found
    assert [entry.held_out for entry in found.classes] == [0, 0] and found.problems[0].startswith("data.held_out: ")
    for path in (tree / "unlabeled").iterdir():
        path.unlink()
    (tree / "unlabeled").rmdir()
    found = look(tree, unlabeled_includes_labeled=False).found
    assert found.problems == [
        "data.labels: every image is labeled, which leaves no unlabeled pool; set data.labels or "
        "data.unlabeled_includes_labeled"
    ]


def test_nothing_is_written(odd_tree: Path, look: Look, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    before = sorted((path, path.lstat().st_mtime_ns) for path in tmp_path.rglob("*"))
    look(odd_tree)
    assert sorted((path, path.lstat().st_mtime_ns) for path in tmp_path.rglob("*")) == before


def test_a_sample_is_decoded_and_all_headers_are_read(tree: Path, look: Look):
    (tree / "train/cat/3.png").write_bytes((tree / "train/cat/3.png").read_bytes()[:600])
    found = look(tree, 2).found
    assert (found.decoded.images, found.decoded.whole) == (6, False)
    assert found.files.images == 27 and found.roles.images == 27 and not found.unusable
    assert [entry.path for entry in look(tree).found.unusable] == ["train/cat/3.png"]


def test_a_sample_is_spread_over_each_role():
    role_N = np.array([0] * 9 + [1] * 2 + [2] * 100)
    chosen = spread(role_N, 3).tolist()
    assert chosen[:6] == [0, 4, 8, 9, 10, 11] and chosen[6] in (60, 61) and chosen[7:] == [110]
    assert spread(role_N, None).tolist() == list(range(111)) and spread(np.zeros(0, np.uint8), 3).tolist() == []


def test_no_image_is_found_without_complaint(tmp_path: Path, look: Look):
    (tmp_path / "empty").mkdir()
    found = look(tmp_path / "empty").found
    assert found.refused and found.roles.images == 0 and found.files.height is None and found.command
    json.dumps(found.as_json(), allow_nan=False)


def test_a_layout_that_is_not_understood_is_looked_at_all_the_same(tree: Path, look: Look):
    (tree / "labeled").mkdir()
    found = look(tree).found
    assert found.refused and found.roles.other == found.files.images == 27 and not found.classes
    assert len(found.problems) == 1


def test_fields_that_a_training_refuses_are_told(tree: Path, look: Look):
    found = look(tree, pad=4).found
    assert [problem.partition(":")[0] for problem in found.problems] == ["data.pad"] and found.roles.labeled == 18


def test_a_csv_is_looked_at(tree: Path, look: Look):
    rows = [f"train/{name}/{i}.png,{name}" for name, count in (("cat", 12), ("dog", 6)) for i in range(count)]
    csv = tree.parent / "images.csv"
    csv.write_text("\n".join(["path,label", *rows, "unlabeled/0.jpg,", ""]))
    found = look(tree, csv=csv).found
    assert found.roles.test_held_back and not found.refused
    assert (found.roles.labeled, found.roles.unlabeled, found.roles.test) == (15, 1, 3)
    csv.write_text("path,label\nunlabeled/0.jpg,nan\nno-such-file.png,cat\n")
    found = look(tree, csv=csv).found
    assert found.refused and json.dumps(found.as_json(), allow_nan=False)
    csv.write_text("picture,label\n")
    assert len(look(tree, csv=csv).found.problems) == 1


def test_names_of_any_bytes_are_told(tree: Path, look: Look):
    name = os.fsdecode(b"\xff\x1b[2J.png")
    os.rename(tree / "train/cat/0.png", tree / "train/cat" / name)
    (tree / "train/cat" / name).write_bytes(b"no image")
    found = look(tree).found
    assert found.unusable[0].path == os.path.join("train/cat", name)
    assert json.loads(dump_json(found.as_json()))["unusable"][0]["path"] == os.path.join("train/cat", name)


def test_what_is_nearly_empty_can_be_used():
    assert Pixels(deviation=1.0).nearly_empty and not Pixels("damaged").nearly_empty
