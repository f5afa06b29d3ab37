"""The batches: the same images for the same global sample numbers, however they are asked for."""

import numpy as np
import pytest
import torch
from PIL import Image

from semisonic.algorithms.base import Views
from semisonic.data.base import DataConfig, DataSet, Files, Images
from semisonic.data.pipeline import Loader, evaluation_slices, gaussian_noise, reflect_pad
from semisonic.data.splits import Split

CPU = torch.device("cpu")
DEVIATION = torch.tensor([10.0, 20.0, 5.0]).view(1, 3, 1, 1)
VIEWS = Views(
    labelled={"weak": "weak"},
    unlabelled={"weak": "weak", "strong": "fixmatch", "noisy": "noise(0.15)"},
    draws={"lam": 2},
)


def data_set(count: int = 30, size: int = 16) -> DataSet:
    bits = np.random.default_rng(0)
    pixels = bits.integers(0, 256, (count, size, size, 3), dtype=np.uint8)
    images = Images(pixels, np.arange(count) % 3)
    return DataSet("noise", ("a", "b", "c"), size, (0.5,) * 3, (0.25,) * 3, True, 2, images, images)


def split(count: int = 30) -> Split:
    return Split(np.arange(0, count, 5), np.arange(count), np.array([], dtype=np.int64))


def loader(batch: int = 8, data: DataSet | None = None, **options) -> Loader:
    return Loader(data or data_set(), split(), VIEWS, DataConfig(), 7, batch, 2 * batch, CPU, **options)


def collect(source: Loader, steps: int) -> dict[str, torch.Tensor]:
    """The unlabelled and labelled images of some steps, in order."""
    parts: dict[str, list[torch.Tensor]] = {}
    for _ in range(steps):
        batch = next(source)
        flat = {f"x/{k}": v for k, v in batch.x.items()} | {f"u/{k}": v for k, v in batch.u.items()}
        flat |= {"y": batch.y, "u_index": batch.u_index, "u_true": batch.u_true, "lam": batch.draws["lam"]}
        for name, value in flat.items():
            parts.setdefault(name, []).append(value.clone())
    return {name: torch.cat(values) for name, values in parts.items()}


def assert_same(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(found[name], value), name


def test_one_process_two_ranks_and_a_restart_see_the_same_images():
    steps = 5
    whole = collect(loader(), steps)
    ranks = [loader(rank=rank, world_size=2) for rank in (0, 1)]
    interleaved = [collect(rank, 1) for _ in range(steps) for rank in ranks]
    assert_same({name: torch.cat([part[name] for part in interleaved]) for name in whole}, whole)
    before, after = collect(loader(), 2), collect(loader(start=2), steps - 2)
    assert_same({name: torch.cat([before[name], after[name]]) for name in whole}, whole)
    assert_same(collect(loader(threads=1), steps), whole)


def test_another_batch_size_gives_the_same_samples():
    small, large = collect(loader(batch=4), 4), collect(loader(batch=8), 2)
    assert_same(small, large)


def test_views_of_one_image_differ_and_belong_to_its_label():
    batch = next(loader())
    assert not torch.equal(batch.u["weak"], batch.u["strong"])
    data = data_set()
    assert batch.u_true.tolist() == [int(data.train.labels[index]) for index in batch.u_index]
    labelled = split().labelled[batch.x_index.numpy()]
    assert batch.y.tolist() == data.train.labels[labelled].tolist()


def test_batches_are_uint8_channels_last_and_stay_valid():
    source = loader()
    first = next(source)
    copies = {name: view.clone() for name, view in first.u.items()}
    for _ in range(6):
        next(source)
    for name, view in first.u.items():
        assert view.dtype == torch.uint8 and view.shape == (16, 3, 16, 16)
        assert view.is_contiguous(memory_format=torch.channels_last)
        assert torch.equal(view, copies[name])


def test_an_empty_stream_is_not_read():
    batch = next(Loader(data_set(), split(), Views(labelled={"weak": "weak"}), DataConfig(), 0, 4, 8, CPU))
    assert batch.u == {} and len(batch.u_index) == len(batch.u_true) == 0 and batch.draws == {}


def test_params_of_a_view_reach_the_batch():
    views = Views(unlabelled={"weak": "weak"}, params=("weak",))
    batch = next(Loader(data_set(), split(), views, DataConfig(), 0, 4, 8, CPU))
    assert batch.params["weak"] and all(len(value) == 8 for value in batch.params["weak"].values())


@pytest.mark.parametrize("pad", [0, 1, 3])
def test_reflect_pad(pad: int):
    images = np.random.default_rng(1).integers(0, 256, (2, 5, 6, 3), dtype=np.uint8)
    expected = np.pad(images, ((0, 0), (pad, pad), (pad, pad), (0, 0)), mode="reflect")
    np.testing.assert_array_equal(reflect_pad(images, pad), expected)


def test_gaussian_noise_is_normal_and_depends_on_the_key_alone():
    grey = torch.full((64, 3, 16, 16), 128, dtype=torch.uint8)
    keys = torch.arange(64) * 2**40 + 12345
    noisy = gaussian_noise(grey, keys, DEVIATION)
    deviation = (noisy.float() - 128).std((0, 2, 3))
    torch.testing.assert_close(deviation, torch.tensor([10.0, 20.0, 5.0]), rtol=0.05, atol=0)
    assert (noisy.float().mean((0, 2, 3)) - 128).abs().max() < 0.5
    assert torch.equal(gaussian_noise(grey[5:9], keys[5:9], DEVIATION), noisy[5:9])
    assert not torch.equal(noisy[0], noisy[1])
    values = (noisy[:, 1].float() - 128) / 20
    assert (
        abs((values.abs() < 1).float().mean() - 0.6827) < 0.02
        and abs((values.abs() < 2).float().mean() - 0.9545) < 0.01
    )


@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_evaluation_covers_each_row_once(world_size: int):
    data, rows = data_set(), np.arange(3, 30)
    seen = []
    for rank in range(world_size):
        for images, labels, valid in evaluation_slices(data, data.test, rows, 4, DataConfig(), CPU, rank, world_size):
            assert len(images) == 4
            for image, label, good in zip(images, labels, valid, strict=True):
                if good:
                    row = next(r for r in rows if (data.test.pixels[r] == image.permute(1, 2, 0).numpy()).all())
                    assert data.test.labels[row] == label
                    seen.append(int(row))
    assert sorted(seen) == rows.tolist()


def test_files_give_the_same_images_in_any_split_too(tmp_path):
    bits = np.random.default_rng(2)
    paths, shapes = [], []
    for index in range(30):
        height, width = bits.integers(20, 40, 2)
        Image.fromarray(bits.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(tmp_path / f"{index}.png")
        paths.append(f"{index}.png")
        shapes.append((height, width))
    files = Files(tmp_path, paths, np.arange(30) % 3, np.array(shapes, dtype=np.int32), np.zeros(30, dtype=bool))
    data = DataSet("files", ("a", "b", "c"), 16, (0.5,) * 3, (0.25,) * 3, True, 0, files, files)
    whole = collect(loader(data=data), 3)
    ranks = [loader(data=data, rank=rank, world_size=2) for rank in (0, 1)]
    interleaved = [collect(rank, 1) for _ in range(3) for rank in ranks]
    assert_same({name: torch.cat([part[name] for part in interleaved]) for name in whole}, whole)
    valid = torch.cat([part[2] for part in evaluation_slices(data, files, np.arange(30), 8, DataConfig(), CPU)])
    assert valid.sum() == 30
