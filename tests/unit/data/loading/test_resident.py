"""Images that stay in memory and arrays that are sent together come out as they went in."""

import numpy as np
import pytest
import torch

from semisonic.data.loading import resident
from semisonic.data.loading.resident import ResidentImages, pack, reflect_pad, take_words, upload, words
from tests.support.data import CPU, data_set
from tests.support.loaders import loader


@pytest.mark.parametrize("pad", [0, 1, 3])
def test_reflect_pad(pad: int):
    images = np.random.default_rng(1).integers(0, 256, (2, 5, 6, 3), dtype=np.uint8)
    expected = np.pad(images, ((0, 0), (pad, pad), (pad, pad), (0, 0)), mode="reflect")
    np.testing.assert_array_equal(reflect_pad(images, pad), expected)


@pytest.mark.parametrize("shape", [(7, 4, 4, 3), (5, 5, 5, 3), (6, 2, 3, 3), (3, 6, 2, 1)])
def test_words_move_the_same_bytes(shape: tuple[int, ...]):
    images = torch.randint(256, shape, dtype=torch.uint8)
    index = torch.tensor([2, 0, 2, 1])
    table = words(images)
    assert table.element_size() == max(k for k in (1, 2, 4, 8) if images[0].numel() % k == 0)
    assert torch.equal(take_words(table, index, shape[1:]), images[index])


def test_packed_arrays_come_out_as_they_went_in():
    bits = np.random.default_rng(4)
    arrays = {
        "index": np.arange(7),
        "byte": bits.integers(0, 256, 5, dtype=np.uint8),
        "flag": np.array([True, False, True]),
        "code": bits.integers(-1, 14, (7, 2)).astype(np.int32),
        "matrix": bits.normal(size=(7, 2, 2, 3)).astype(np.float32),
        "none": np.empty((0, 3), dtype=np.float32),
        "strided": np.arange(20.0).reshape(4, 5)[:, ::2],
    }
    packed = pack(arrays, page_locked=False)
    for found in (packed.arrays(), upload(arrays, CPU)):
        assert list(found) == list(arrays)
        for name, array in arrays.items():
            assert found[name].numpy().dtype == array.dtype
            np.testing.assert_array_equal(found[name].numpy(), array)
    assert all(tensor.data_ptr() % 16 == 0 for tensor in packed.arrays().values() if tensor.numel())
    assert pack({}, page_locked=False).arrays() == upload({}, CPU) == {}


def test_images_that_are_too_large_are_padded_batch_by_batch(monkeypatch):
    images, rows = data_set().train, np.array([3, 29, 3])
    kept = ResidentImages(images, 2, CPU)
    assert kept.bytes == 30 * 20 * 20 * 3 and not kept.on_gpu and "padded (0 MiB)" in kept.describe()
    monkeypatch.setattr(resident, "HOST_LIMIT", kept.bytes - 1)
    large = ResidentImages(images, 2, CPU)
    assert "batch by batch" in large.describe()
    expected = np.pad(images.pixels[rows], ((0, 0), (2, 2), (2, 2), (0, 0)), mode="reflect")
    for images_kept in (kept, large, ResidentImages(images, 2, CPU, keep=False)):
        np.testing.assert_array_equal(images_kept.gather(rows), expected)
    assert loader(steps=4).describe().endswith("by DALI; 4 steps a DALI call")
