"""Your own images as a data set: the share for the test, files that cannot be decoded, odd names."""

import os
import shutil
import struct
from pathlib import Path

import numpy as np

from tests.support.image_folders import encoded, errors_of, files, load_it, write_all, write_images


def test_bare_tree_keeps_a_fixed_share_for_the_test(tmp_path: Path):
    for name in ("a", "b"):
        write_images(tmp_path / name, [f"{i}.bmp" for i in range(10)])
    write_images(tmp_path / "unlabeled", "u.png")
    data = load_it(tmp_path)
    assert np.bincount(data.test.labels).tolist() == [2, 2]
    assert np.bincount(data.train.labels + 1).tolist() == [1, 8, 8]
    assert not set(data.test.paths) & set(data.train.paths)
    assert "4 of the labeled images, 20% of every class, are the test set" in data.notes[0]
    assert load_it(tmp_path, split_seed=7).test.paths == data.test.paths
    # One more image changes at most the places it takes itself.
    write_images(tmp_path / "a", "new.bmp")
    assert set(load_it(tmp_path).test.paths) - {"a/new.bmp"} <= set(data.test.paths)
    assert np.bincount(load_it(tmp_path, test_fraction=0.5).test.labels).tolist() == [6, 5]


def test_without_a_test_all_labeled_images_are_for_training(tmp_path: Path):
    for name in ("a", "b"):
        write_images(tmp_path / name, "1.bmp 2.bmp")
    data = load_it(tmp_path, test="none")
    assert data.test is None and not data.held_back and len(data.train) == 4 and data.notes == ()
    write_images(tmp_path / "test/a", "3.bmp")
    assert len(load_it(tmp_path).test) == 1 and load_it(tmp_path, test="none").fingerprint == data.fingerprint
    assert errors_of(tmp_path, test="none", test_root=tmp_path / "test") == [
        "data.test: none, but data.test_root names test images; leave one of the two out"
    ]
    os.remove(tmp_path / "a/1.bmp")
    shutil.rmtree(tmp_path / "test")
    (line,) = errors_of(tmp_path)
    assert line.endswith("give test images, or do without with data.test=none")


def test_test_images_elsewhere(tmp_path: Path):
    write_images(tmp_path / "data/a", "1.png")
    write_images(tmp_path / "data/b", "1.png")
    write_images(tmp_path / "data/test/a", "not-used.png")
    write_images(tmp_path / "elsewhere/b", "2.png")
    data = load_it(tmp_path / "data", test_root=tmp_path / "elsewhere")
    assert files(data.test) == [(str(tmp_path / "elsewhere/b/2.png"), 1)]
    assert data.test.read(0).tobytes() == (tmp_path / "elsewhere/b/2.png").read_bytes()
    assert len(data.train) == 2
    assert data.notes == (f"not used in {tmp_path / 'data'}: test/",)


def test_listed_classes_keep_their_numbers(tmp_path: Path):
    for name in ("cat", "dog", "fox"):
        write_images(tmp_path / "train" / name, "1.png")
    write_images(tmp_path / "test/dog", "1.png")
    data = load_it(tmp_path, classes=("fox", "cat", "dog"))
    assert data.classes == ("fox", "cat", "dog")
    assert [path for path, _ in files(data.train)] == [f"train/{name}/1.png" for name in ("cat", "dog", "fox")]
    assert [label for _, label in files(data.train)] == [1, 2, 0] and files(data.test) == [("test/dog/1.png", 2)]
    assert errors_of(tmp_path, classes=("cat", "wolf", "dog")) == [
        f"data.classes: {tmp_path} has labeled images of classes that are not listed: fox; list them too, or take them out",
        f"data.classes: {tmp_path} has no labeled images of wolf; every class that is listed needs some; "
        "--data.absent_classes warn goes on without; in a new run, --data.classes none takes those that are there",
    ]
    assert errors_of(tmp_path, classes=("cat", "dog", "cat")) == [
        "data.classes: cat more than once; every class needs a name of its own"
    ]
    assert errors_of(tmp_path, classes=("cat",)) == ["data.classes: cat alone; at least 2 classes are needed"]


