"""Views: windows and crops against their distributions, parameters by sample, several views in one pipeline."""

import numpy as np
import pytest
import torch
from PIL import Image

from semisonic.data.views import registry as augment
from semisonic.data.views.registry import build_view
from tests.support.views import files, geometry, pictures, reflect, run, uniforms

pytestmark = pytest.mark.filterwarnings("ignore:The external source node")


@pytest.mark.parametrize("pad", [1, 4])
def test_weak_offsets_are_uniform(pad):
    view = build_view("weak", geometry(pad=pad, flip=False))
    cells = (2 * pad + 1) ** 2
    window = view.params(uniforms(view, 200 * cells), None)["window"]
    offset_y, offset_x = window[:, 1, 2].astype(int), window[:, 0, 2].astype(int)
    counts = np.bincount(offset_y * (2 * pad + 1) + offset_x, minlength=cells)
    assert len(counts) == cells and counts.min() > 0
    chi_squared = ((counts - 200) ** 2 / 200).sum()
    freedom = cells - 1
    assert abs(chi_squared - freedom) < 4 * np.sqrt(2 * freedom)


@pytest.mark.parametrize("flip", [True, False])
def test_weak_takes_its_window(flip):
    view = build_view("weak", geometry(16, pad=2, flip=flip))
    grid = [(y, x, f) for y in range(5) for x in range(5) for f in (0.2, 0.49999, 0.5, 0.8)]
    values = np.array([((y + 0.5) / 5, (x + 0.5) / 5, f, 0) for y, x, f in grid])
    padded = reflect(pictures(len(grid), 16), 2)
    ours = run(view, padded, view.params(values, None))
    for image, result, (y, x, f) in zip(padded, ours, grid, strict=True):
        window = image[y : y + 16, x : x + 16]
        np.testing.assert_array_equal(result, window[:, ::-1] if flip and f < 0.5 else window)


def test_plain_is_the_center():
    view = build_view("plain", geometry(16, pad=3))
    images = pictures(6, 16)
    assert view.uniforms == 0 and view.params(np.empty((6, 0)), None) == {}
    np.testing.assert_array_equal(run(view, reflect(images, 3), {}), images)


def test_noise_is_weak_with_a_deviation():
    weak, noise = build_view("weak", geometry()), build_view("noise", geometry())
    assert (weak.noise_std, noise.noise_std, build_view("noise(0.3)", geometry()).noise_std) == (0, 0.15, 0.3)
    values = uniforms(weak, 5)
    np.testing.assert_array_equal(weak.params(values, None)["window"], noise.params(values, None)["window"])


def test_views_without_operations_leave_nothing_to_do():
    images = torch.zeros(2, 16, 16, 3, dtype=torch.uint8)
    for spec in ("plain", "weak", "noise", "fixmatch"):
        view = build_view(spec, geometry(16))
        assert view.kernel_params == () and view.apply_kernel(images, {}) is images
    assert build_view("weak", geometry(), operations="kernel").kernel_params == ()
    assert "holes" not in build_view("randaugment(2,9)", geometry(), operations="kernel").kernel_params


@pytest.mark.parametrize("where", ["dali", "kernel"])
@pytest.mark.parametrize("spec", augment.view_examples())
def test_params_are_per_sample(spec, where):
    """A batch's parameters are its samples' parameters, so they do not depend on how samples are batched."""
    view = build_view(spec, geometry(), operations=where)
    values = uniforms(view, 9)
    assert view.uniforms % 4 == 0
    whole = view.params(values, None)
    assert set(view.kernel_params) <= set(whole)
    parts = [view.params(values[:4], None), view.params(values[4:], None)]
    for name, array in whole.items():
        assert array.dtype in (np.float32, np.int32) and array.flags.c_contiguous and len(array) == 9
        np.testing.assert_array_equal(array, np.concatenate([part[name] for part in parts]))


def test_several_views_in_one_pipeline():
    views = [build_view(spec, geometry()) for spec in ("weak", "fixmatch", "fixmatch", "kekmodel")]
    images = reflect(pictures(64, 32), 4)
    params = [view.params(uniforms(view, 64, seed), None) for seed, view in enumerate(views)]
    together = run(views, images, params)
    for ours, view, own in zip(together, views, params, strict=True):
        np.testing.assert_array_equal(ours, run(view, images, own))
    for first, second in [(0, 1), (1, 2), (2, 3)]:
        assert (together[first] != together[second]).any(axis=(1, 2, 3)).mean() > 0.9


def test_threads_do_not_matter():
    view = build_view("usb", geometry())
    images, params = reflect(pictures(96, 32), 4), view.params(uniforms(view, 96), None)
    np.testing.assert_array_equal(run(view, images, params, threads=1), run(view, images, params, threads=2))


def test_params_are_not_written_to():
    view = build_view("fixmatch", geometry())
    values = uniforms(view, 20)
    before = values.copy()
    view.params(values, None)
    np.testing.assert_array_equal(values, before)


@pytest.mark.parametrize("spec", ["plain", "weak"])
def test_encoded_windows_match_pillow(spec):
    view = build_view(spec, geometry(24, pad=0, encoded=True))
    encoded, decoded, shapes = files()
    encoded, decoded, shapes = encoded * 4, decoded * 4, np.concatenate([shapes] * 4)
    params = view.params(uniforms(view, len(encoded)), shapes)
    ours = run(view, encoded, params)
    mirror = params.get("mirror", np.zeros(len(encoded)))
    assert spec == "plain" or 0 < mirror.sum() < len(mirror)
    for image, result, (y, x), (height, width), flip in zip(
        decoded, ours, params["start"], params["shape"], mirror, strict=True
    ):
        window = Image.fromarray(image[y : y + height, x : x + width])
        theirs = np.asarray(window.resize((24, 24), Image.Resampling.BILINEAR))
        # Pillow rounds to 8 bits between its two passes, DALI does not: each pass may move a value by 1.
        delta = np.abs(result.astype(int) - (theirs[:, ::-1] if flip else theirs))
        assert delta.max() <= 2 and delta.mean() < 0.4


def test_resized_crop_distribution():
    view = build_view("weak", geometry(encoded=True))
    shapes = np.tile([[400, 500]], (20_000, 1))
    params = view.params(uniforms(view, len(shapes)), shapes)
    start, shape = params["start"], params["shape"]
    assert (start >= 0).all() and (start + shape <= shapes).all()
    unclamped = (shape < shapes).all(axis=1)
    area = shape.prod(axis=1)[unclamped] / 200_000
    ratio = (shape[:, 1] / shape[:, 0])[unclamped]
    assert 0.2 < area.min() + 0.01 < 0.23 and ratio.min() > 0.74 and ratio.max() < 1.35
    small = params["shape"].prod(axis=1) / 200_000 < 0.6  # no clamping happens there: half of U(0.2, 1)
    assert small.mean() == pytest.approx(0.5, abs=0.02)
    assert np.mean(np.log(shape[small, 1] / shape[small, 0]) > 0) == pytest.approx(0.5, abs=0.02)
    view = build_view("weak", geometry(encoded=True, least=0.7))
    whole = view.params(uniforms(view, len(shapes)), shapes)["shape"].prod(axis=1) / 200_000
    assert whole.min() > 0.6 and whole.mean() > 0.8  # rounded, and clamped to the image
    single = view.params(uniforms(view, 50), np.ones((50, 2), np.int32))
    assert (single["shape"] == 1).all() and (single["start"] == 0).all()
