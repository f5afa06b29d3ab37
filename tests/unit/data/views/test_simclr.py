"""SimCLR's views: their draws, and crops and gray against Pillow's."""

import numpy as np
import pytest
from PIL import Image

from semisonic.data.views.registry import build_view
from semisonic_kernels import augment as kernel
from tests.support.views import files, geometry, pictures, reflect, run, uniforms

pytestmark = [pytest.mark.filterwarnings("ignore:The external source node"), pytest.mark.kernels("fused")]


def test_simclr_draws():
    view = build_view("simclr(0.5)", geometry(pad=4))
    params = view.params(uniforms(view, 20_000), None)
    start, shape = params["start"], params["shape"]
    assert start.min() == 4 and (start + shape).max() == 36  # inside the reflected margin
    area = shape.prod(axis=1) / 1024
    small = area < 0.5  # no side is clamped there: 42 in 92 of U(0.08, 1)
    assert area.min() < 0.09 and small.mean() == pytest.approx(42 / 92, abs=0.02)
    assert params["mirror"].mean() == pytest.approx(0.5, abs=0.02)
    codes, values = params["operations"], params["values"]
    jittered = codes[:, 0] != kernel.NONE
    assert jittered.mean() == pytest.approx(0.8, abs=0.01)
    assert (codes[~jittered, :4] == kernel.NONE).all()
    four = {kernel.BRIGHTNESS, kernel.CONTRAST, kernel.COLOR, kernel.HUE}
    orders, counts = np.unique(codes[jittered, :4], axis=0, return_counts=True)
    assert len(orders) == 24 and all(set(order) == four for order in orders) and counts.min() > 0.7 * counts.mean()
    for code in four:
        drawn = values[:, :4][codes[:, :4] == code]
        low, high = (-0.1, 0.1) if code == kernel.HUE else (0.6, 1.4)
        np.testing.assert_allclose(np.quantile(drawn, [0, 0.25, 0.5, 1]), np.interp([0, 0.25, 0.5, 1], [0, 1], [low, high]),
                                   atol=0.02 * (high - low))  # fmt: skip
    gray = codes[:, 4] == kernel.COLOR
    assert gray.mean() == pytest.approx(0.2, abs=0.01) and (values[gray, 4] == 0).all()
    assert (codes[~gray, 4] == kernel.NONE).all()


def test_simclr_without_strength_and_gray_is_pillows_resized_crop():
    view = build_view("simclr(0)", geometry())
    values, images = uniforms(view, 40), pictures(40, 32)
    values[:, 6] = 0.5  # no gray
    params = view.params(values, None)
    assert (params["values"][params["operations"] == kernel.HUE] == 0).all()
    ours = run(view, reflect(images, 4), params)
    for image, result, start, shape, flip in zip(
        images, ours, params["start"], params["shape"], params["mirror"], strict=True
    ):
        (y, x), (height, width) = start - 4, shape
        window = Image.fromarray(image[y : y + height, x : x + width])
        theirs = np.asarray(window.resize((32, 32), Image.Resampling.BILINEAR))
        delta = np.abs(result.astype(int) - (theirs[:, ::-1] if flip else theirs))
        assert delta.max() <= 2 and delta.mean() < 0.4


def test_simclr_gray_is_pillows():
    view = build_view("simclr", geometry(flip=False))
    values, images = uniforms(view, 9), pictures(9, 32)
    values[:, 5:7] = 0.9, 0.1  # no jitter, but gray
    colored = values.copy()
    colored[:, 6] = 0.5
    gray, colors = (run(view, reflect(images, 4), view.params(v, None)) for v in (values, colored))
    theirs = [np.asarray(Image.fromarray(image).convert("L").convert("RGB")) for image in colors]
    np.testing.assert_array_equal(gray, np.stack(theirs))


def test_simclr_of_encoded_images():
    view = build_view("simclr", geometry(24, pad=0, encoded=True))
    encoded, _, shapes = files()
    ours = run(view, encoded, view.params(uniforms(view, len(encoded)), shapes))
    assert ours.shape == (len(encoded), 24, 24, 3) and ours.std() > 10
