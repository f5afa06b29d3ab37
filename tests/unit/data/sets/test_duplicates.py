"""Images of equal content: what is found, what is told and refused, and what is left out."""

import os
import shutil
import time
from pathlib import Path

import numpy as np
import pytest

from semisonic.data.sets import duplicates
from semisonic.data.sets.base import DataConfig, DataSet, ImageFiles, Images
from semisonic.data.sets.duplicates import find_duplicates, held_out_apart, without_duplicates
from semisonic.data.sets.splits import Split, make_split, split_notes
from semisonic.schema import UserError
from tests.support.image_folders import errors_of, files, load_it, write_images

ADVICE = "data.duplicates: correct or remove them, or set drop to leave them out, or warn to use them as they are"


def images(kinds: list[int], labels: list[int], size: int = 4) -> Images:
    """Images of noise, equal where `kinds` are."""
    rows = [np.random.default_rng(kind).integers(0, 256, (size, size, 3), dtype=np.uint8) for kind in kinds]
    return Images(np.stack(rows), np.array(labels))


def data_of(train: Images, test: Images, held_back: bool = False, classes: tuple[str, ...] = ("cat", "dog")) -> DataSet:
    third = (0.5,) * 3
    return DataSet("noise", classes, 4, third, third, True, 0, train, test, held_back=held_back)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in ("cat", "dog"):
        write_images(tmp_path / "train" / name, "1.png 2.png 3.png")
        write_images(tmp_path / "test" / name, "4.png 5.png")
    write_images(tmp_path / "unlabeled", "u.png")
    return tmp_path


def test_what_is_equal_is_found_with_labeled_images_first():
    found = find_duplicates(images([1, 2, 1, 3, 2, 4, 1], [-1, 0, 1, 0, 1, 0, 1]), images([3, 5, 5, 4], [0, 1, 1, 1]))
    assert found.groups == [[1, 4], [2, 6, 0], [3, 7], [5, 10], [8, 9]]
    assert found.contradictions == [(1, 4), (5, 10)] and found.leaks == [(7, 3), (10, 5)]
    assert found.copies == [(2, 6), (2, 0), (8, 9)]
    assert np.flatnonzero(found.dropped()).tolist() == [0, 1, 3, 4, 5, 6, 10]


def test_images_that_are_alike_in_the_middle_alone_are_no_duplicates():
    pixels = np.zeros((6, 32, 32, 3), np.uint8)
    pixels[[1, 3], 0, 0, 0] = 1
    pixels[5, -1, -1, -1] = 1
    assert find_duplicates(Images(pixels, np.zeros(6, np.int64))).groups == [[0, 2, 4], [1, 3]]
    assert find_duplicates(Images(pixels[:1], np.zeros(1, np.int64))).groups == []


def test_digests_that_begin_alike_are_told_apart():
    digests = np.zeros((5, 16), np.uint8)
    digests[:, 15] = [1, 2, 1, 3, 2]
    digests[3, 0] = 1
    own = ImageFiles(
        Path("/data"), [f"{i}.png" for i in range(5)], np.zeros(5, np.int64), np.ones((5, 2), np.int32),
        np.zeros(5, bool), np.ones(5, np.int64), digests,
    )  # fmt: skip
    assert find_duplicates(own).groups == [[0, 2], [1, 4]]


def test_threads_and_pieces_change_nothing(monkeypatch):
    own = images([i % 37 for i in range(100)], [0] * 100)
    expected = [list(range(kind, 100, 37)) for kind in range(37)]
    assert find_duplicates(own).groups == expected
    monkeypatch.setattr(duplicates, "_PIECE", 7 * 48)
    assert find_duplicates(own).groups == expected


