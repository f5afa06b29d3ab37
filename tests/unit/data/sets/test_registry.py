"""Data sets by name: the real ones that every machine has, and tiny copies of the published formats."""

import gzip
import hashlib
import pickle
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from semisonic.data.sets import digits, torchvision_sets
from semisonic.data.sets.base import DataConfig, DataSet, Images
from semisonic.data.sets.idx import FILES, read_idx
from semisonic.data.sets.registry import data_problems, data_sets, load_data_set
from semisonic.schema import UserError

FASHION = Path("/usr/share/datasets/fashion-mnist")
PINNED_TEST_LABELS = "141a7578b66b071290241c893de891bdd3c2a233c6b6c24d09d580f021502e31"


def errors_of(**fields) -> list[str]:
    with pytest.raises(UserError) as caught:
        load_data_set(DataConfig(**fields))
    return caught.value.messages


def assert_sound(data: DataSet) -> None:
    for part in (data.train, data.test):
        assert isinstance(part, Images)
        assert part.pixels.dtype == np.uint8
        assert part.pixels.shape == (len(part), data.size, data.size, 3)
        assert part.pixels.flags.c_contiguous
        assert part.labels.dtype == np.int64
        assert part.labels.min() >= -1
        assert part.labels.max() < len(data.classes)


def assert_constants(data: DataSet) -> None:
    values = np.arange(256) / 255
    for channel in range(3):
        counts = np.bincount(data.train.pixels[..., channel].ravel(), minlength=256)
        mean, square = counts @ values / counts.sum(), counts @ values**2 / counts.sum()
        assert data.mean[channel] == pytest.approx(mean, abs=6e-5)
        assert data.std[channel] == pytest.approx((square - mean**2) ** 0.5, abs=6e-5)


# digits


def test_digits():
    data = load_data_set(DataConfig())
    assert_sound(data)
    assert_constants(data)
    assert (data.size, data.flip, data.pad, len(data.train), len(data.test)) == (16, False, 2, 1397, 400)
    assert np.bincount(data.test.labels).tolist() == [40] * 10
    assert np.bincount(data.train.labels).tolist() == list(digits.COUNTS)
    assert (data.train.pixels[..., 0] == data.train.pixels[..., 2]).all()
    assert data.train.pixels.max() > 250  # the scale is 0..255, not the original 0..16


def test_digits_keep_the_same_test_images_whatever_the_seed():
    once = load_data_set(DataConfig())
    again = load_data_set(DataConfig(split_seed=5, labels=100))
    assert np.array_equal(once.test.pixels, again.test.pixels)
    digest = hashlib.sha256(once.test.labels.tobytes()).hexdigest()
    assert digest == PINNED_TEST_LABELS


def test_no_test_image_of_digits_is_in_its_training_pool():
    data = load_data_set(DataConfig())
    train = {image.tobytes() for image in data.train.pixels}
    assert not any(image.tobytes() in train for image in data.test.pixels)


# IDX


def idx_bytes(array: np.ndarray) -> bytes:
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


def write_mnist(folder: Path, gzipped: bool = False, images: int = 20) -> dict[str, np.ndarray]:
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    arrays = {}
    for role, name in FILES.items():
        shape = (images, 28, 28) if "images" in role else (images,)
        arrays[role] = rng.integers(0, 255 if "images" in role else 10, shape, dtype=np.uint8)
        data = idx_bytes(arrays[role])
        (folder / (name + ".gz" if gzipped else name)).write_bytes(gzip.compress(data) if gzipped else data)
    return arrays


@pytest.mark.parametrize("gzipped", [False, True])
@pytest.mark.parametrize("inside", ["", "MNIST/raw"])
def test_mnist_from_idx_files(tmp_path: Path, gzipped: bool, inside: str):
    arrays = write_mnist(tmp_path / inside, gzipped)
    data = load_data_set(DataConfig(name="mnist", root=tmp_path))
    assert_sound(data)
    assert (data.size, data.flip, data.pad) == (32, False, 4)
    assert np.array_equal(data.train.pixels[:, 2:30, 2:30, 1], arrays["train images"])
    assert data.train.pixels.sum() == 3 * arrays["train images"].sum(dtype=np.int64)
    assert np.array_equal(data.test.labels, arrays["test labels"])


def test_mnist_constants_follow_from_the_well_known_ones():
    share = 28**2 / 32**2  # zero padding scales the first two moments
    mean, square = 0.13066 * share, (0.30811**2 + 0.13066**2) * share
    known = torchvision_sets.KNOWN["mnist"]
    assert known.mean[0] == pytest.approx(mean, abs=6e-5)
    assert known.std[0] == pytest.approx((square - mean**2) ** 0.5, abs=6e-5)


