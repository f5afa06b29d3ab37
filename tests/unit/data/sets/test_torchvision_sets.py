"""Published data sets: tiny copies of their formats, absent files, failed downloads, the default folder."""

import hashlib
import pickle
from pathlib import Path

import numpy as np
import pytest

from semisonic.data.sets import torchvision_sets
from semisonic.data.sets.base import DataConfig
from semisonic.data.sets.idx import FILES
from semisonic.data.sets.registry import data_problems, load_data_set
from tests.support.data_sets import assert_constants, assert_sound, errors_of

FASHION = Path("/usr/share/datasets/fashion-mnist")


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


@pytest.mark.parametrize("name", list(torchvision_sets.KNOWN))
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
