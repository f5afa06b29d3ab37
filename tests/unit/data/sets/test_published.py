"""Published sets that are not downloaded here: EuroSAT, MedMNIST, Semi-Aves and ImageNet, on tiny copies of their
formats; a file that is missing or damaged is one line that says where to get the set."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from hypothesis import strategies as st
from PIL import Image

from semisonic.data.sets import eurosat, imagenet, medmnist, semi_aves
from semisonic.data.sets.base import DataConfig, DataSet, ImageFiles
from semisonic.data.sets.registry import DATA_SETS, data_problems, load_data_set
from semisonic.data.sets.splits import make_split
from tests.support.data_sets import assert_constants, assert_sound, errors_of
from tests.support.fuzz import INPUTS, attack, damaged, npz_files, odd_files
from tests.support.image_folders import files, write_images


def load(name: str, root: Path, **fields) -> DataSet:
    return load_data_set(DataConfig(name=name, root=root, **{"labels": None} | fields))


def one_line(name: str, root: Path, source: str, **fields) -> str:
    """The one line by which a set is refused, which names where it is from and no address."""
    (line,) = errors_of(name=name, root=root, **{"labels": None} | fields)
    assert line.startswith("data.root: ") and source in line and "://" not in line and "\n" not in line
    return line


# EuroSAT


def write_eurosat(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten pictures of a class and five of another, in the flat color of their number."""
    monkeypatch.setattr(eurosat, "IMAGES", {"AnnualCrop": 10, "River": 5})
    own = dataclasses.replace(DATA_SETS["eurosat"], classes=2, counts=(8, 4))
    monkeypatch.setitem(DATA_SETS._entries, "eurosat", own)
    for name, count in eurosat.IMAGES.items():
        (folder / name).mkdir(parents=True)
        for i in range(1, count + 1):
            Image.new("RGB", (64, 64), (10 * i, 100, 200)).save(folder / name / f"{name}_{i}.jpg", quality=95)


@pytest.mark.parametrize("below", ["", "2750", "EuroSAT_RGB"])
def test_eurosat_has_usbs_split_by_the_names(tmp_path: Path, monkeypatch, below: str):
    write_eurosat(tmp_path / below, monkeypatch)
    data = load("eurosat", tmp_path)
    assert_sound(data)
    assert_constants(data)
    assert (data.classes, data.size, data.pad, data.flip) == (("AnnualCrop", "River"), 64, 8, True)
    assert np.bincount(data.train.labels).tolist() == [8, 4] and np.bincount(data.test.labels).tolist() == [2, 1]
    # By their names as text: 1, 10, 2, ... 9, of which the last fifth is the test.
    reds = [round(float(pixels[..., 0].mean()) / 10) for pixels in data.train.pixels[:8]]
    assert reds == [1, 10, 2, 3, 4, 5, 6, 7]
    small = load("eurosat", tmp_path, size=32, pad=4)
    assert small.train.pixels.shape[1:] == (32, 32, 3) and small.pad == 4
    assert np.abs(small.train.pixels[:, 7, 7].astype(int) - data.train.pixels[:, 14, 14]).max() <= 1


def test_eurosat_has_the_published_counts():
    assert sum(eurosat.IMAGES.values()) == 27_000 and sum(eurosat.COUNTS) == 21_600
    assert [eurosat.training_images(n) for n in (3000, 2500, 2000)] == [2400, 2000, 1600]


def test_eurosat_without_a_file_or_with_a_damaged_one(tmp_path: Path, monkeypatch):
    source = "the publisher's page (EuroSAT RGB"
    assert "misses AnnualCrop, Forest, HerbaceousVegetation and 7 more in" in one_line("eurosat", tmp_path, source)
    write_eurosat(tmp_path, monkeypatch)
    assert "download does not fetch this set" not in one_line("eurosat", tmp_path / "none", source)
    assert "data.download does not fetch this set" in one_line("eurosat", tmp_path / "none", source, download=True)
    (tmp_path / "River/River_3.jpg").unlink()
    assert f"eurosat misses River/River_3.jpg in {tmp_path};" in one_line("eurosat", tmp_path, source)
    (tmp_path / "River/River_3.jpg").write_bytes(b"")
    (tmp_path / "River/River_4.jpg").write_bytes((tmp_path / "River/River_4.jpg").read_bytes()[:200])
    line = one_line("eurosat", tmp_path, source)
    assert "River_3.jpg of eurosat (and 1 more): cannot identify image file" in line


# MedMNIST