@pytest.mark.skipif(not FASHION.is_dir(), reason="needs Debian's package dataset-fashion-mnist")
def test_fashion_mnist():
    data = load_data_set(DataConfig(name="fashion-mnist", root=FASHION))
    assert_sound(data)
    assert_constants(data)
    assert (len(data.train), len(data.test), data.size, data.flip) == (60_000, 10_000, 32, True)
    assert data.classes[9] == "Ankle boot"
    assert np.bincount(data.train.labels).tolist() == [6000] * 10


def test_damaged_idx_files_are_named(tmp_path: Path):
    good = idx_bytes(np.zeros((3, 28, 28), np.uint8))
    cases = {
        good[:-1]: "truncated or damaged: 2351 bytes of data, 2352 expected for 3x28x28",
        good + b"x": "truncated or damaged",
        good[:10]: "truncated or damaged",
        b"": "not an IDX file",
        b"<html>": "not an IDX file",
        b"\0\0\x0d\x03" + good[4:]: "holds type 0x0d in 3 dimensions",
        idx_bytes(np.zeros(3, np.uint8)): "holds type 0x08 in 1 dimensions",
        gzip.compress(good)[:-20]: "cannot read",
        b"\x1f\x8b" + bytes(40): "cannot read",
    }
    for data, expected in cases.items():
        file = tmp_path / "train-images-idx3-ubyte"
        file.write_bytes(data)
        with pytest.raises(UserError) as caught:
            read_idx(file, 3)
        assert caught.value.messages[0].startswith("data.root: ")
        assert expected in caught.value.messages[0]
        assert str(file) in caught.value.messages[0]


def test_idx_files_that_do_not_fit_each_other(tmp_path: Path):
    write_mnist(tmp_path)
    labels = tmp_path / FILES["train labels"]
    labels.write_bytes(idx_bytes(np.zeros(19, np.uint8)))
    assert "holds 20 images" in errors_of(name="mnist", root=tmp_path)[0]
    labels.write_bytes(idx_bytes(np.full(20, 10, np.uint8)))
    assert "holds label 10" in errors_of(name="mnist", root=tmp_path)[0]
    (tmp_path / FILES["test images"]).write_bytes(idx_bytes(np.zeros((20, 16, 16), np.uint8)))
    labels.write_bytes(idx_bytes(np.zeros(20, np.uint8)))
    assert "holds images of 16x16, not 28x28" in errors_of(name="mnist", root=tmp_path)[0]


# CIFAR, SVHN, STL-10: tiny files in the real formats, with torchvision's checksums replaced by theirs


def md5(file: Path) -> str:
    return hashlib.md5(file.read_bytes(), usedforsecurity=False).hexdigest()


def test_cifar10(tmp_path: Path, monkeypatch):
    from torchvision.datasets import CIFAR10

    folder, rng = tmp_path / "cifar-10-batches-py", np.random.default_rng(0)
    folder.mkdir()
    sums, planes = {}, {}
    for name in torchvision_sets.KNOWN["cifar10"].files:
        planes[name] = rng.integers(0, 256, (10, 3 * 32 * 32), dtype=np.uint8)
        entry = {"data": planes[name], "labels": list(range(10)), "label_names": [f"c{i}" for i in range(10)]}
        (folder / name).write_bytes(pickle.dumps(entry))
        sums[name] = md5(folder / name)
    monkeypatch.setattr(CIFAR10, "train_list", [[n, s] for n, s in sums.items() if n.startswith("data")])
    monkeypatch.setattr(CIFAR10, "test_list", [["test_batch", sums["test_batch"]]])
    monkeypatch.setattr(CIFAR10, "meta", CIFAR10.meta | {"md5": sums["batches.meta"]})
    for root in (tmp_path, folder):
        data = load_data_set(DataConfig(name="cifar10", root=root))
        assert_sound(data)
        assert (len(data.train), len(data.test), data.size, data.flip, data.pad) == (50, 10, 32, True, 4)
        assert data.classes[3] == "c3"
        red_green_blue = planes["data_batch_2"].reshape(10, 3, 32, 32)[4, :, 5, 6]
        assert data.train.pixels[14, 5, 6].tolist() == red_green_blue.tolist()
    (folder / "test_batch").write_bytes(b"damaged")
    (line,) = errors_of(name="cifar10", root=tmp_path)
    assert line.startswith("data.root: cannot read cifar10 in ")
    assert "data.download=true" in line


def test_svhn_with_and_without_extra(tmp_path: Path, monkeypatch):
    from scipy.io import savemat
    from torchvision.datasets import SVHN

    rng, arrays, entries = np.random.default_rng(0), {}, {}
    for part, images in {"train": 10, "extra": 20, "test": 5}.items():
        arrays[part] = rng.integers(0, 256, (32, 32, 3, images), dtype=np.uint8)
        file = tmp_path / f"{part}_32x32.mat"
        savemat(file, {"X": arrays[part], "y": (np.arange(images) % 10 + 1)[:, None]})
        entries[part] = ["", file.name, md5(file)]
    monkeypatch.setattr(SVHN, "split_list", entries)
    data = load_data_set(DataConfig(name="svhn", root=tmp_path))
    assert_sound(data)
    assert (len(data.train), len(data.test), data.flip) == (30, 5, False)
    assert np.array_equal(data.train.pixels[12], arrays["extra"][..., 2])
    assert data.train.labels[:10].tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9, 0]  # 10 stands for the digit 0
    (tmp_path / "extra_32x32.mat").unlink()
    assert len(load_data_set(DataConfig(name="svhn", root=tmp_path, svhn_extra=False)).train) == 10
    assert "extra_32x32.mat" in data_problems(DataConfig(name="svhn", root=tmp_path))[0]