def test_a_listed_class_may_have_no_labeled_image_yet(tmp_path: Path):
    for name in ("cat", "dog"):
        write_images(tmp_path / name, "1.png 2.png")
    write_images(tmp_path / "test/wolf", "1.png")
    fields = {"classes": ("wolf", "dog", "cat"), "absent_classes": "warn"}
    data = load_it(tmp_path, **fields)
    assert data.classes == fields["classes"] and data.train.labels.tolist() == [2, 2, 1, 1]
    assert files(data.test) == [("test/wolf/1.png", 0)]
    assert len(load_it(tmp_path, **fields, test="none").train) == 4
    shutil.rmtree(tmp_path / "test")
    assert load_it(tmp_path, **fields).test.labels.tolist() == [2, 1]  # of each class that there is
    assert errors_of(tmp_path, **(fields | {"classes": ("cat", "wolf")}))[0].startswith("data.classes: ")
    shutil.rmtree(tmp_path / "cat")
    assert errors_of(tmp_path, **fields) == [
        f"data.root: {tmp_path} has only the class dog of labeled images; at least 2 are needed"
    ]


def broken() -> dict[str, tuple[bytes, str]]:
    jpeg, png = encoded("RGB", "JPEG"), encoded("RGB", "PNG")
    checksum = bytearray(png)
    at = png.index(b"IDAT")
    checksum[at + 4 + struct.unpack(">I", png[at - 4 : at])[0]] ^= 255
    return {
        "empty.jpg": (b"", "empty file"),
        "text.jpg": (b"404 not found", "not an image"),
        "half.jpg": (jpeg[: len(jpeg) // 2], "runcated"),
        "end.jpg": (jpeg[:-2], "truncated"),
        "half.png": (png[: len(png) // 2], "runcated"),
        "no-end.png": (png[:-12], ""),
        "checksum.png": (bytes(checksum), "checksum"),
        "float.tif": (encoded("F", "TIFF"), "of mode F"),
    }


def test_bad_files_are_reported_together(tmp_path: Path):
    write_all(tmp_path, {name: data for name, (data, _) in broken().items()})
    first, *lines = errors_of(tmp_path)
    assert first.startswith(
        "data.bad_files: 8 of 11 images cannot be decoded; repair or remove them, or set data.bad_f"
    )
    found = {line.split(": ")[1].rsplit("/", 1)[1]: line.split(": ", 2)[2] for line in lines}
    assert found.keys() == broken().keys()
    for name, (_, reason) in broken().items():
        assert reason in found[name], name
    assert not any("\n" in line for line in lines)


def test_only_the_first_twenty_are_listed(tmp_path: Path):
    write_all(tmp_path, {f"{i:02}.png": b"x" for i in range(25)})
    lines = errors_of(tmp_path)
    assert len(lines) == 22
    assert lines[-1] == "data.root: 5 more files cannot be decoded"


def test_bad_files_can_be_left_out(tmp_path: Path):
    write_all(tmp_path, {name: data for name, (data, _) in broken().items()})
    data = load_it(tmp_path, bad_files="skip")
    assert files(data.train) == [("train/a/1.png", 0), ("train/b/1.png", 1)]
    assert data.train.shapes.shape == (2, 2)
    assert data.notes[0].startswith("8 of 11 images cannot be decoded and are left out, such as train/b/")
    (tmp_path / "test/a/1.png").write_bytes(b"")
    assert "is left to train or to test on" in errors_of(tmp_path, bad_files="skip")[0]


def test_a_class_needs_a_name_that_a_configuration_can_hold(tmp_path: Path):
    """A run began with such a class, trained to its end, and could not be continued."""
    for folder in (b"a", b"caf\xe9"):
        os.makedirs(os.path.join(os.fsencode(tmp_path), b"train", folder))
        with open(os.path.join(os.fsencode(tmp_path), b"train", folder, b"1.png"), "wb") as file:
            file.write(encoded("RGB", "PNG"))
    (problem,) = errors_of(tmp_path)
    assert problem.endswith("has classes whose names are not UTF-8: 'caf\\udce9'; rename them")


def test_odd_names_survive(tmp_path: Path, decoded: list[str]):
    write_images(tmp_path / "train/a b,ü", ["x\n.png", "ü.png"])
    with open(os.fsencode(tmp_path / "train/a b,ü") + b"/\xff.png", "wb") as file:  # not UTF-8
        file.write(encoded("RGB", "PNG"))
    write_images(tmp_path / "train/c", "1.png 2.png")
    assert len(load_it(tmp_path).train) == 3
    decoded.clear()
    assert load_it(tmp_path).train.read(0).size > 0
    assert decoded == []
