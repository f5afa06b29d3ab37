"""The batches: the same images for the same global sample numbers, however they are asked for."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from PIL import Image

from semisonic.contract import Rank, Views
from semisonic.data.loading import resident
from semisonic.data.loading.calls import Placement, StepRange, steps_per_call
from semisonic.data.loading.draws import Draws
from semisonic.data.loading.image_source import source_of
from semisonic.data.loading.loader import Loader, Sampling, evaluation_slices
from semisonic.data.loading.resident import ResidentImages, pack, reflect_pad, take_words, upload, words
from semisonic.data.loading.stream import Stream, gaussian_noise
from semisonic.data.sets.base import DataSet, ImageFiles
from tests.support.data import CPU, data_set, split

DEVIATION = torch.tensor([10.0, 20.0, 5.0]).view(1, 3, 1, 1)
VIEWS = Views(
    labeled={"weak": "weak"},
    unlabeled={"weak": "weak", "strong": "fixmatch", "noisy": "noise(0.15)"},
    draws={"lam": 2},
    labeled_draws={"angle": 5},
)


def loader(
    batch: int = 8, data: DataSet | None = None, steps: int = 1, operations: str = "dali", device=CPU, threads: int = 2,
    **sampling,
) -> Loader:  # fmt: skip
    placement = Placement(device, threads, operations, steps_per_call=steps)
    return Loader(data or data_set(), split(), VIEWS, Sampling(7, batch, 2 * batch, **sampling), placement)


def collect(source: Loader, steps: int) -> dict[str, torch.Tensor]:
    """The unlabeled and labeled images of some steps, in order."""
    parts: dict[str, list[torch.Tensor]] = {}
    for _ in range(steps):
        batch = next(source)
        flat = {f"x/{k}": v for k, v in batch.x.items()} | {f"u/{k}": v for k, v in batch.u.items()}
        flat |= {"y": batch.y, "x_index": batch.x_index, "u_index": batch.u_index, "u_true": batch.u_true}
        flat |= {"u_key": batch.u_key, **batch.draws}
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
    ranks = [loader(rank=Rank(rank, 2)) for rank in (0, 1)]
    interleaved = [collect(rank, 1) for _ in range(steps) for rank in ranks]
    assert_same({name: torch.cat([part[name] for part in interleaved]) for name in whole}, whole)
    before, after = collect(loader(), 2), collect(loader(start=2), steps - 2)
    assert_same({name: torch.cat([before[name], after[name]]) for name in whole}, whole)
    assert_same(collect(loader(threads=1), steps), whole)


def test_another_batch_size_gives_the_same_samples():
    small, large = collect(loader(batch=4), 4), collect(loader(batch=8), 2)
    assert_same(small, large)


@pytest.mark.parametrize("operations", ["dali", "kernel"])
def test_several_steps_a_call_give_the_same_batches_from_any_step_on(operations: str):
    whole = collect(loader(operations=operations), 9)
    for steps, start in ((2, 0), (3, 1), (4, 5)):
        found = collect(loader(steps=steps, start=start, operations=operations), 9 - start)
        assert_same(found, {name: value[len(value) // 9 * start :] for name, value in whole.items()})
    ranks = [loader(steps=3, operations=operations, rank=Rank(rank, 2), micro=2) for rank in (0, 1)]
    singles = [loader(operations=operations, rank=Rank(rank, 2), micro=2) for rank in (0, 1)]
    for several, single in zip(ranks, singles, strict=True):
        assert_same(collect(several, 4), collect(single, 4))


def test_params_are_those_of_the_step():
    views = Views(unlabeled={"weak": "weak", "strong": "fixmatch"}, params=("weak", "strong"))
    batches = []
    for steps in (1, 3):
        source = Loader(data_set(), split(), views, Sampling(0, 4, 8), Placement(CPU, steps_per_call=steps))
        batches.append([next(source).params for _ in range(4)])
    for single, several in zip(*batches, strict=True):
        assert {"weak", "strong"} == single.keys()
        for view in single:
            assert_same(several[view], single[view])
    assert not torch.equal(batches[0][0]["weak"]["window"], batches[0][1]["weak"]["window"])


@pytest.mark.parametrize(
    "wanted, batch, size, device, expected",
    [
        (0, 448, 32, "cpu", 1),
        (0, 448, 32, "cuda", 8),
        (0, 448, 96, "cuda", 1),
        (0, 448, 48, "cuda", 4),
        (0, 64, 32, "cuda", 8),
        (3, 448, 32, "cpu", 3),
        (20, 448, 224, "cuda", 20),
    ],
)
def test_steps_per_call(wanted: int, batch: int, size: int, device: str, expected: int):
    assert steps_per_call(wanted, batch, size, torch.device(device)) == expected


class Listed:
    """A sampler of the first four images, which tells `listen` each step that it is asked for."""

    share = 4

    def __init__(self, listen=lambda step: None):
        self.listen = listen

    def numbers(self, step: int, count: int = 1) -> np.ndarray:
        return np.arange(4 * step, 4 * (step + count))

    def indices(self, step: int, count: int = 1) -> np.ndarray:
        for each in range(step, step + count):
            self.listen(each)
        return np.tile(np.arange(4), count)


def stream_of(sampler=None, stop: int | None = None, steps_per_call: int = 1) -> Stream:
    placement = Placement(CPU, steps_per_call=steps_per_call)
    source, views = source_of(data_set(), CPU), {"weak": "weak"}
    return Stream(Draws(0, "ahead"), source, views, sampler or Listed(), placement, StepRange(stop=stop))


@pytest.mark.parametrize("stop, asked_for", [(None, 8), (2, 4), (5, 6), (100, 8)])
def test_calls_are_prepared_fed_and_received_ahead_of_the_step(stop: int | None, asked_for: int):
    asked: list[int] = []
    stream = stream_of(Listed(asked.append), stop, steps_per_call=2)
    next(stream)
    for executor in (stream._receiver, stream._worker):
        executor.shutdown()  # waits for what it has been given
    assert sorted(asked) == list(range(asked_for))


def test_an_error_of_the_threads_reaches_the_step_every_time():
    def fail(step: int) -> None:
        if step == 6:
            raise OSError(f"step {step}")

    stream, seen = stream_of(Listed(fail)), 0
    with pytest.raises(Exception, match="step 6"):
        for _ in range(7):
            next(stream)
            seen += 1
    assert seen >= 4
    with pytest.raises(Exception, match="step 6"):
        next(stream)


def test_the_finishing_thread_leaves_the_threads_of_torch_as_they_were():
    own = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        stream = stream_of()
        assert torch.get_num_threads() == 2
        assert stream._receiver.submit(torch.get_num_threads).result() == 1
        with ThreadPoolExecutor(1) as later:
            assert later.submit(torch.get_num_threads).result() == 2
    finally:
        torch.set_num_threads(own)


def test_views_of_one_image_differ_and_belong_to_its_label():
    batch = next(loader())
    assert not torch.equal(batch.u["weak"], batch.u["strong"])
    data = data_set()
    assert batch.u_true.tolist() == [int(data.train.labels[index]) for index in batch.u_index]
    labeled = split().labeled[batch.x_index.numpy()]
    assert batch.y.tolist() == data.train.labels[labeled].tolist()


def test_batches_are_uint8_channels_last_and_stay_valid():
    source = loader()
    first = next(source)
    copies = {name: view.clone() for name, view in first.u.items()}
    for _ in range(6):
        next(source)
    assert source.wait_seconds > 0
    for name, view in first.u.items():
        assert view.dtype == torch.uint8 and view.shape == (16, 3, 16, 16)
        assert view.is_contiguous(memory_format=torch.channels_last)
        assert torch.equal(view, copies[name])


def test_an_empty_stream_is_not_read():
    batch = next(Loader(data_set(), split(), Views(labeled={"weak": "weak"}), Sampling(0, 4, 8), Placement(CPU)))
    assert batch.u == {} and len(batch.u_index) == len(batch.u_true) == 0 and batch.draws == {}


def test_params_of_a_view_reach_the_batch():
    views = Views(unlabeled={"weak": "weak"}, params=("weak",))
    batch = next(Loader(data_set(), split(), views, Sampling(0, 4, 8), Placement(CPU)))
    assert batch.params["weak"] and all(len(value) == 8 for value in batch.params["weak"].values())


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


@pytest.mark.gpu
@pytest.mark.parametrize("share", [1.0, 0.0])
def test_on_a_gpu_the_images_are_those_of_the_cpu(monkeypatch, share: float):
    """With the images on the GPU, and with what must be fed from the host because they would not fit."""
    monkeypatch.setattr(resident, "GPU_SHARE", share)
    device = torch.device("cuda", 0)
    source = loader(device=device, steps=3, start=1, operations="kernel")
    assert ("resident on the GPU" in source.describe()) == bool(share)
    found = {name: value.cpu() for name, value in collect(source, 7).items()}
    assert_same(found, collect(loader(start=1, operations="kernel"), 7))
    assert source.wait_seconds > 0


@pytest.mark.gpu
def test_on_a_gpu_no_batch_waits_for_the_device():
    source = loader(device=torch.device("cuda", 0), steps=2, operations="kernel")
    for _ in range(6):  # compiled and allocated once
        next(source)
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(6):
            next(source)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_gaussian_noise_is_normal_and_depends_on_the_key_alone():
    gray = torch.full((64, 3, 16, 16), 128, dtype=torch.uint8)
    keys = torch.arange(64) * 2**40 + 12345
    noisy = gaussian_noise(gray, keys, DEVIATION)
    deviation = (noisy.float() - 128).std((0, 2, 3))
    torch.testing.assert_close(deviation, torch.tensor([10.0, 20.0, 5.0]), rtol=0.05, atol=0)
    assert (noisy.float().mean((0, 2, 3)) - 128).abs().max() < 0.5
    assert torch.equal(gaussian_noise(gray[5:9], keys[5:9], DEVIATION), noisy[5:9])
    assert not torch.equal(noisy[0], noisy[1])
    values = (noisy[:, 1].float() - 128) / 20
    assert (
        abs((values.abs() < 1).float().mean() - 0.6827) < 0.02
        and abs((values.abs() < 2).float().mean() - 0.9545) < 0.01
    )


@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_evaluation_covers_each_row_once(world_size: int):
    data, rows = data_set(), np.arange(3, 30)
    source, seen = source_of(data, CPU, rows, test=True), []
    for rank in range(world_size):
        for images, labels, valid in evaluation_slices(source, 4, Placement(CPU), Rank(rank, world_size)):
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
    files = ImageFiles(tmp_path, paths, np.arange(30) % 3, np.array(shapes, dtype=np.int32), np.zeros(30, dtype=bool))
    data = DataSet("files", ("a", "b", "c"), 16, (0.5,) * 3, (0.25,) * 3, True, 0, files, files)
    whole = collect(loader(data=data), 3)
    ranks = [loader(data=data, rank=Rank(rank, 2)) for rank in (0, 1)]
    interleaved = [collect(rank, 1) for _ in range(3) for rank in ranks]
    assert_same({name: torch.cat([part[name] for part in interleaved]) for name in whole}, whole)
    valid = torch.cat([part[2] for part in evaluation_slices(source_of(data, CPU, test=True), 8, Placement(CPU))])
    assert valid.sum() == 30