def med(name: str, images: int = 16, side: int = 28, **arrays) -> dict[str, np.ndarray]:
    rng, classes = np.random.default_rng(0), len(medmnist.MED[name].classes)
    made: dict[str, np.ndarray] = {}
    for part, count in (("train", images), ("val", 3), ("test", 5)):
        made[f"{part}_images"] = rng.integers(0, 256, (count, side, side), dtype=np.uint8)
        made[f"{part}_labels"] = (np.arange(count, dtype=np.uint8) % classes)[:, None]
    return made | arrays


def test_medmnist_gray_becomes_rgb(tmp_path: Path):
    arrays = med("tissuemnist")
    np.savez_compressed(tmp_path / "tissuemnist.npz", **arrays)
    for root in (tmp_path, tmp_path / "tissuemnist.npz"):
        data = load("tissuemnist", root)
        assert_sound(data)
        assert_constants(data)
        assert (len(data.train), len(data.test), data.size, data.classes[4]) == (16, 5, 28, "Leukocytes")
        for channel in range(3):
            assert np.array_equal(data.train.pixels[..., channel], arrays["train_images"])
        assert data.train.labels.tolist() == [*range(8), *range(8)]
        assert data.notes[-1] == "tissuemnist: its 3 validation images are not used"
    larger = load("tissuemnist", tmp_path, size=32)
    assert_sound(larger)
    assert larger.notes[0] == "tissuemnist: read from tissuemnist.npz, 28 pixels brought to 32"


def test_medmnist_reads_the_variant_nearest_to_the_size(tmp_path: Path):
    for side in (28, 64, 128):
        colors = np.zeros((2, side, side, 3), np.uint8) + np.array([side, 2, 3], np.uint8)
        colors[1] += 50
        arrays = med("breastmnist", side=side, train_images=colors, train_labels=np.array([0, 1]))
        np.savez(tmp_path / ("breastmnist.npz" if side == 28 else f"breastmnist_{side}.npz"), **arrays)
    for size, side in ((28, 28), (32, 28), (64, 64), (96, 64), (100, 128), (224, 128)):
        data = load("breastmnist", tmp_path, size=size)
        assert data.train.pixels.shape[1:] == (size, size, 3)
        assert (data.train.pixels[0] == [side, 2, 3]).all() and (data.train.pixels[1] == [side + 50, 52, 53]).all()


def test_medmnist_without_a_sound_file(tmp_path: Path):
    source = "the publisher's page (MedMNIST v2)"
    file = tmp_path / "bloodmnist.npz"
    assert f"bloodmnist misses bloodmnist.npz in {tmp_path};" in one_line("bloodmnist", tmp_path, source)
    assert one_line("bloodmnist", file, source) == one_line("bloodmnist", tmp_path, source)
    file.write_bytes(b"PK, but no archive")
    assert f"cannot use {file} of bloodmnist: is no .npz, or damaged" in one_line("bloodmnist", tmp_path, source)
    np.savez(file, **med("bloodmnist"))
    file.write_bytes(file.read_bytes()[:9000])
    assert "is no .npz, or damaged" in one_line("bloodmnist", tmp_path, source)


@pytest.mark.parametrize(
    ("arrays", "expected"),
    [
        ({"train_labels": np.zeros((16, 14), np.uint8)}, "has 14 labels an image (train_labels); one is needed"),
        ({"train_labels": np.full((16, 1), 8, np.uint8)}, "holds 8; labels are 0 to 7"),
        ({"test_labels": np.zeros(4, np.uint8)}, "array test_labels is uint8 [4]; a number for each of 5 images"),
        ({"train_labels": np.zeros(16)}, "array train_labels is float64 [16]"),
        ({"train_images": np.zeros((16, 28, 28), np.int16)}, "array train_images is int16 [16, 28, 28]"),
        ({"train_images": np.zeros((16, 28, 28, 28), np.uint8)}, "is uint8 [16, 28, 28, 28]"),
        ({"test_images": np.zeros((5, 28, 20), np.uint8)}, "square images are needed"),
        ({"train_images": np.array([{}] * 16, object)}, "holds Python objects, which are not loaded"),
    ],
)
def test_medmnist_arrays_that_do_not_fit(tmp_path: Path, arrays, expected):
    np.savez(tmp_path / "tissuemnist.npz", **med("tissuemnist", **arrays))
    assert expected in one_line("tissuemnist", tmp_path, "the publisher's page (MedMNIST v2)")


def test_images_that_are_the_same_everywhere(tmp_path: Path):
    np.savez(tmp_path / "tissuemnist.npz", **med("tissuemnist", train_images=np.full((16, 28, 28), 7, np.uint8)))
    assert errors_of(name="tissuemnist", root=tmp_path, labels=None) == [
        "data.root: the training images of tissuemnist are the same everywhere; get the set again"
    ]


