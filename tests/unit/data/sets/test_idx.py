"""IDX files: zipped or not, in either folder, and what is damaged."""

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

from semisonic.data.sets.base import DataConfig
from semisonic.data.sets.idx import FILES, read_idx
from semisonic.data.sets.registry import load_data_set
from semisonic.schema import UserError
from tests.support.data_sets import assert_sound, errors_of


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
