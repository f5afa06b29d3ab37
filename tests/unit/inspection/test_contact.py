"""Which images a contact sheet shows."""

from collections.abc import Callable
from pathlib import Path

from semisonic.data.sets.base import DataConfig
from semisonic.inspection.contact import ACROSS, OF_TEST, OF_TRAINING, contact_sheet
from semisonic.inspection.sheet import Section
from semisonic.inspection.survey import Survey
from tests.support.image_folders import write_images

CFG = DataConfig(name="folder")


def rows(section: Section) -> dict[str, list[list[str]]]:
    return {row.name: [[thumb.path for thumb in block] for block in row.blocks] for row in section.rows}


def test_classes_by_role_and_what_looks_wrong_have_rows(odd_tree: Path, look: Callable[..., Survey]):
    sheet = contact_sheet(look(odd_tree), CFG)
    classes, pool, equal, odd = sheet.sections
    assert sheet.subtitle == "24 labeled, 7 unlabeled, 5 test images of 2 classes"
    cat, dog = classes.rows
    assert cat.details == ("17 labeled", "3 test") and [len(block) for block in cat.blocks] == [OF_TRAINING, 3]
    assert [len(block) for block in dog.blocks] == [7, 2] and classes.slots == (OF_TRAINING, OF_TEST)
    assert all(thumb.png for row in classes.rows for block in row.blocks for thumb in block)
    assert len(rows(pool)["unlabeled"][0]) == 7
    assert rows(equal) == {
        "one image, two classes": [["train/cat/1.png", "train/dog/one-of-cat.png"]],
        "in test and training": [["train/cat/2.png", "test/cat/leak.png"][::-1]],
        "copies": [["train/cat/0.png", "train/cat/copy.png"], ["unlabeled/0.jpg", "unlabeled/link.jpg"]],
    }
    assert rows(odd) == {
        "nearly empty": [["train/cat/black.png", "unlabeled/blank.png"]],
        "cannot be used": [["train/cat/cut.jpg", "train/cat/gone.png"]],
    }
    assert [thumb.caption for thumb in equal.rows[1].blocks[0]] == ["cat (test)\nleak.png", "cat\n2.png"]
    assert not any(thumb.png for thumb in odd.rows[1].blocks[0])


def test_sound_images_have_no_row_of_odd_ones(tree: Path, look: Callable[..., Survey]):
    assert [section.title for section in contact_sheet(look(tree), CFG).sections] == ["Classes", "Unlabeled: 5"]


def test_images_of_no_role_are_shown(tree: Path, look: Callable[..., Survey]):
    (tree / "labeled").mkdir()
    (section,) = contact_sheet(look(tree), CFG).sections
    assert section.title == "Images of no role: 27" and [len(row.blocks[0]) for row in section.rows] == [ACROSS, ACROSS]


def test_of_many_classes_some_are_shown(tmp_path: Path, look: Callable[..., Survey]):
    for number in range(50):
        write_images(tmp_path / f"train/class{number}", [f"{image}.png" for image in range(2 + (number == 7))])
        write_images(tmp_path / f"test/class{number}", "1.png")
    (classes, *_) = contact_sheet(look(tmp_path), CFG).sections
    assert len(classes.rows) == 40 and classes.rows[0].name == "class7" and "40 of 50" in classes.note
