"""Folders in other names and orders than the documented ones: understood, or refused with what was probably meant."""

from pathlib import Path

import pytest

from tests.support.image_folders import errors_of, files, load_it, write_images


def write_classes(folder: Path, classes: str = "cat dog", images: str = "1.png 2.png") -> None:
    for name in classes.split():
        write_images(folder / name, images)


@pytest.mark.parametrize(
    ("labeled", "test", "pool"),
    [
        ("training", "validation", "pool"),
        ("Train", "Test", "Unlabelled"),
        ("training_set", "test_set", "extra"),
        ("LABELED", "valid", "unsup"),
        ("train-images", "testing", "unlabeled data"),
    ],
)
def test_usual_names_of_splits_in_any_case(tmp_path: Path, labeled: str, test: str, pool: str):
    write_classes(tmp_path / labeled)
    write_classes(tmp_path / test, images="3.png")
    write_images(tmp_path / pool, "4.png")
    data = load_it(tmp_path)
    assert data.classes == ("cat", "dog")
    assert files(data.test) == [(f"{test}/cat/3.png", 0), (f"{test}/dog/3.png", 1)]
    assert [path for path, label in files(data.train) if label < 0] == [f"{pool}/4.png"]
    assert f"{labeled}/ as the labeled images" in data.notes[0] and f"{test}/ as the test images" in data.notes[0]


def test_a_listed_class_is_one_however_it_is_called(tmp_path: Path):
    write_classes(tmp_path, "invalid valid test")
    (line,) = errors_of(tmp_path)
    assert f"{tmp_path / 'test'} holds images, but no class folders" in line
    assert load_it(tmp_path, classes=("invalid", "valid", "test")).classes == ("invalid", "valid", "test")


def test_a_class_may_be_called_as_the_folder_around_it(tmp_path: Path):
    vehicles = "bus test train"
    write_classes(tmp_path / "train", vehicles)
    write_classes(tmp_path / "test", vehicles, "3.png")
    data = load_it(tmp_path)
    assert data.classes == ("bus", "test", "train") and len(data.test) == 3
    again = load_it(tmp_path, classes=data.classes)  # as a run has them that is resumed
    assert files(again.train) == files(data.train) and files(again.test) == files(data.test)
    write_classes(tmp_path / "flat", "bus train")
    (line,) = errors_of(tmp_path / "flat")
    assert line.endswith("; where train is a class itself, list all classes as data.classes")
    assert load_it(tmp_path / "flat", classes=("bus", "train")).classes == ("bus", "train")


def test_a_folder_that_may_be_a_class_is_one_where_no_other_is_the_labeled_one(tmp_path: Path):
    write_classes(tmp_path, "pool extra garden", "1.png 2.png 3.png")
    assert load_it(tmp_path).classes == ("extra", "garden", "pool")


@pytest.mark.parametrize(("first", "second"), [("train", "Train"), ("test", "testing"), ("valid", "val")])
def test_two_folders_for_one_part_are_a_mistake(tmp_path: Path, first: str, second: str):
    for name in (first, second):
        write_classes(tmp_path / name, images="1.png")
    names = " and ".join(f"{name}/" for name in sorted((first, second)))
    assert errors_of(tmp_path) == [f"data.root: {tmp_path} has both {names}; keep one of them"]


def test_splits_of_unknown_names_are_not_taken_for_classes(tmp_path: Path):
    for name in ("seg_train", "seg_test"):
        write_classes(tmp_path / name)
    (line,) = errors_of(tmp_path)
    assert line.startswith(f"data.root: seg_test/, seg_train/ in {tmp_path} all hold cat/, dog/, as splits do")
    assert "call them train/, test/ and unlabeled/" in line
    assert line.endswith("if they are the classes, list all classes as data.classes, or set data.doubts=warn")
    data = load_it(tmp_path, doubts="warn")
    assert data.classes == ("seg_test", "seg_train") and line in data.notes
    write_images(tmp_path / "seg_train", "1.png")  # a class may hold folders beside its images
    assert load_it(tmp_path).classes == ("seg_test", "seg_train")
    (tmp_path / "seg_train/1.png").unlink()
    assert load_it(tmp_path, classes=("seg_test", "seg_train")).classes == ("seg_test", "seg_train")


