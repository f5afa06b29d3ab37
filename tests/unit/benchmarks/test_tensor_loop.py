"""The plain loop over tensors takes the conventional loop's step, on views of the same kind."""

import itertools

import pytest
import torch
from torch import Tensor

import conventional
import tensor_loop
from semisonic.config.command_line import resolve
from semisonic.data.sets.registry import load_data_set
from semisonic.data.sets.splits import make_split
from tensor_loop import MOVES, TensorLoop, cut_out, moved, predictions, rand_augmented

SIZE = 16


@pytest.fixture
def loop() -> TensorLoop:
    fields = ["--model", "small", "--model.norm-start-up", "0", "--batch.labeled", "4", "--batch.unlabeled-ratio", "2"]
    cfg = resolve([*fields, "--algorithm.threshold", "0.1", "--no-baseline", "--device", "cpu", "--steps", "9"])[1]
    data = load_data_set(cfg.data)
    torch.manual_seed(0)
    return TensorLoop(cfg, data, make_split(cfg.data, data.train.labels, 10, cfg.seed))


def test_a_step_is_the_conventional_loop_s(loop: TensorLoop, monkeypatch: pytest.MonkeyPatch):
    for name in ("rand_augmented", "cut_out"):
        monkeypatch.setattr(tensor_loop, name, lambda images: images.flip(2))  # twice is once the weak view
    views = {len(index): loop.weak(index) for index in (loop.draw(0, 4), loop.draw(1, 8))}
    labels: list[Tensor] = []
    monkeypatch.setattr(loop, "draw", lambda stream, count: labels[stream])
    labels += [torch.tensor([0, 1, 2, 3]), torch.arange(8)]
    monkeypatch.setattr(loop, "weak", lambda index: views[len(index)])
    labeled, weak = (loop.normalized(views[count]) for count in (4, 8))
    streams = itertools.repeat((labeled, loop.truth[:4])), itertools.repeat((weak, weak))
    torch.manual_seed(0)
    other = conventional.Loop(loop.cfg, 10, SIZE, torch.device("cpu"), "fp32", *streams)
    other.network.load_state_dict(loop.network.state_dict())
    other.average.network.load_state_dict(loop.average.state_dict())
    for _ in range(3):
        loop.step()
        other.step(other.next_batch())
    assert other.metrics["coverage"] > 0
    for mine, theirs in ((loop.network, other.network), (loop.average, other.average.network)):
        for name, value in mine.state_dict().items():
            assert torch.allclose(value, theirs.state_dict()[name], atol=1e-4), name


def test_a_weak_view_is_a_crop_of_the_reflected_image(loop: TensorLoop):
    index = torch.arange(40)
    crops, pad = loop.weak(index), loop.data.pad
    for number, crop in zip(index, crops, strict=True):
        windows = loop.pixels[number].unfold(0, SIZE, 1).unfold(1, SIZE, 1)
        assert not loop.data.flip and windows.shape[:2] == (2 * pad + 1, 2 * pad + 1)
        assert (windows == crop).all((2, 3, 4)).any()
    assert len({crop.numpy().tobytes() for crop in loop.weak(torch.zeros(30, dtype=torch.int64))}) > 5


def test_every_image_is_drawn_once_an_epoch(loop: TensorLoop):
    rows = loop.orders[0][0]
    assert sorted(loop.draw(0, len(rows)).tolist()) == sorted(rows.tolist())


@pytest.mark.parametrize("sign", [-1, 1])
def test_moves_go_where_they_should(sign: int):
    image = torch.zeros(1, 3, SIZE, SIZE, dtype=torch.uint8)
    image[..., 8, :] = image[..., :, 8] = 255
    signs, shift = torch.tensor([float(sign)]), round(150 / 331 * SIZE * tensor_loop.STRENGTH)
    found = [moved(image, torch.tensor([operation]), signs)[0, 0] for operation in range(MOVES)]
    assert torch.equal(found[2].sum(0).argmax(), torch.tensor(8 - sign * shift))
    assert torch.equal(found[3].sum(1).argmax(), torch.tensor(8 - sign * shift))
    assert (found[0].sum(1).argmax(), found[1].sum(0).argmax()) == (8, 8)  # a shear leaves lines along it
    assert all(0 < (one != image[0, 0]).sum() < SIZE**2 / 2 for one in found)


def test_operations_change_some_images_and_the_hole_is_gray():
    torch.manual_seed(0)
    images = torch.randint(256, (200, 3, SIZE, SIZE), dtype=torch.uint8)
    changed = (rand_augmented(images.clone()) != images).any((1, 2, 3)).float().mean()
    assert 0.9 < changed < 1.0
    holes = (cut_out(torch.zeros(300, 3, SIZE, SIZE, dtype=torch.uint8)) == tensor_loop.GRAY).all(1)
    sides = holes.any(2).sum(1)
    assert holes.sum((1, 2)).max() == (SIZE // 2) ** 2 and sides.max() == SIZE // 2 and sides.min() >= SIZE // 4


def test_predictions_are_of_normalized_images(loop: TensorLoop):
    pixels = loop.data.test.pixels[:300]
    images = loop.normalized(torch.from_numpy(pixels).permute(0, 3, 1, 2))
    assert torch.equal(predictions(loop.average, loop.data, pixels), loop.average(images).argmax(1))
