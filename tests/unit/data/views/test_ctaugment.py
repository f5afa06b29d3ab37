"""CTAugment's views: draws by the rates, and operations against Pillow's."""

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from semisonic.data.views import ctaugment as views
from semisonic.data.views.registry import build_view
from semisonic_kernels.ctaugment import BINS, MOST_BINS, OPERATION_BINS, first_rates
from tests.support.views import FILL, geometry, pictures, run_weak, uniforms

pytestmark = pytest.mark.filterwarnings("ignore:The external source node")

NAMES = list(OPERATION_BINS)


def test_probabilities_keep_what_reaches_the_threshold():
    table = first_rates().numpy()
    table[0, :4] = 0.5, 0.782, 0.799, 0.9  # (0.782 + 0.01) / 1.01 < 0.8 < (0.799 + 0.01) / 1.01
    table[1] = 0
    found = views.probabilities(table)
    share = np.array([0, 0, 0.809, 0.91, *[1.01] * 13])
    np.testing.assert_allclose(found[0], share / share.sum(), rtol=1e-6)
    np.testing.assert_allclose(found[1], 1 / 17)
    posterize = next(p for p, bins in enumerate(BINS) if bins == 8)
    assert (found[posterize, 8:] == 0).all() and found[posterize, :8] == pytest.approx(1 / 8)


def test_draws_follow_the_rates():
    table = first_rates().numpy()
    rotate = views._FIRST[NAMES.index("rotate")]
    table[rotate] = 0.1
    table[rotate, [3, 16]] = 0.9, 1.0
    view = build_view("ctaugment", geometry(), operations="kernel").with_table(table)
    operation, level, position = view._draw(np.random.default_rng(0).random((60_000, 8)))
    counts = np.bincount(operation, minlength=19)
    assert ((counts - 60_000 / 19) ** 2 / (60_000 / 19)).sum() < 18 + 4 * np.sqrt(36)
    levels = level[operation == NAMES.index("rotate"), 0]
    bins, counts = np.unique(np.floor(levels * 17), return_counts=True)
    assert bins.tolist() == [3, 16] and counts[0] / counts.sum() == pytest.approx(0.91 / (0.91 + 1.01), abs=0.03)
    within = levels * 17 - np.floor(levels * 17)
    np.testing.assert_allclose(np.quantile(within, [0.25, 0.5, 0.75]), [0.25, 0.5, 0.75], atol=0.03)
    rescale = operation == NAMES.index("rescale")
    first = views._FIRST[NAMES.index("rescale")] * MOST_BINS
    assert np.unique(position[rescale, 1] - first - MOST_BINS).tolist() == [0, 1, 2, 3, 4, 5]
    assert (position[~rescale, 1] == -1).all() and (position[operation == NAMES.index("identity")] == -1).all()


def test_a_probe_draws_uniformly_says_its_bins_and_has_no_hole():
    view = build_view("ctaugment-probe", geometry(), operations="kernel")
    assert view.loss_params == ("bins",) and not view.adaptive and "holes" not in view.kernel_params
    params = view.params(uniforms(view, 30_000), None)
    assert params["bins"].shape == (30_000, 2, 2)
    counts = np.bincount(params["bins"][params["bins"] >= 0], minlength=len(BINS) * MOST_BINS).reshape(-1, MOST_BINS)
    for row, bins in zip(counts, BINS, strict=True):
        assert (row[bins:] == 0).all() and (row[:bins] > 0.7 * row[:bins].mean()).all()
    for name in ("ctaugment", "ctaugment-plain"):
        assert "bins" not in build_view(name, geometry()).params(uniforms(build_view(name, geometry()), 2), None)


