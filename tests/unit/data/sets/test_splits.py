"""The split: balanced, disjoint, the same on every machine, and strict about what users hand in."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import strategies as st

from semisonic.data.sets.base import DataConfig
from semisonic.data.sets.splits import (
    Split,
    label_problems,
    load_split,
    make_split,
    save_split,
    split_data,
    split_notes,
)
from semisonic.schema import UserError
from tests.support.fuzz import INPUTS, attack, damaged, npy, npz, npz_files, odd_files
from tests.support.splits import CLASSES, LABELS, OF_EACH, errors_of, split_of

PINNED_LABELED = [38, 44, 103, 106, 151, 154, 157, 167, 180, 190]

PINNED_HASH = "a3db2bc8eb73807bbbd1185f120860d7eac942845ec1a9208318b310c102e5e7"


def counts(indices: np.ndarray) -> list[int]:
    return np.bincount(LABELS[indices], minlength=CLASSES).tolist()


def test_balanced_disjoint_and_complete():
    split = split_of(labels=20, held_out=10)
    assert counts(split.labeled) == [4] * 5
    assert counts(split.held_out) == [2] * 5
    assert not np.intersect1d(split.held_out, split.unlabeled).size
    assert np.isin(split.labeled, split.unlabeled).all()
    assert len(split.unlabeled) == 190
    for indices in (split.labeled, split.unlabeled, split.held_out):
        assert indices.dtype == np.int64
        assert (np.diff(indices) > 0).all()


def test_labeled_images_can_be_left_out_of_the_pool():
    split = split_of(labels=20, held_out=10, unlabeled_includes_labeled=False)
    everything = np.concatenate([split.labeled, split.unlabeled, split.held_out])
    assert np.array_equal(np.sort(everything), np.arange(200))


def test_images_without_a_label_are_only_ever_unlabeled():
    labels_N = np.where(np.arange(200) < 100, LABELS, -1)
    split = split_of(labels_N=labels_N, labels=None, held_out=5)
    assert len(split.labeled) == 95
    assert (labels_N[np.concatenate([split.labeled, split.held_out])] >= 0).all()
    assert set(range(100, 200)) <= set(split.unlabeled.tolist())


def test_a_larger_labeled_set_contains_the_smaller():
    small, large = split_of(labels=20), split_of(labels=50)
    assert np.isin(small.labeled, large.labeled).all()


def test_depends_on_the_seed_alone():
    assert split_of(3, labels=20).hash == split_of(3, labels=20).hash
    assert split_of(3, labels=20).hash != split_of(4, labels=20).hash
    assert split_of(3, labels=20).hash == split_of(8, labels=20, split_seed=3).hash


def test_is_the_same_on_every_machine():
    split = split_of(labels=10, held_out=5)
    assert split.labeled.tolist() == PINNED_LABELED
    assert split.hash == PINNED_HASH


def test_hash_tells_the_arrays_apart():
    a, b, none = np.array([1, 2]), np.array([3]), np.array([], np.int64)
    hashes = {Split(a, b, none).hash, Split(a, none, b).hash, Split(b, a, none).hash, Split(none, a, b).hash}
    assert len(hashes) == 4


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"labels": 0}, "data.labels: 0 labeled images"),
        ({"labels": 12}, "data.labels: 12 is not the same number for each of the 5 classes; give 10 or 15"),
        ({"labels": 3}, "data.labels: 3 is not the same number for each of the 5 classes; give 5"),
        ({"labels": 500}, "only 200 training images have a label"),
        ({"labels": 150, "held_out": 100}, "only 200 training images have a label"),
        ({"labels": 10, "held_out": 7}, "data.held_out: 7 is not the same number"),
        (
            {"labels": None, "held_out": 200},
            "data.held_out: all labeled and 200 held-out images need 41 of every",
        ),
    ],
)
def test_mistakes_in_the_numbers(fields, expected):
    (line,) = errors_of(**fields)
    assert expected in line


def test_all_mistakes_at_once():
    assert [line.split(":")[0] for line in errors_of(labels=12, held_out=7)] == [
        "data.held_out",
        "data.labels",
    ]


def test_a_class_with_too_few_images_is_named():
    labels_N = LABELS.copy()
    labels_N[np.flatnonzero(LABELS == 2)[5:]] = 0
    (line,) = errors_of(labels_N=labels_N, labels=50)
    assert "need 10 of every class, but the rarest one has only 5; give less" in line
    with pytest.raises(UserError, match="but class c has only 5; give less"):
        make_split(DataConfig(labels=50), labels_N, CLASSES, 0, names=tuple("abcde"))
    assert label_problems(DataConfig(labels=25), CLASSES, np.bincount(labels_N).tolist()) == []


def test_saved_and_loaded(tmp_path: Path):
    split = split_of(labels=20, held_out=10)
    save_split(split, tmp_path / "split.npz")
    assert load_split(tmp_path / "split.npz").hash == split.hash
    assert load_split(tmp_path / "split.npz", LABELS, CLASSES).hash == split.hash
    assert split_of(split=tmp_path / "split.npz").hash == split.hash
    with pytest.raises(UserError, match="the training images are 0 to 99"):
        load_split(tmp_path / "split.npz", LABELS[:100], CLASSES)


def test_given_split_with_its_own_pool(tmp_path: Path):
    np.savez(tmp_path / "s.npz", labeled=np.arange(10)[::-1], unlabeled=np.arange(20, 90), held_out=[100, 99])
    split = split_of(split=tmp_path / "s.npz")
    assert split.labeled.tolist() == list(range(10))
    assert split.unlabeled.tolist() == list(range(20, 90))
    assert split.held_out.tolist() == [99, 100]


def test_given_labeled_images_with_a_drawn_held_out_set(tmp_path: Path):
    (tmp_path / "s.txt").write_text("# a comment\n" + "\n".join(map(str, range(10))) + "\n\n")
    split = split_of(split=tmp_path / "s.txt", held_out=10)
    assert split.labeled.tolist() == list(range(10))
    assert counts(split.held_out) == [2] * 5
    assert not np.intersect1d(split.held_out, np.arange(10)).size
    assert len(split.unlabeled) == 190


@pytest.mark.parametrize("name", ["s.txt", "s.csv"])
def test_given_paths(tmp_path: Path, name: str):
    paths = [f"train/{i % 5}/{i}.png" for i in range(200)]
    named = [
        "train/0/0.png",
        "./train/1/1.png",
        str(tmp_path / "train/2/2.png"),
        "train/3/3.png",
        "train/4/4.png",
    ]
    (tmp_path / name).write_text("\n".join(["path", *named] if name.endswith("csv") else named))
    cfg = DataConfig(split=tmp_path / name, root=tmp_path)
    labels_N = np.arange(200) % 5
    assert make_split(cfg, labels_N, CLASSES, 0, paths).labeled.tolist() == [0, 1, 2, 3, 4]
    (tmp_path / name).write_text("path\ntrain/9/9.png\n")
    with pytest.raises(UserError, match=r"not among the training images: .*9/9\.png"):
        make_split(cfg, labels_N, CLASSES, 0, paths)
    with pytest.raises(UserError, match="names files, but the images of this data set have none"):
        make_split(cfg, labels_N, CLASSES, 0)


@pytest.mark.parametrize(
    ("arrays", "expected"),
    [
        ({"labeled": [*OF_EACH, 200]}, "labeled of .* holds index 200; the training images are 0 to 199"),
        ({"labeled": [*OF_EACH, -1]}, "holds index -1"),
        ({"labeled": [*OF_EACH, 4]}, "holds index 4 more than once"),
        ({"labeled": OF_EACH, "held_out": [9]}, "1 images in held_out and in labeled, such as 9"),
        (
            {"labeled": OF_EACH, "held_out": [50], "unlabeled": [50, 51]},
            "1 images in held_out and in unlabeled",
        ),
        ({"labeled": [0, 5]}, "no labeled image of class 1, 2, 3, 4"),
        ({"labeled": [0.0, 1.0]}, "array labeled of .* is float64"),
        ({"labeled": [[0, 1]]}, r"is int64 \[1, 2\]"),
        ({"indices": OF_EACH}, "has no array labeled"),
    ],
)
def test_mistakes_in_a_given_split(tmp_path: Path, arrays, expected):
    np.savez(tmp_path / "s.npz", **arrays)
    with pytest.raises(UserError, match="data.split: .*" + expected):
        split_of(split=tmp_path / "s.npz")


def test_labeled_images_need_a_label(tmp_path: Path):
    np.savez(tmp_path / "s.npz", labeled=OF_EACH)
    labels_N = LABELS.copy()
    labels_N[7] = -1
    with pytest.raises(UserError, match="holds index 7, whose label is not known"):
        split_of(labels_N=labels_N, split=tmp_path / "s.npz")


def test_held_out_must_agree_with_the_given_split(tmp_path: Path):
    np.savez(tmp_path / "s.npz", labeled=OF_EACH, held_out=[50, 51])
    assert errors_of(split=tmp_path / "s.npz", held_out=5)[0].startswith("data.held_out: 5, but ")
    np.savez(tmp_path / "s.npz", labeled=OF_EACH, unlabeled=np.arange(190))
    assert "of class" in errors_of(split=tmp_path / "s.npz", held_out=50)[0]


def test_files_that_are_no_split(tmp_path: Path):
    assert "no such file" in errors_of(split=tmp_path / "none.npz")[0]
    assert "no such file" in errors_of(split=tmp_path / "none.txt")[0]
    (tmp_path / "bad.npz").write_bytes(b"not a zip file")
    assert "is no .npz, or damaged" in errors_of(split=tmp_path / "bad.npz")[0]
    save_split(split_of(labels=20), tmp_path / "cut.npz")
    (tmp_path / "cut.npz").write_bytes((tmp_path / "cut.npz").read_bytes()[:200])
    assert "is no .npz, or damaged" in errors_of(split=tmp_path / "cut.npz")[0]
    with (tmp_path / "array.npz").open("wb") as file:
        np.save(file, OF_EACH)
    assert "is a single array" in errors_of(split=tmp_path / "array.npz")[0]
    assert split_data(tmp_path / "array.npz") is None  # what the run looks at first
    (tmp_path / "bad.csv").write_text("file,label\na.png,3\n")
    assert "column path or index" in errors_of(split=tmp_path / "bad.csv")[0]


def test_messages_name_the_classes(tmp_path: Path):
    names = ("ant", "bee", "cat", "dog", "eel")
    labels_N = np.repeat(np.arange(CLASSES), [9, 9, 3, 9, 9])

    def told(**fields) -> str:
        with pytest.raises(UserError) as caught:
            make_split(DataConfig(**fields), labels_N, CLASSES, 0, names=names)
        return caught.value.messages[0]

    assert "but class cat has only 3" in told(labels=20)
    np.savez(tmp_path / "s.npz", labeled=[0, 9, 18, 19, 21])
    assert told(split=tmp_path / "s.npz").endswith("has no labeled image of class eel")
    np.savez(tmp_path / "s.npz", labeled=[0, 9, 18, 19, 21, 30])
    assert "leaves 1 of class cat" in told(split=tmp_path / "s.npz", held_out=10)


@pytest.mark.parametrize(("name", "labels"), [("folder", None), ("given", None), ("digits", 40), ("cifar10", 40)])
def test_all_labels_of_one_s_own_images_are_used_by_default(name: str, labels: int | None):
    assert DataConfig(name=name).labels == labels
    assert DataConfig(name=name, labels=7).labels == 7


def test_random_labels_are_drawn_from_all_images_alike():
    labels_N = np.repeat(np.arange(5), [2, 8, 30, 60, 100])
    drawn = [split_of(seed, labels_N, labels=20, labels_from="random", held_out=7) for seed in range(200)]
    assert all(len(split.labeled) == 20 and len(split.held_out) == 7 for split in drawn)
    assert not any(np.intersect1d(split.labeled, split.held_out).size for split in drawn)
    counts = np.mean([np.bincount(labels_N[split.labeled], minlength=5) for split in drawn], axis=0)
    assert counts == pytest.approx([0.2, 0.8, 3, 6, 10], abs=0.5)
    split = split_of(1, labels_N, labels=20, labels_from="random")
    assert split.hash == split_of(1, labels_N, labels=20, labels_from="random").hash
    assert set(split.labeled) < set(split_of(1, labels_N, labels=33, labels_from="random").labeled)
    every = split_of(1, labels_N, labels=None, labels_from="random", held_out=3)
    assert len(every.labeled) == 197 and len(every.held_out) == 3


def test_random_labels_need_not_be_of_every_class(tmp_path: Path):
    labels_N = np.where(np.arange(200) < 60, -1, np.repeat(np.arange(5), 40))
    split = split_of(3, labels_N, labels=2, labels_from="random")
    missing = sorted(set(range(5)) - set(labels_N[split.labeled].tolist()))
    names = tuple("abcde")
    (line,) = split_notes(split, labels_N, names)
    listed = ", ".join(names[number] for number in missing)
    assert line == f"{len(missing)} of 5 classes have no labeled image, and cannot be learned: {listed}"
    assert split_notes(split_of(labels=25), LABELS, names) == []
    save_split(split, tmp_path / "split.npz")
    again = split_of(9, labels_N, labels_from="random", split=tmp_path / "split.npz")
    assert again.hash == split.hash
    more = make_list(tmp_path / "list.txt", split.labeled)
    assert len(split_of(9, labels_N, labels_from="random", split=more, held_out=11).held_out) == 11
    fields = {"labels_N": labels_N, "labels_from": "random"}
    for asked, expected in (
        ({"labels": 0}, "data.labels: 0 labeled images; give 1 or more, or null for all"),
        (
            {"labels": 139, "held_out": 2},
            "data.labels: 139 labeled and 2 held-out images asked for, but only 140 training",
        ),
        ({"labels": None, "held_out": 140}, "data.held_out: all labeled and 140 held-out images asked for"),
        ({"split": more, "held_out": 139}, "data.held_out: 139 images, but"),
    ):
        with pytest.raises(UserError) as caught:
            split_of(**fields, **asked)
        assert caught.value.messages[0].startswith(expected)


def test_classes_without_a_label_take_no_part_in_the_balance(tmp_path: Path):
    labels_N, names = np.repeat([0, 1, 3], [9, 8, 7]), tuple("abcde")

    def drawn(**fields) -> tuple[list[int], list[int]]:
        split = split_of(0, labels_N, absent_classes="warn", **fields)
        counts = [np.bincount(labels_N[part], minlength=5).tolist() for part in (split.labeled, split.held_out)]
        assert len(split_notes(split, labels_N, names)) == 1
        return counts[0], counts[1]

    assert drawn(labels=6, held_out=3) == ([2, 2, 0, 2, 0], [1, 1, 0, 1, 0])
    assert drawn(labels=None, held_out=6) == ([7, 6, 0, 5, 0], [2, 2, 0, 2, 0])
    own = make_list(tmp_path / "list.txt", np.array([0, 9, 17]))
    assert drawn(split=own, held_out=3) == ([1, 1, 0, 1, 0], [1, 1, 0, 1, 0])
    for fields, expected in (
        ({"labels": 5}, "data.labels: 5 is not the same number for each of the 3 classes; give 3 or 6"),
        ({"labels": 24}, "need 8 of every class, but class d has only 7; give less"),
        (
            {"split": own, "held_out": 21},
            f"but {own} leaves 6 of class d; give less, or an array held_out in the split",
        ),
    ):
        with pytest.raises(UserError) as caught:
            make_split(DataConfig(absent_classes="warn", **fields), labels_N, 5, 0, names=names)
        assert caught.value.messages[0].endswith(expected)
    with pytest.raises(UserError, match="but class c has only 0; give less"):
        make_split(DataConfig(labels=5), labels_N, 5, 0, names=names)


def make_list(path: Path, indices: np.ndarray) -> Path:
    path.write_text("\n".join(map(str, indices)))
    return path


TRACEBACKS: dict[str, tuple[str, bytes, str]] = {
    "a digit that int() does not read": ("s.txt", "0\n1\n²\n".encode(), "names files, but the images"),
    "two signs": ("s.txt", b"0\n--5\n", "names files, but the images"),
    "a number past 64 bits": ("s.txt", b"1" * 30, "names files, but the images"),
    "a number past what int() reads": ("s.txt", b"1" * 5000, "names files, but the images"),
    "a null byte": ("s.txt", b"a\0.png\n", "line 1 of F holds a null byte"),
    "an endless line": ("s.txt", b"1" * 2**21, "line 1 of F has more than 1,048,576 characters"),
    "UTF-16": ("s.csv", "index\n3\n".encode("utf-16"), "F is UTF-16; save it as UTF-8"),
    "a cell that is missing": ("s.csv", b"x,index\n1,2\n1\n", "line 3 of F has nothing in its column index"),
    "a column twice": ("s.csv", b"index,index\n1,2\n", "F has the column index 2 times; keep one"),
    "semicolons": ("s.csv", b"path;label\na;b\n", "separated by semicolons: save it with commas"),
    "a quote that is not closed": ("s.csv", b'index\n"1\n2\n', "line 2 of F cannot be read: unexpected end of data"),
    "a terabyte in a header": (
        "s.npz", npz({"labeled": npy(np.zeros(2, int), shape=(10**12,))}), "F its array labeled says int64"
    ),
    "more indices than images": ("s.npz", npz({"labeled": npy(np.arange(201))}), "has 201 indices; the training"),
    "objects": ("s.npz", npz({"labeled": npy(np.array([{}], object))}), "its array labeled holds Python objects"),
    "records": ("s.npz", npz({"labeled": npy(np.zeros(2, [("a", int)]))}), "its array labeled holds records"),
    "a name twice": ("s.npz", npz({"labeled": npy(np.arange(5))}, ["labeled"]), "holds the array labeled twice"),
    "half of a member": ("s.npz", npz({"labeled": npy(np.arange(5))[:-8]}), "its array labeled says int64 [5]"),
    "one number": ("s.npz", npz({"labeled": npy(np.array(3))}), "is int64 []; a list of integer indices is needed"),
    "past 63 bits": ("s.npz", npz({"labeled": npy(np.array([2**64 - 1], np.uint64))}), "labeled of F holds index -1"),
    "a folder": ("s.npz", b"", "s.npz: a folder, not a regular file"),
}  # fmt: skip
"""What gave a traceback, or was read as something else: a file, its content, and what is said."""


@pytest.mark.parametrize("what", TRACEBACKS)
def test_a_split_that_nobody_meant_is_told_in_one_line(what: str, tmp_path: Path):
    name, content, reason = TRACEBACKS[what]
    file = tmp_path / name
    file.write_bytes(content) if content else file.mkdir()
    lines = errors_of(split=file)
    assert reason.replace("F ", f"{file} ") in lines[0] and lines[0].startswith("data.split: ")
    assert len(lines) == 1 and len(lines[0]) < 500


@INPUTS
@pytest.mark.parametrize("ending", ["npz", "csv", "txt"])
def test_no_content_surprises(ending: str, inputs: int, tmp_path: Path):
    names = st.sampled_from(
        ["0", "-1", "²", "1e9", "a.png", "../a.png", "", "#", "9" * 400, "=1", '"', "\x1b[1m", "\udc80"]
    )
    lines = st.lists(names, max_size=12).map(
        lambda found: "\n".join(["index", *found]).encode("utf-8", "surrogateescape")
    )
    files = npz_files({"labelled": np.array(OF_EACH), "unlabelled": np.arange(200)}) if ending == "npz" else lines
    valid = b"index\n" + b"\n".join(b"%d" % index for index in OF_EACH)
    contents = files if ending == "npz" else st.one_of(files, damaged(valid), odd_files(valid))
    attack(lambda path: split_of(split=path), tmp_path / f"s.{ending}", contents, inputs)