def test_images_in_memory_are_told_and_all_stay():
    data = data_of(images([1, 2, 1, 3], [0, 1, 1, -1]), images([2, 3, 4, 4], [1, 0, 0, 0]))
    told = without_duplicates(data, DataConfig())
    assert told.train is data.train and told.test is data.test
    assert told.notes == (
        "1 image is of several classes: training image 0 (cat) = training image 2 (dog)",
        "2 test images are also among the training images; they stay there: test image 0 = training image 1, "
        "test image 1 = training image 3",
        "1 image is a copy of another: test image 2 = test image 3",
    )
    with pytest.raises(UserError) as caught:
        without_duplicates(data, DataConfig(duplicates="refuse"))
    assert caught.value.messages == [
        "data.duplicates: training image 0 is of class cat, and training image 2, its copy, of class dog",
        "data.duplicates: test image 0 is a test image, and training image 1, its copy, a training image",
        "data.duplicates: test image 1 is a test image, and training image 3, its copy, an unlabeled training image",
        ADVICE,
    ]


def test_copies_of_what_was_held_back_are_left_out_of_training():
    data = data_of(images([1, 2, 3, 1], [0, 1, 0, -1]), images([1, 4], [0, 1]), held_back=True)
    for policy in (None, "refuse", "drop"):
        left = without_duplicates(data, DataConfig(duplicates=policy))
        assert left.train.labels.tolist() == [1, 0] and left.test is data.test
        assert left.notes == (
            "1 test image is also among the training images; these training images are left out: "
            "test image 0 = training image 0",
        )
    assert without_duplicates(data, DataConfig(duplicates="warn")).train is data.train


def test_a_class_whose_images_are_all_left_out_is_named():
    data = data_of(images([1, 2], [0, 1]), images([2, 3], [1, 1]))
    with pytest.raises(UserError) as caught:
        without_duplicates(data, DataConfig(duplicates="drop"))
    assert caught.value.messages == ["data.duplicates: without copies, no labeled training image is left of dog"]


def test_classes_may_lose_all_their_images_where_they_may_be_without():
    cfg, other = DataConfig(duplicates="drop", absent_classes="warn"), images([9], [2])

    def left(kinds: list[int], labels: list[int]) -> list[int]:
        data = data_of(images(kinds, labels), other, classes=("cat", "dog", "fox"))
        return without_duplicates(data, cfg).train.labels.tolist()

    assert left([1, 2, 3, 1], [0, 1, 2, 1]) == [1, 2]  # no cat
    with pytest.raises(UserError, match=r"no labeled training image is left of cat, dog$"):
        left([1, 1, 2], [0, 1, 2])


def test_one_image_of_two_classes_is_refused_with_both_paths(tree: Path):
    shutil.copy(tree / "train/cat/1.png", tree / "train/dog/copy.png")
    os.symlink(tree / "train/cat/2.png", tree / "train/dog/link.png")
    assert errors_of(tree) == [
        f"data.duplicates: {tree}/train/cat/1.png is of class cat, and {tree}/train/dog/copy.png, its copy, of class dog",
        f"data.duplicates: {tree}/train/cat/2.png is of class cat, and {tree}/train/dog/link.png, the same file, "
        "of class dog",
        ADVICE,
    ]
    assert len(load_it(tree, duplicates="warn").train) == 9
    left = load_it(tree, duplicates="drop")
    assert [path for path, _ in files(left.train)] == [
        "train/cat/3.png", "train/dog/1.png", "train/dog/2.png", "train/dog/3.png", "unlabeled/u.png",
    ]  # fmt: skip
    assert left.train.read(0).tobytes() == (tree / "train/cat/3.png").read_bytes()


def test_test_images_among_the_training_images_are_refused(tree: Path):
    for number in (1, 2):
        shutil.copy(tree / f"train/cat/{number}.png", tree / f"test/cat/again{number}.png")
    shutil.copy(tree / "test/dog/4.png", tree / "unlabeled/x.png")
    shutil.copy(tree / "test/dog/5.png", tree / "unlabeled/y.png")
    first, *_, rest, advice = errors_of(tree)
    assert first == (
        f"data.duplicates: {tree}/test/cat/again1.png is a test image, and {tree}/train/cat/1.png, its copy, a training "
        "image"
    )
    assert rest == "data.duplicates: and 1 more like these" and advice == ADVICE
    left = load_it(tree, duplicates="drop")
    assert len(left.test) == 6
    assert [path for path, _ in files(left.train)] == [
        "train/cat/3.png", "train/dog/1.png", "train/dog/2.png", "train/dog/3.png", "unlabeled/u.png",
    ]  # fmt: skip


