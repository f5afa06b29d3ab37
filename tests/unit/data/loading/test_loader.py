"""The batches: the same images for the same global sample numbers, however they are asked for."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils._pytree import tree_map

from semisonic.contract import ALONE, OwnStream, Rank, Samples, Views
from semisonic.data.loading import resident
from semisonic.data.loading.calls import Placement
from semisonic.data.loading.draws import Draws
from semisonic.data.loading.image_source import source_of
from semisonic.data.loading.loader import Loader, Sampling, evaluation_slices
from semisonic.data.loading.sizes import Sizes
from semisonic.data.sets.base import DataSet, ImageFiles
from semisonic.data.sets.splits import Split
from semisonic.data.views.registry import build_view
from tests.support.data import CPU, data_set, split
from tests.support.loaders import VIEWS, loader
from tests.support.views import geometry


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


def growing(last: int = 9, per_call: int = 1, operations: str = "kernel", **sampling) -> Loader:
    """The strong views of a run of 9 steps, whose magnitude grows from 1 on."""
    views = Views(unlabeled={"strong": f"randaugment(2,1..{last})"}, params=("strong",))
    placement = Placement(CPU, operations=operations, steps_per_call=per_call)
    return Loader(data_set(), split(), views, Sampling(7, 4, 8, **{"steps": 9} | sampling), placement)


def strong(source: Loader, steps: int) -> torch.Tensor:
    return torch.cat([next(source).u["strong"] for _ in range(steps)])


@pytest.mark.parametrize("operations", ["dali", "kernel"])
def test_a_growing_magnitude_is_that_of_the_batch_s_step(operations: str):
    """However far ahead batches are drawn, on every number of ranks, and after a restart."""
    whole = strong(growing(operations=operations), 9)
    for magnitude, step in ((1, 0), (5, 4), (9, 8)):
        views = Views(unlabeled={"strong": f"randaugment(2,{magnitude})"})
        constant = Loader(
            data_set(), split(), views, Sampling(7, 4, 8, start=step), Placement(CPU, operations=operations)
        )
        assert torch.equal(strong(constant, 1), whole[8 * step : 8 * step + 8])
    assert not torch.equal(whole[8:], strong(growing(last=1, operations=operations), 9)[8:])
    for per_call, start in ((3, 0), (4, 5), (2, 1)):
        found = strong(growing(per_call=per_call, start=start, operations=operations), 9 - start)
        assert torch.equal(found, whole[8 * start :])
    ranks = [growing(rank=Rank(rank, 2), per_call=2, operations=operations) for rank in (0, 1)]
    assert torch.equal(torch.cat([strong(rank, 1) for _ in range(9) for rank in ranks]), whole)


def test_a_growing_magnitude_stays_at_its_last_value_and_by_itself_at_its_first():
    for start in (2, 7):  # the last step of three, and one beyond it
        found, first = (next(growing(last=last, start=start, steps=3)).params["strong"] for last in (9, 1))
        assert not torch.equal(found["values"], first["values"])
        view = build_view("randaugment(2,9)", geometry(16), operations="kernel")
        numbers = np.arange(8 * start, 8 * start + 8)
        expected = view.params(Draws(7, "unlabeled").uniforms("view", "strong", numbers, view.uniforms), None)
        np.testing.assert_array_equal(found["values"], expected["values"])
    batch = next(growing(start=5, steps=None)).params["strong"]["values"]
    assert torch.equal(batch, next(growing(last=1, start=5)).params["strong"]["values"])
    assert torch.equal(next(growing(steps=1, last=1)).u["strong"], next(growing(steps=1)).u["strong"])


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


OWN = Views(
    labeled={"weak": "weak"},
    unlabeled={"weak": "weak"},
    streams={
        "even": OwnStream({"weak": "weak", "strong": "fixmatch"}, ratio=1.5, balanced=True, draws={"turn": 1}),
        "more": OwnStream({"plain": "plain"}, pool="unlabeled", ratio=0.5),
    },
)


def own_streams(views: Views = OWN, **sampling) -> Loader:
    return Loader(data_set(), split(), views, Sampling(7, 8, 16, **sampling), Placement(CPU))


def test_streams_of_add_ons_are_read_beside_the_others_and_change_none_of_their_draws():
    beside, alone = own_streams(), own_streams(Views(OWN.labeled, OWN.unlabeled))
    for _ in range(3):
        batch, plain = next(beside), next(alone)
        for name in ("x", "u", "draws"):
            assert_same(getattr(batch, name), getattr(plain, name))
        assert torch.equal(batch.x_index, plain.x_index) and torch.equal(batch.u_index, plain.u_index)
        even, more = batch.streams["even"], batch.streams["more"]
        assert even.views["weak"].shape == even.views["strong"].shape == (12, 3, 16, 16)
        assert even.draws["turn"].shape == (12, 1) and even.y.bincount(minlength=3).tolist() == [4, 4, 4]
        assert torch.equal(even.y, torch.from_numpy(data_set().train.labels[split().labeled[even.position]]))
        assert len(more.position) == 4 and more.position.max() < 30
        pixels = torch.from_numpy(data_set().train.pixels[more.position])
        assert torch.equal(more.views["plain"], pixels.permute(0, 3, 1, 2))


def test_streams_of_add_ons_are_the_same_on_ranks_and_after_a_restart():
    def read(loader: Loader, steps: int) -> list[Samples]:
        return [next(loader).streams["even"] for _ in range(steps)]

    whole, later = read(own_streams(), 4), read(own_streams(start=2), 2)
    ranks = [read(own_streams(rank=Rank(rank, 2)), 4) for rank in (0, 1)]
    for step, samples in enumerate(whole):
        joined = tree_map(lambda *parts: torch.cat(parts), *(rank[step] for rank in ranks))
        for found in (joined, *([later[step - 2]] if step >= 2 else [])):
            assert torch.equal(found.views["strong"], samples.views["strong"])
            assert torch.equal(found.position, samples.position) and torch.equal(
                found.draws["turn"], samples.draws["turn"]
            )


def test_a_stream_of_the_pool_cannot_be_balanced():
    with pytest.raises(ValueError, match="only labeled images can be balanced"):
        OwnStream({"weak": "weak"}, pool="unlabeled", balanced=True)


def test_the_draws_of_an_add_on_s_stream_are_uniform_whatever_others_of_their_name_are():
    draws = []
    for betas in ({}, {"turn": 0.1}):
        base = {"draws": {"turn": 1}, "betas": betas}
        with own_streams(
            Views(labeled={"weak": "weak"}, unlabeled={"weak": "weak"}, streams=OWN.streams, **base)
        ) as source:
            draws.append(next(source).streams["even"].draws["turn"])
    assert torch.equal(*draws)


def balanced(start: int = 0, rank: Rank = ALONE) -> Loader:
    labels = np.array([0, 0, 0, 0, 0, 0, 0, 1, 2, 2])  # what is drawn balanced is not so by itself
    uneven = replace(data_set(), train=replace(data_set().train, labels=np.concatenate([labels, np.arange(20) % 3])))
    chosen = Split(np.arange(10), np.arange(30), np.empty(0, np.int64))
    sampling = Sampling(7, 6, 12, rank=rank, start=start, balanced=True)
    return Loader(uneven, chosen, VIEWS, sampling, Placement(CPU))


def test_labeled_images_are_drawn_by_class_on_any_ranks_and_after_a_restart():
    whole = [next(loader) for loader in [balanced()] for _ in range(4)]
    later = [next(loader) for loader in [balanced(start=2)] for _ in range(2)]
    ranks = [[next(loader) for _ in range(4)] for loader in (balanced(rank=Rank(0, 2)), balanced(rank=Rank(1, 2)))]
    for step, batch in enumerate(whole):
        assert batch.y.bincount(minlength=3).tolist() == [2, 2, 2]
        assert batch.x_index[batch.y == 1].tolist() == [7, 7]
        joined = torch.cat([rank[step].x_index for rank in ranks])
        assert torch.equal(joined, batch.x_index)
        assert torch.equal(torch.cat([rank[step].x["weak"] for rank in ranks]), batch.x["weak"])
        if step >= 2:
            assert torch.equal(later[step - 2].x_index, batch.x_index)
            assert torch.equal(later[step - 2].x["weak"], batch.x["weak"])
    drawn = torch.cat([batch.x_index for batch in whole])
    assert set(drawn[drawn < 7].tolist()) == set(range(7))  # eight draws of class 0, of every image before one again


def grown(start: int = 0, rank: Rank = ALONE, steps_per_call: int = 1) -> Loader:
    return loader(steps=steps_per_call, rank=rank, start=start, sizes=Sizes((0, 2, 3), (4, 8, 16)))


def test_a_growing_batch_is_the_same_on_ranks_after_a_restart_and_in_calls_of_several_steps():
    """With views that are finished step by step, labels and draws; labeled images know nothing of it."""
    whole, constant = ([next(own) for _ in range(5)] for own in (grown(), loader()))
    assert [len(batch.u_index) for batch in whole] == [4, 4, 8, 16, 16]
    order = torch.cat([batch.u_index for batch in whole])
    assert torch.equal(order, torch.cat([batch.u_index for batch in constant])[: len(order)])
    for batch, other in zip(whole, constant, strict=True):
        assert_same(batch.x, other.x)
        assert len(batch.u["noisy"]) == len(batch.draws["lam"]) == len(batch.u_index)
    together, later = [next(own) for own in [grown(steps_per_call=3)] for _ in range(5)], grown(start=2)
    ranks = [[next(own) for _ in range(5)] for own in (grown(rank=Rank(0, 2)), grown(rank=Rank(1, 2)))]
    for step, batch in enumerate(whole):
        joined = tree_map(lambda *parts: torch.cat(parts), *(rank[step].u for rank in ranks))
        for found in (together[step].u, joined, *([next(later).u] if step >= 2 else [])):
            assert_same(found, batch.u)