def test_stl10_pool_holds_the_unlabeled_images(tmp_path: Path, monkeypatch):
    from torchvision.datasets import STL10

    folder, rng = tmp_path / "stl10_binary", np.random.default_rng(0)
    folder.mkdir()
    images = {"train": 10, "unlabeled": 7, "test": 10}
    columns = {part: rng.integers(0, 256, (n, 3, 96, 96), dtype=np.uint8) for part, n in images.items()}
    for part in images:
        (folder / f"{part}_X.bin").write_bytes(columns[part].tobytes())
        if part != "unlabeled":
            (folder / f"{part}_y.bin").write_bytes(np.arange(1, 11, dtype=np.uint8).tobytes())
    sums = [[f.name, md5(f)] for f in sorted(folder.iterdir())]
    known = {name: [name, digest] for name, digest in sums}
    monkeypatch.setattr(STL10, "train_list", [known[n] for n in ("train_X.bin", "train_y.bin", "unlabeled_X.bin")])
    monkeypatch.setattr(STL10, "test_list", [known[n] for n in ("test_X.bin", "test_y.bin")])
    data = load_data_set(DataConfig(name="stl10", root=tmp_path))
    assert_sound(data)
    assert (len(data.train), data.size, data.pad) == (17, 96, 12)
    assert data.train.labels.tolist() == [*range(10), *[-1] * 7]
    # The files store columns first.
    assert data.train.pixels[12, 5, 80].tolist() == columns["unlabeled"][2, :, 80, 5].tolist()


@pytest.mark.parametrize("name", [n for n in data_sets() if n not in ("digits", "folder")])
def test_absent_files_give_one_line(tmp_path: Path, name: str):
    known = torchvision_sets.KNOWN[name]
    labels = 4 * known.classes
    (line,) = data_problems(DataConfig(name=name, root=tmp_path, labels=labels))
    assert line.startswith(f"data.root: {name} misses ")
    assert str(tmp_path) in line
    assert "data.download=true" in line
    assert all(file in line for file in known.files or FILES.values())
    assert errors_of(name=name, root=tmp_path, labels=labels) == [line]
    assert data_problems(DataConfig(name=name, root=tmp_path, labels=labels, download=True)) == []
    assert not list(tmp_path.iterdir())


def test_a_failed_download_is_one_line(tmp_path: Path, monkeypatch):
    from torchvision import datasets

    def unreachable(*args, **options):
        raise OSError("Name or service not known\n(second line)")

    monkeypatch.setattr(datasets, "CIFAR10", unreachable)
    (line,) = errors_of(name="cifar10", root=tmp_path / "new", download=True)
    assert line.startswith("data.download: cannot fetch or read cifar10 in ")
    assert "\n" not in line


def test_default_root_is_in_the_cache(monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "/some/cache")
    assert torchvision_sets.root_of(DataConfig(name="svhn")) == Path("/some/cache/semisonic/data/svhn")


# the configuration


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"name": "cifar"}, "data.name: there is no data set 'cifar'; valid: digits, mnist,"),
        ({"size": 32}, "data.size: the images of digits are 16 pixels wide, not 32"),
        ({"pad": 16}, "data.pad: a margin of 16"),
        ({"csv": "a.csv"}, "data.csv: only for data.name=folder"),
        ({"split": "none.npz"}, "data.split: no such file"),
        ({"labels": 0}, "data.labels: 0 labeled images"),
        ({"labels": 45}, "data.labels: 45 is not the same number"),
        ({"labels": 1400}, "data.labels: 1400 labeled and 0 held-out images asked for"),
        ({"labels": 1350}, "need 135 of every class, but class 8 has only 134"),
    ],
)
def test_mistakes_in_the_configuration(fields, expected):
    (line,) = data_problems(DataConfig(**fields))
    assert line.startswith(expected) or expected in line


def test_all_mistakes_at_once():
    lines = data_problems(DataConfig(size=32, pad=99, labels=45, held_out=7))
    assert [line.split(":")[0] for line in lines] == ["data.size", "data.pad", "data.held_out", "data.labels"]


def test_overrides_reach_the_data_set():
    data = load_data_set(DataConfig(flip=True, pad=0))
    assert (data.flip, data.pad) == (True, 0)


def test_importing_is_cheap():
    heavy = "('torch', 'torchvision', 'sklearn', 'PIL')"
    code = f"import semisonic.data.sets.registry, sys; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