def test_copies_of_one_class_or_in_the_pool_are_counted(tree: Path):
    shutil.copy(tree / "train/cat/1.png", tree / "train/cat/again.png")
    for name in ("cat", "dog"):
        shutil.copy(tree / "train" / name / "2.png", tree / "unlabeled" / f"{name}.png")
    data = load_it(tree)
    assert len(data.train) == 10
    assert data.notes == (
        f"3 images are copies of others: {tree}/train/cat/1.png = {tree}/train/cat/again.png, "
        f"{tree}/train/cat/2.png = {tree}/unlabeled/cat.png, {tree}/train/dog/2.png = {tree}/unlabeled/dog.png",
    )
    left = load_it(tree, duplicates="drop")
    assert len(left.train) == 7 and left.train.labels.tolist() == [0, 0, 0, 1, 1, 1, -1]
    assert left.fingerprint != data.fingerprint


def test_held_out_images_have_no_copies_among_those_trained_on(tree: Path):
    for name in ("cat", "dog"):
        for number in (1, 2, 3):
            shutil.copy(tree / "train" / name / f"{number}.png", tree / "unlabeled" / f"{name}{number}.png")
    cfg = DataConfig(name="folder", root=tree, size=16, labels=2, held_out=2)
    data = load_it(tree)

    def split_of(policy: str | None, images: DataSet) -> Split:
        own = cfg.model_copy(update={"duplicates": policy})
        return held_out_apart(own, images, make_split(own, images.train.labels, 2, seed=0))

    drawn, apart = split_of("warn", data), split_of(None, data)
    assert (apart.labeled == drawn.labeled).all() and (apart.held_out == drawn.held_out).all()
    assert len(drawn.unlabeled) == len(apart.unlabeled) + 2
    assert split_notes(drawn, data.train.labels, data.classes) == []
    assert split_notes(apart, data.train.labels, data.classes) == [
        "2 copies of held-out images are left out of the unlabeled pool"
    ]
    held_out = {data.train.read(image).tobytes() for image in apart.held_out}
    assert not held_out & {data.train.read(image).tobytes() for image in apart.unlabeled}

    labeled, kept = (data.train.paths[drawn.labeled[0]], data.train.paths[drawn.held_out[0]])
    shutil.copy(tree / kept, tree / labeled)
    with pytest.raises(UserError) as caught:
        split_of(None, load_it(tree))
    assert caught.value.messages == [
        f"data.duplicates: {tree}/{kept} is held out, and {tree}/{labeled}, its copy, labeled",
        "data.duplicates: set drop to leave copies out, or warn to use them as they are",
    ]
    assert len(split_of("drop", load_it(tree, duplicates="drop")).held_out) == 2


def test_a_fixed_share_for_the_test_leaves_no_copies_in_training(tmp_path: Path):
    for name in ("cat", "dog"):
        write_images(tmp_path / name, [f"{i}.png" for i in range(10)])
        for i in range(10):
            shutil.copy(tmp_path / name / f"{i}.png", tmp_path / name / f"copy-{i}.png")
    data = load_it(tmp_path)
    assert len(data.test) == 8 and not find_duplicates(data.train, data.test).leaks
    assert any("these training images are left out" in note for note in data.notes)
    assert len(load_it(tmp_path, duplicates="warn").train) == 32


def test_published_sets_keep_their_split():
    with pytest.raises(UserError, match=r"data\.duplicates: drop is for images of your own; digits keeps the split"):
        load_it(None, name="digits", duplicates="drop", size=None)


@pytest.mark.slow
def test_comparing_a_published_set_takes_under_a_second():
    pixels = np.random.default_rng(0).integers(0, 256, (60_000, 32, 32, 3), dtype=np.uint8)
    pixels[59_999] = pixels[3]
    begin = time.process_time()
    found = find_duplicates(Images(pixels, np.zeros(60_000, np.int64)))
    assert found.groups == [[3, 59_999]] and time.process_time() - begin < 1
