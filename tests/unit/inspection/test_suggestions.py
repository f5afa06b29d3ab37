"""Suggestions are options that a training takes, and odd classes are named."""

import shlex

import pytest

from semisonic.config.command_line import resolve
from semisonic.data.sets.base import DataConfig
from semisonic.inspection.findings import ClassCount, Copies, Files, Inspection, Roles, Span, Unusable
from semisonic.inspection.suggestions import command, odd_classes, odd_roles, suggest, suggested_size, uneven_classes


def an_inspection(least: float = 100, median: float = 200, most: float = 900, **changed) -> Inspection:
    files = Files(images=10, shorter_side=Span(least, median, most))
    return Inspection("images", files=files, **changed)


@pytest.mark.parametrize(
    ("sides", "size"),
    [((28, 28, 28), 28), ((32, 32, 32), 32), ((33, 33, 33), 32), ((100, 200, 900), 192), ((5, 3000, 9000), 224),
     ((5, 9, 9), 16), ((70, 70, 70), 64)],
)  # fmt: skip
def test_the_size_is_a_usual_one_that_half_of_the_images_have(sides: tuple[float, float, float], size: int):
    assert suggested_size(an_inspection(*sides)) == size


@pytest.mark.parametrize("sides", [(32, 32, 32), (100, 200, 900)])
def test_every_suggestion_is_taken_by_a_training(tmp_path, sides: tuple[float, float, float]):
    for name in ("a", "b"):
        (tmp_path / "my images" / name).mkdir(parents=True)
    root = tmp_path / "my images"
    found = an_inspection(*sides, unusable=[Unusable("a", "damaged")], copies=Copies(leaks=[["a", "b"]]))
    cfg = DataConfig(name="folder", root=root, labels=4, flip=False, classes=("b", "a"))
    suggest(found, cfg)
    options = [option for option, _ in found.suggestions]
    assert {"--data.bad-files skip", "--data.duplicates drop"} < set(options)
    taken = resolve([*shlex.split(found.command)[2:], "--device", "cpu"])[1]
    assert (taken.data.root, taken.data.size, taken.data.labels) == (root, suggested_size(found), 4)
    assert (taken.data.bad_files, taken.data.duplicates, taken.data.flip) == ("skip", "drop", False)
    assert taken.data.classes == ("b", "a") and taken.data.name == "folder"
    for option in options:
        fields = ["--data", "folder", "--data.root", str(root), "--data.size", "32", "--device", "cpu"]
        resolve([*fields, *shlex.split(option)])


def test_settings_of_a_million_steps_are_told_with_those_of_a_cpu(tmp_path):
    """Who has no GPU would otherwise begin a training of days."""
    found = an_inspection(32, 32, 32)
    suggest(found, DataConfig(name="folder"))
    reason = dict(found.suggestions)["--recipe cifar10"]
    (tmp_path / "a").mkdir()
    fields = ["--data", "folder", "--data.root", str(tmp_path), "--data.size", "32", "--device", "cpu"]
    steps = {name: resolve([*fields, "--recipe", name])[1].steps for name in ("cifar10", "digits")}
    assert "a million steps on a GPU" in reason and steps["cifar10"] >= 1_000_000
    assert "On a CPU: --recipe digits" in reason and steps["digits"] <= 1_000


def test_a_given_size_stays_unless_most_images_are_smaller():
    found = an_inspection()
    found.files.size, found.files.smaller = 192, 4
    cfg = DataConfig(name="folder", size=192)
    suggest(found, cfg)
    assert not any("--data.size" in option for option, _ in found.suggestions)
    assert "--data.size 192" in command(found, cfg)
    found.files.size, found.files.smaller = 500, 9
    suggest(found, cfg)
    assert any(option == "--data.size 192" for option, _ in found.suggestions)
    assert command(found, DataConfig(name="folder", size=500)).count("--data.size") == 1


def test_what_is_set_is_not_suggested():
    found = an_inspection(unusable=[Unusable("a", "damaged")], copies=Copies(leaks=[["a", "b"]]))
    suggest(found, DataConfig(name="folder", bad_files="skip", duplicates="warn", size=192))
    assert not any("bad-files" in option or "duplicates" in option for option, _ in found.suggestions)


def test_names_that_are_hardly_classes_are_said():
    lines = odd_classes(["cat", "dog ", "Train", "nan", "images"])
    assert [line.split(":")[0] for line in lines] == ["class 'dog '", "class Train", "class nan", "class images"]


def test_uneven_and_small_classes_are_said():
    def count(name: str, labeled: int, test: int = 1) -> ClassCount:
        return ClassCount(name, labeled, 0, 0, test)

    assert uneven_classes([count("a", 100), count("b", 90)]) == uneven_classes([]) == []
    uneven, few, without = uneven_classes([count("a", 100), count("b", 3), count("c", 50, 0)])
    assert "100 labeled images of a, 3 of b" in uneven and few.endswith(": b (3)") and without.endswith(": c")


def test_images_without_labels_are_missed():
    assert odd_roles(Roles(labeled=9, drawn=9, pool=9)) and not odd_roles(Roles(labeled=9, drawn=9, pool=10))
    assert not odd_roles(Roles())


def test_few_test_images_tell_little():
    assert odd_roles(Roles(test=37)) == ["few test images: an accuracy of 90 % on 37 has a 95 % interval of 75 to 96 %"]
    assert not odd_roles(Roles(test=1000))