def test_more_images_than_the_memory_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def refused(*_: object) -> np.ndarray:
        raise MemoryError

    np.savez(tmp_path / "tissuemnist.npz", **med("tissuemnist"))
    write_eurosat(tmp_path / "eurosat", monkeypatch)
    monkeypatch.setattr(np, "empty", refused)
    for name, root in (("tissuemnist", tmp_path), ("eurosat", tmp_path / "eurosat")):
        (line,) = errors_of(name=name, root=root, labels=None, size=4096)
        assert line.startswith(f"data.size: all images of {name} at 4096 px are more than this machine's memory holds")


def test_medmnist_without_an_array(tmp_path: Path):
    arrays = med("tissuemnist")
    del arrays["test_images"]
    np.savez(tmp_path / "tissuemnist.npz", **arrays)
    assert "has no array test_images" in one_line("tissuemnist", tmp_path, "MedMNIST")


@pytest.mark.parametrize(("name", "reason"), [("chestmnist", "14 labels"), ("organmnist3d", "volumes")])
def test_sets_of_the_collection_that_are_none_for_a_classifier(name: str, reason: str):
    (line,) = data_problems(DataConfig(name=name))
    assert line.startswith(f"data.name: {name} is not read: ") and reason in line and "tissuemnist" in line


@INPUTS
def test_no_archive_surprises(tmp_path: Path, inputs: int):
    file = tmp_path / "tissuemnist.npz"
    attack(lambda path: load("tissuemnist", path), file, npz_files(med("tissuemnist")), inputs, named="tissuemnist")


# Semi-Aves


def write_aves(root: Path, lists: Path) -> None:
    lists.mkdir(parents=True, exist_ok=True)
    lines: dict[str, list[str]] = {"l_train": [], "u_train_in": [], "u_train_out": [], "test": []}
    for name in lines:
        for i in range(4):
            folder = f"trainval_images/{i % 3}" if name == "l_train" else name
            write_images(root / folder, f"{i}.jpg")
            lines[name].append(f"{folder}/{i}.jpg {-1 if name[0] == 'u' else (i % 3) * 99}")
        (lists / f"{name}.txt").write_text("\n".join(lines[name]) + "\n")


@pytest.mark.parametrize("lists", ["", "semi_aves"])
def test_semi_aves_by_the_competitions_lists(tmp_path: Path, lists: str):
    write_aves(tmp_path, tmp_path / lists)
    data = load("semi-aves", tmp_path)
    assert (data.size, len(data.classes), data.classes[198]) == (224, 200, "198")
    assert files(data.train)[:4] == [(f"trainval_images/{i % 3}/{i}.jpg", (i % 3) * 99) for i in range(4)]
    assert files(data.train)[4:] == [(f"u_train_in/{i}.jpg", -1) for i in range(4)]
    assert [label for _, label in files(data.test)] == [0, 99, 198, 0]
    assert len(load("semi-aves-out", tmp_path).train) == 12
    assert load("semi-aves", tmp_path, size=96).size == 96


def test_semi_aves_without_a_list_or_an_image(tmp_path: Path):
    source = "the competition's page"
    write_aves(tmp_path, tmp_path)
    (tmp_path / "u_train_in/2.jpg").unlink()
    assert "u_train_in/2.jpg of semi-aves: No such file" in one_line("semi-aves", tmp_path, source)
    (tmp_path / "u_train_in.txt").unlink()
    assert f"semi-aves misses u_train_in.txt in {tmp_path}" in one_line("semi-aves", tmp_path, source)


@pytest.mark.parametrize(
    "line", ["test/0.jpg", "test/0.jpg 200", "test/0.jpg -1", "/etc/passwd 0", "../../x.jpg 3", "test/0.jpg 1e3"]
)
def test_semi_aves_lines_that_are_none(tmp_path: Path, line: str):
    write_aves(tmp_path, tmp_path)
    (tmp_path / "test.txt").write_text(f"test/1.jpg 3\n\n{line}\n")
    found = one_line("semi-aves", tmp_path, "the competition's page")
    assert found.startswith(f"data.root: line 3 of {tmp_path / 'test.txt'} is {line}; a path and a label of 0 to 199")


def test_semi_aves_with_an_image_in_two_of_its_lists(tmp_path: Path):
    write_aves(tmp_path, tmp_path)
    with (tmp_path / "test.txt").open("a") as lines:
        lines.write("trainval_images/1/1.jpg 3\n")
    assert "label trainval_images/1/1.jpg twice" in one_line("semi-aves", tmp_path, "the competition's page")