def test_classes_that_hold_one_common_folder_or_different_ones_are_classes(tmp_path: Path):
    for name in ("cat", "dog"):
        write_images(tmp_path / "one" / name / "images", "1.png 2.png")
        write_images(tmp_path / "years" / name / "2020", "1.png 2.png")
        write_images(tmp_path / "years" / name / name, "1.png 2.png")
    assert load_it(tmp_path / "one").classes == load_it(tmp_path / "years").classes == ("cat", "dog")


def test_splits_inside_of_classes_are_refused(tmp_path: Path):
    for name in ("cat", "dog"):
        write_classes(tmp_path / name, "train test")
    (line,) = errors_of(tmp_path)
    assert (
        f"every folder in {tmp_path} holds test/, train/; splits come first, then classes: test/cat in place of" in line
    )


def test_a_folder_that_was_unpacked_into_another_is_pointed_at(tmp_path: Path):
    write_classes(tmp_path / "a/dataset/train")
    write_classes(tmp_path / "a/dataset/test")
    (line,) = errors_of(tmp_path / "a")
    assert line == (
        f"data.root: {tmp_path / 'a'} has dataset/ alone, which holds test/, train/; if these are what to read, it is "
        f"data.root={tmp_path / 'a/dataset'}"
    )
    write_classes(tmp_path / "b/train/train")
    (line,) = errors_of(tmp_path / "b")
    assert "has train/ alone, which holds cat/, dog/" in line and line.endswith(
        f"or move them up to {tmp_path / 'b/train'}"
    )


def test_a_folder_with_the_same_classes_that_would_not_be_used_is_asked_about(tmp_path: Path):
    write_classes(tmp_path / "train")
    write_classes(tmp_path / "holdout", images="3.png")
    (line,) = errors_of(tmp_path)
    assert line.startswith("data.root: holdout/ has the class folders of train/ and would not be used; call it test/")
    assert len(load_it(tmp_path, test_root=tmp_path / "holdout").test) == 2
    assert len(load_it(tmp_path / "train").train) == 2
    write_classes(tmp_path / "test", images="3.png")
    assert load_it(tmp_path).notes == (f"not used in {tmp_path}: holdout/",)


def test_images_without_classes_where_classes_are_needed(tmp_path: Path):
    write_classes(tmp_path / "train")
    write_images(tmp_path / "test", "1.png")
    (line,) = errors_of(tmp_path)
    assert f"{tmp_path / 'test'} holds images, but no class folders" in line and "rename test/ to unlabeled/" in line
    data = load_it(tmp_path, test="none")
    assert data.test is None and data.notes == (f"not used in {tmp_path}: test/",)
    write_classes(tmp_path / "val", images="3.png")  # as ImageNet and many competitions have it
    (line,) = errors_of(tmp_path)
    assert line.endswith(f"; to test on val/, give data.test_root={tmp_path / 'val'}")
    data = load_it(tmp_path, test_root=tmp_path / "val")
    assert len(data.test) == 2 and data.notes == (f"not used in {tmp_path}: test/",)


def test_test_images_that_lie_beside_the_classes_are_no_class(tmp_path: Path):
    write_classes(tmp_path)
    write_classes(tmp_path / "holdout", images="3.png")
    data = load_it(tmp_path, test_root=tmp_path / "." / "holdout")
    assert data.classes == ("cat", "dog") and len(data.test) == 2 and len(data.train) == 4 and not data.notes


def test_a_split_among_the_classes_is_asked_about(tmp_path: Path):
    write_classes(tmp_path / "train")
    write_classes(tmp_path / "train/val", images="3.png")
    (line,) = errors_of(tmp_path)
    assert f"{tmp_path / 'train/val'} would be a class, and holds cat/, dog/; move it to {tmp_path / 'val'}" in line


