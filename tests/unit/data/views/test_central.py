"""The center of an image as weights were evaluated on it: timm's transform with Pillow, DALI's operators, and torch."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from timm.data import create_transform

from semisonic.data.views import central
from semisonic.data.views.registry import build_view
from semisonic.data.views.resize import center
from tests.support.photographs import photograph
from tests.support.views import geometry, run

SHAPES = [(375, 500), (100, 80), (50, 61), (96, 96), (28, 40), (120, 64), (24, 150)]


def by_timm(image: Image.Image, size: int, crop: float, interpolation: str) -> np.ndarray:
    transform = create_transform(
        size, crop_pct=crop, interpolation=interpolation, is_training=False, mean=(0,) * 3, std=(1,) * 3
    )
    return (255 * transform(image)).round().to(torch.uint8).permute(1, 2, 0).numpy()


def by_dali(files: list[Path], size: int, **changes: object) -> np.ndarray:
    view = build_view("plain", geometry(size, encoded=True, pad=0, **changes))
    shapes = np.array([Image.open(file).size[::-1] for file in files], np.int32)
    return run(view, [np.fromfile(file, np.uint8) for file in files], view.params(np.empty((len(files), 0)), shapes))


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("crop", [0.875, 0.95, 1.0])
def test_dali_and_torch_are_within_two_levels_of_timms_transform_and_equal_each_other(
    crop: float, interpolation: central.Interpolation, tmp_path: Path
):
    random, files, size = np.random.default_rng(int(1000 * crop)), [], 48
    for number, shape in enumerate(SHAPES):
        files.append(tmp_path / f"{number}.png")
        Image.fromarray(photograph(random, *shape)).save(files[-1])
    ours = by_dali(files, size, crop=crop, interpolation=interpolation).astype(int)
    theirs = np.stack([by_timm(Image.open(file), size, crop, interpolation) for file in files]).astype(int)
    assert np.abs(ours - theirs).max() <= 2 and np.abs(ours - theirs).mean() < 0.05
    for file, image in zip(files, ours, strict=True):
        pixels = torch.from_numpy(np.array(Image.open(file))).permute(2, 0, 1)[None].float()
        again = center(pixels, size, crop, interpolation)[0].permute(1, 2, 0).numpy()
        np.testing.assert_array_equal(again, image)
    other = "bilinear" if interpolation == "bicubic" else "bicubic"
    assert np.abs(by_dali(files, size, crop=crop, interpolation=other).astype(int) - theirs).max() > 8


def test_without_a_crop_the_window_is_that_of_runs_from_random_weights(tmp_path: Path):
    file = tmp_path / "0.png"
    Image.fromarray(photograph(np.random.default_rng(0), 40, 60)).save(file)
    before = by_dali([file], 32).astype(int)
    assert before.shape == (1, 32, 32, 3)
    assert np.abs(before - by_dali([file], 32, crop=0.875)).max() > 2


def test_the_center_can_be_differentiated():
    pixels = (255 * torch.rand(1, 3, 40, 50)).round().requires_grad_()
    center(pixels, 16, 0.9, "bicubic").sum().backward()
    assert pixels.grad is not None and abs(float(pixels.grad.sum()) - 3 * 16 * 16) < 0.1