@INPUTS
def test_no_list_surprises(tmp_path: Path, inputs: int):
    write_aves(tmp_path, tmp_path)
    valid = (tmp_path / "l_train.txt").read_bytes()
    contents = st.one_of(damaged(valid), odd_files(valid))
    attack(lambda path: load("semi-aves", path.parent), tmp_path / "l_train.txt", contents, inputs, named=str(tmp_path))


# ImageNet


def write_imagenet(root: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    names = ["n01440764", "n01443537", "n01484850"]
    monkeypatch.setattr(imagenet, "CLASSES", len(names))
    monkeypatch.setitem(DATA_SETS._entries, "imagenet", dataclasses.replace(DATA_SETS["imagenet"], classes=len(names)))
    for name in names:
        write_images(root / "train" / name, [f"{name}_{i}.JPEG" for i in range(4)])
        write_images(root / "val" / name, f"ILSVRC2012_val_{name[-3:]}.JPEG")
    return names


def test_imagenet_and_the_lists_of_its_papers(tmp_path: Path, monkeypatch):
    names = write_imagenet(tmp_path, monkeypatch)
    data = load("imagenet", tmp_path)
    assert (data.size, data.classes, len(data.train), len(data.test)) == (224, tuple(names), 12, 3)
    assert isinstance(data.train, ImageFiles) and data.train.labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    wanted = [f"{name}_2.JPEG" for name in names]
    for form in ("{1}", "{0}/{1}", "train/{0}/{1}", f"{tmp_path}/train/{{0}}/{{1}}"):
        listed = tmp_path / "1percent.txt"
        listed.write_text("".join(form.format(file.partition("_")[0], file) + "\n" for file in wanted))
        cfg = DataConfig(name="imagenet", root=tmp_path, split=listed, labels=None)
        split = make_split(cfg, data.train.labels, 3, 0, data.train.paths)
        assert [data.train.paths[i].rpartition("/")[2] for i in split.labeled] == wanted, form


def test_a_name_that_several_images_have_is_none(tmp_path: Path):
    (tmp_path / "s.txt").write_text("1.png\n")
    cfg = DataConfig(name="folder", root=tmp_path, size=8, split=tmp_path / "s.txt", labels=None)
    with pytest.raises(Exception, match=r"not among the training images: 1\.png; .* ends of paths that one image has"):
        make_split(cfg, np.array([0, 1]), 2, 0, ["a/1.png", "b/1.png"])


def test_imagenet_that_is_not_whole(tmp_path: Path, monkeypatch):
    source = "the publisher's page (ImageNet, ILSVRC 2012)"
    assert f"imagenet misses train/, val/ in {tmp_path};" in one_line("imagenet", tmp_path, source)
    names = write_imagenet(tmp_path, monkeypatch)
    (tmp_path / "train" / names[1] / f"{names[1]}_3.JPEG").write_bytes(b"\xff\xd8 cut")
    assert f"{names[1]}_3.JPEG of imagenet: " in one_line("imagenet", tmp_path, source)
    (tmp_path / "val" / names[2]).rename(tmp_path / "val/n99")
    assert "other classes in train/ than in val/" in one_line("imagenet", tmp_path, source)
    monkeypatch.setattr(imagenet, "CLASSES", 1000)
    lines = errors_of(name="imagenet", root=tmp_path, labels=None, pad=4)
    assert [line.partition(":")[0] for line in lines] == ["data.pad", "data.root", "data.root"]
    assert f"{tmp_path / 'train'} holds 3 class folders, ImageNet has 1,000" in lines[1]


def test_imagenet_whose_validation_images_are_not_sorted(tmp_path: Path, monkeypatch):
    write_imagenet(tmp_path, monkeypatch)
    write_images(tmp_path / "flat/train/n1", "1.JPEG")
    write_images(tmp_path / "flat/val", "ILSVRC2012_val_00000001.JPEG")
    lines = errors_of(name="imagenet", root=tmp_path / "flat", labels=None)
    assert "holds images, but no class folders; sort them into a folder a class" in lines[-1]


def test_sets_of_files_keep_their_own_crop(tmp_path: Path):
    """Files are cropped by their area, sets in memory by a margin."""
    (line,) = [p for p in data_problems(DataConfig(name="eurosat", labels=20, crop_area=0.5)) if "crop_area" in p]
    assert line.startswith("data.crop_area: is for image files")
    assert not any("crop_area" in p for p in data_problems(DataConfig(name="imagenet", labels=None, crop_area=0.5)))
    assert semi_aves.CLASSES == DATA_SETS["semi-aves"].classes == 200