@pytest.mark.parametrize(("name", "advice"), [("l.csv", "a CSV is given as data.csv"), ("a.zip", "unpack it")])
def test_a_file_in_place_of_the_folder(tmp_path: Path, name: str, advice: str):
    (tmp_path / name).write_text("x")
    assert errors_of(tmp_path / name) == [
        f"data.root: cannot read the folder {tmp_path / name}: Not a directory; {advice}"
    ]


def test_a_class_called_unlabeled_is_asked_about(tmp_path: Path):
    write_classes(tmp_path / "train", "cat dog unlabeled")
    (line,) = errors_of(tmp_path)
    assert f"move images without a label to {tmp_path / 'unlabeled'}" in line
    assert load_it(tmp_path, classes=("cat", "dog", "unlabeled")).classes[2] == "unlabeled"


@pytest.mark.parametrize("role", ["labeled/owl", "labeled", "unlabeled", "test", "test/owl", ".", "labeled/cat/more"])
def test_a_link_to_nothing_is_told_whatever_it_is_for(tmp_path: Path, role: str):
    root = tmp_path / "data"
    if role != ".":
        if role != "labeled":
            write_classes(root / "labeled")
        if not role.startswith("test"):
            write_classes(root / "test")
        elif role == "test/owl":
            write_classes(root / "test", "cat")
    (root / role).parent.mkdir(parents=True, exist_ok=True)
    (root / role).symlink_to("/not/mounted")
    (line,) = errors_of(root)
    assert line.startswith("data.root: cannot read ") and str(root / role) in line
    assert "a link to /not/mounted: No such file or directory" in line


def test_a_flat_class_folder_that_is_a_link_to_nothing(tmp_path: Path):
    write_classes(tmp_path)
    (tmp_path / "owl").symlink_to("/not/mounted/owl")
    (line,) = errors_of(tmp_path)
    assert line.startswith(f"data.root: cannot read {tmp_path / 'owl'}: a link to /not/mounted/owl")


def test_a_run_inside_of_its_data_is_no_class(tmp_path: Path):
    write_classes(tmp_path)
    before = files(load_it(tmp_path).train)
    (tmp_path / "runs/a/checkpoints").mkdir(parents=True)
    for name in ("config.yaml", "status.json"):
        (tmp_path / "runs/a" / name).write_text("")
    write_images(tmp_path / "runs/a", "confusion.png")
    data = load_it(tmp_path)
    assert data.classes == ("cat", "dog") and files(data.train) == before
    assert "passed over, written by semisonic: runs/a/" in data.notes
    (line,) = errors_of(tmp_path / "runs/a")
    assert line.endswith("runs/a is a folder that semisonic wrote, not one of images")


def test_a_project_s_folder_may_be_the_data_s(tmp_path: Path):
    """Other programs have a config.yaml and checkpoints, too."""
    write_classes(tmp_path / "train")
    write_classes(tmp_path / "test", images="3.png")
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "config.yaml").write_text("epochs: 3")
    assert load_it(tmp_path).notes == (f"not used in {tmp_path}: checkpoints/",)


def test_what_a_class_holds_in_place_of_images_is_said(tmp_path: Path):
    write_classes(tmp_path / "labeled")
    for number in range(6):
        (tmp_path / f"labeled/cat/{number}.heic").write_bytes(b"x")
    for file in (tmp_path / "labeled/cat").glob("*.png"):
        file.unlink()
    (tmp_path / "unlabeled").mkdir()
    assert errors_of(tmp_path) == [
        f"data.root: the class folder {tmp_path / 'labeled/cat'} holds no images, but files that are none by name "
        "(.heic: 6); convert them to .jpg or .png",
        f"data.root: the folder of unlabeled images {tmp_path / 'unlabeled'} holds no images",
    ]


def test_a_margin_that_files_do_not_have_is_refused(tmp_path: Path):
    write_classes(tmp_path)
    assert errors_of(tmp_path, pad=2) == [
        "data.pad: image files have no margin, their random crop is a part of the picture; leave it out"
    ]