def pillow(name, image, levels, center):
    level, width = levels[0], image.width
    blends = {
        "auto_contrast": ImageOps.autocontrast,
        "blur": lambda x: x.filter(ImageFilter.BLUR),
        "equalize": ImageOps.equalize,
        "invert": ImageOps.invert,
        "smooth": lambda x: x.filter(ImageFilter.SMOOTH),
    }
    factors = {"brightness": "Brightness", "color": "Color", "contrast": "Contrast", "sharpness": "Sharpness"}
    move = 0.3 * (2 * level - 1)
    coefficients = {
        "shear_x": (1, move, 0, 0, 1, 0),
        "shear_y": (1, 0, 0, move, 1, 0),
        "translate_x": (1, 0, move * width, 0, 1, 0),
        "translate_y": (1, 0, 0, 0, 1, move * width),
    }
    if name in blends:
        return Image.blend(image, blends[name](image), level)
    if name in factors:
        return getattr(ImageEnhance, factors[name])(image).enhance(0.1 + 1.9 * level)
    if name in coefficients:
        return image.transform(image.size, Image.Transform.AFFINE, coefficients[name])
    if name == "posterize":
        return ImageOps.posterize(image, 1 + int(7.999 * level))
    if name == "solarize":
        return ImageOps.solarize(image, int(255.999 * level))
    if name == "rotate":
        return image.rotate(round(45 * (2 * level - 1)))
    if name == "rescale":
        methods = ("LANCZOS", "BICUBIC", "BILINEAR", "BOX", "HAMMING", "NEAREST")
        edge = 0.25 * level * width
        method = getattr(Image.Resampling, methods[int(5.99 * levels[1])])
        return image.resize(image.size, method, (edge, edge, width - edge, width - edge))
    if name == "cutout":
        half, pixels = (1 + int(0.499 * width * level)) // 2, np.asarray(image).copy()
        top, left = (max(0, int(c * width) - half) for c in center)
        pixels[top : int(center[0] * width) + half, left : int(center[1] * width) + half] = FILL
        return Image.fromarray(pixels)
    return image


@pytest.mark.parametrize("name", NAMES)
def test_operations_match_pillow(name):
    """One operation after the identity; both levels at many places."""
    view = build_view("ctaugment-plain", geometry(pad=0, flip=False), equalize="pil", operations="kernel")
    values, pixels = uniforms(view, 36, seed=3), pictures(36, 32)
    values[:, 4], values[:, 12] = (NAMES.index("identity") + 0.5) / 19, (NAMES.index(name) + 0.5) / 19
    ours = run_weak(view, pixels, values)
    levels = view._draw(values[:, 12:20])[1]
    theirs = [
        np.asarray(pillow(name, Image.fromarray(image), level, center))
        for image, level, center in zip(pixels, levels, values[:, 17:19], strict=True)
    ]
    delta = np.abs(ours.astype(int) - np.stack(theirs))
    # Blends may fall short of a whole number, Pillow rotates in fixed point and rounds between rows and columns.
    assert delta.mean() < 0.5 and np.quantile(delta, 0.95) <= (2 if name == "rescale" else 0 if name == "rotate" else 1)
    if name != "identity":
        assert (ours != pixels).mean() > 0.02


def test_strong_views_end_with_a_hole_of_half_the_width():
    view, plain = (build_view(n, geometry(), operations="kernel") for n in ("ctaugment", "ctaugment-plain"))
    holes = view.params(uniforms(view, 4000), None)["holes"]
    sides = holes[:, 2:] - holes[:, :2]
    assert sides.max() == 16 and sides.min() == 8
    values, pixels = uniforms(view, 8), pictures(8, 32)
    ours, without = run_weak(view, pixels, values), run_weak(plain, pixels, values[:, :-4])
    holes = view.params(values, None)["holes"]
    for image, (top, left, bottom, right) in zip(without, holes, strict=True):
        image[top:bottom, left:right] = FILL
    np.testing.assert_array_equal(ours, without)


@pytest.mark.parametrize("where", ["dali", "kernel"])
def test_both_ways_give_the_same_pixels(where):
    view = build_view("ctaugment", geometry(), operations=where)
    other = build_view("ctaugment", geometry(), operations="kernel")
    values, pixels = uniforms(view, 20), pictures(20, 32)
    np.testing.assert_array_equal(run_weak(view, pixels, values), run_weak(other, pixels, values))
