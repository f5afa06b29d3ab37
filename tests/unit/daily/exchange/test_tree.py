"""Labels as folders: links or copies under safe names, and what a place in the tree says on the way back."""

import os
import shutil
from pathlib import Path
from urllib.parse import unquote_to_bytes

import pytest

from semisonic import cli
from semisonic.daily.exchange.rows import Row
from semisonic.daily.exchange.tree import LIST, class_of, read_tree, write_tree
from semisonic.daily.store import State
from semisonic.data.sets.base import DataConfig
from semisonic.data.sets.image_folder import list_images
from semisonic.schema import UserError
from semisonic.text import file_name
from tests.support.daily import seen
from tests.support.daily_projects import CLASSES, begin, every_state, odd_images


def row(path: Path, label: str, state: str = "given") -> Row:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(str(path))
    return Row(str(path), label, state, hash=seen(path).hash, exported=label)


def tree(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("copies", [False, True])
def test_a_folder_a_class_with_links_or_copies(tmp_path: Path, copies: bool):
    made = [row(tmp_path / "a" / "x.png", "cat"), row(tmp_path / "b" / "X.PNG", "cat"), row(tmp_path / "b" / "x.png", "cat"),
            row(tmp_path / "c" / "x.png", "a/b"), row(tmp_path / "no.png", "", "rejected")]  # fmt: skip
    assert write_tree(tmp_path / "t", made, copies) == 4
    second, third = (f"cat/{'X' if 'X' in one.path else 'x'}-{one.hash.hex()[:12]}" for one in made[1:3])
    assert tree(tmp_path / "t") == {"cat/x.png", f"{second}.PNG", f"{third}.png", "a%2Fb/x.png", LIST}
    assert (tmp_path / "t" / "cat" / "x.png").is_symlink() != copies
    assert (tmp_path / "t" / "cat" / "x.png").read_text() == made[0].path
    assert not list(tmp_path.glob(".t*"))


def test_no_name_leaves_the_tree(tmp_path: Path):
    images = odd_images(tmp_path / "images", 24)
    made = [
        Row(path, CLASSES[number % len(CLASSES)], "given", hash=seen(Path(path)).hash)
        for number, path in enumerate(images)
    ]
    write_tree(tmp_path / "t", made, copies=True)
    files = tree(tmp_path / "t")
    assert len(files) == 25 and all(len(Path(file).parts) == 2 for file in files - {LIST})
    assert {os.fsdecode(unquote_to_bytes(os.fsencode(Path(file).parts[0]))) for file in files - {LIST}} == set(CLASSES)


def test_what_is_copied_is_what_was_labeled(tmp_path: Path):
    made = [row(tmp_path / "a.png", "cat"), row(tmp_path / "b.png", "Cat")]
    Path(made[0].path).write_text("another")
    with pytest.raises(
        UserError, match=r"a.png: has changed since it was labeled; put it back, or `add` it as it is now"
    ):
        write_tree(tmp_path / "t", made, copies=True)
    assert not (tmp_path / "t").exists()


def test_classes_that_a_file_system_may_take_for_one_overwrite_no_file(tmp_path: Path):
    made = [row(tmp_path / "a" / "x.png", "cat"), row(tmp_path / "b" / "x.png", "Cat")]
    write_tree(tmp_path / "t", made, copies=True)
    files = [Path(file).name.casefold() for file in tree(tmp_path / "t")]
    assert len({*files}) == len(files) == 3


@pytest.mark.parametrize("name", [*CLASSES, LIST, "labels.csv", "%41", "caf\udce9", "x" * 190])
def test_a_folder_stands_for_its_class(name: str):
    assert class_of(file_name(name)) == name


def test_images_that_are_gone_are_told_and_nothing_is_made(tmp_path: Path):
    gone = [row(tmp_path / f"{name}.png", "cat") for name in "ab"]
    for one in gone:
        os.unlink(one.path)
    with pytest.raises(UserError) as error:
        write_tree(tmp_path / "t", gone, copies=False)
    assert len(error.value.messages) == 2 and error.value.messages[0].startswith(
        f"{tmp_path / 'a.png'}: the image is gone; "
    )
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("copies", [False, True])
def test_what_was_moved_in_the_tree_is_a_changed_label(tmp_path: Path, copies: bool):
    project = begin(tmp_path / "p", odd_images(tmp_path / "images"))
    every_state(project)
    daily = [str(project.folder), "export", "--to", "tree", "--out", str(tmp_path / "t"), *["--copies"] * copies]
    assert cli.daily(daily) == 0
    top = tmp_path / "t"
    (top / "cat" / "plain.png").rename(top / "'quoted" / "moved.png")
    (top / "%63on" / "two%0Alines.png").unlink()
    with project.store() as store:
        last, path = store.last_event, store.path_of(13)
    shutil.copy(path, top / "cat" / "was rejected.png")
    assert cli.daily([str(project.folder), "import", str(top), "--who", "eve"]) == 0
    with project.store() as store:
        changes = store.connection.execute("SELECT image, class, who FROM event WHERE id > ? ORDER BY image", (last,))
        assert changes.fetchall() == [(1, 9, "eve"), (13, 1, "eve")] and store.now_of(13).state == State.REVIEWED


def test_a_tree_of_others_names_classes_by_its_folders(tmp_path: Path):
    for name in ("cat/a.png", "cat/deep/b.jpg", "do%67/c.png", ".hidden/d.png", "cat/notes.txt", "cat/.e.png"):
        (tmp_path / "t" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "t" / name).write_text(name)
    found = list(read_tree(tmp_path / "t", []))
    assert [(Path(one.path).name, one.label, one.state, one.exported) for one in found] == [
        ("a.png", "cat", "", None), ("b.jpg", "cat", "", None), ("c.png", "dog", "", None),
    ]  # fmt: skip


def test_a_training_reads_the_tree(tmp_path: Path):
    write_tree(tmp_path / "t", [row(tmp_path / f"{name}.png", name) for name in ("cat", "dog")], copies=False)
    listing = list_images(DataConfig(name="folder", root=tmp_path / "t", size=8, test="none"))
    assert listing.train == [("cat/cat.png", "cat"), ("dog/dog.png", "dog")] and not listing.problems
