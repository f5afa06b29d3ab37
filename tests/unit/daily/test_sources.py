"""What `add` is given: folders with and without classes, CSVs, lists; and what is refused, all together."""

from pathlib import Path

import pytest

from semisonic.daily.sources import Source, find, unknown_classes
from semisonic.data.sets.base import DataConfig
from semisonic.schema import UserError

CFG = DataConfig(name="folder", size=16, test="none", classes=("cat", "dog"))


def touch(root: Path, names: str) -> Path:
    for name in names.split():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def items(source: Source, root: Path) -> dict[str, str | None]:
    assert all(Path(path).is_absolute() for path, _ in source.items)
    return {str(Path(path).relative_to(root)): label for path, label in source.items}


def refused(source: Path, labels: bool = False) -> list[str]:
    with pytest.raises(UserError) as caught:
        find(source, CFG, labels)
    return caught.value.messages


def test_a_folder_without_labels_is_walked_whole(tmp_path: Path):
    touch(tmp_path, "a.png b/c/d.jpg b/.hidden.png cat/e.png train/x/f.png")
    assert items(find(tmp_path, CFG, False), tmp_path) == dict.fromkeys(["a.png", "b/c/d.jpg", "cat/e.png", "train/x/f.png"])  # fmt: skip


def test_a_folder_with_labels_is_read_as_a_training_reads_it(tmp_path: Path):
    touch(tmp_path, "train/cat/a.png train/dog/b.png unlabeled/c.png test/cat/d.png")
    found = find(tmp_path, CFG, True)
    assert items(found, tmp_path) == {"train/cat/a.png": "cat", "train/dog/b.png": "dog", "unlabeled/c.png": None}
    assert found.notes == ["1 test image not added: a project is tested by its audits"]
    assert items(find(touch(tmp_path / "pool", "unlabeled/c.png"), CFG, True), tmp_path / "pool") == {"unlabeled/c.png": None}  # fmt: skip
    assert unknown_classes(found, ["cat"]) == ["dog"]


def test_a_csv_has_labels_or_not(tmp_path: Path):
    touch(tmp_path, "a.png b/c.png")
    table = tmp_path / "list.csv"
    table.write_text("path,label,split\na.png,cat,\nb/c.png,,\nb/d.png,dog,test\n")
    assert items(find(table, CFG, False), tmp_path) == {"a.png": "cat", "b/c.png": None}
    table.write_text("size,path\n3,b/c.png\n4,a.png\n5,b/../a.png\n")
    assert items(find(table, CFG, False), tmp_path) == {"b/c.png": None, "a.png": None}
    table.write_text("file\na.png\n")
    assert refused(table) == [f"add: {table} has no column path; its first line must name path and optionally label"]


def test_a_list_names_a_path_a_line(tmp_path: Path):
    touch(tmp_path, "a.png b/c.png")
    listed = tmp_path / "new.txt"
    listed.write_text(f"{tmp_path}/b/c.png\r\n\na.png\n")
    assert items(find(listed, CFG, False), tmp_path) == {"b/c.png": None, "a.png": None}
    assert items(find(tmp_path / "a.png", CFG, False), tmp_path) == {"a.png": None}
    listed.write_text("a.png\nread.me\nnotes\n")
    assert refused(listed) == [f"add: line {line} of {listed} names {name}, no image by its name" for line, name in ((2, "read.me"), (3, "notes"))]  # fmt: skip


def test_what_holds_no_images_is_refused(tmp_path: Path):
    touch(tmp_path, "empty/note.txt project/project.yaml project/labels.db cat/a.png stray.png flat/b.png")
    assert refused(tmp_path / "none") == [f"add: {tmp_path}/none: no such file or folder"]
    assert refused(tmp_path / "empty")[0] == f"add: {tmp_path}/empty: no images found"
    assert refused(tmp_path / "project") == [f"add: {tmp_path}/project is a folder that semisonic wrote, not one of images"]  # fmt: skip
    assert refused(tmp_path, True)[0].startswith(f"add: 1 images directly in {tmp_path} belong to no class")
    assert refused(tmp_path / "flat", True)[0].startswith(f"add: {tmp_path}/flat holds images, but no class folders")
