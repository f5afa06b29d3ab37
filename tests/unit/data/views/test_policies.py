"""Policies: which operations are drawn, at which magnitudes, and the holes of Cutout."""

import numpy as np
import pytest

from semisonic.data.views import operations
from semisonic.data.views import policies as pools
from semisonic.data.views.registry import build_view
from tests.support.views import geometry, uniforms

pytestmark = pytest.mark.filterwarnings("ignore:The external source node")


def draws_by_name(spec, count=60_000, **changes):
    view = build_view(spec, geometry(**changes))
    names = list(view.policy.operations)
    operation, magnitude = pools.draw_operations(view.policy, np.random.default_rng(1).random((count, 4)))
    return {name: magnitude[operation == index] for index, name in enumerate(names)}, (operation < 0).mean()


@pytest.mark.parametrize("spec, probability", [("fixmatch", 1), ("usb", 1), ("kekmodel", 0.5), ("randaugment(2,9)", 1)])
def test_operations_are_equally_frequent(spec, probability):
    drawn, idle = draws_by_name(spec)
    assert set(drawn) | {"invert"} == set(operations.OPERATIONS) and len(drawn) == 14
    counts = np.array([len(values) for values in drawn.values()])
    expected = 60_000 * probability / 14
    assert idle == pytest.approx(1 - probability, abs=0.01)
    assert ((counts - expected) ** 2 / expected).sum() < 13 + 4 * np.sqrt(26)


SIGNED = ["rotate", "shear_x", "shear_y", "translate_x", "translate_y"]

ENHANCE = ["brightness", "color", "contrast", "sharpness"]


@pytest.mark.parametrize("spec", ["fixmatch", "usb"])
def test_magnitudes_of_the_paper(spec):
    drawn, _ = draws_by_name(spec)
    ranges = dict.fromkeys(ENHANCE, (0.05, 0.95)) | {"solarize": (0, 256), "rotate": (-30, 30)}
    ranges |= dict.fromkeys(SIGNED[1:], (-0.3, 0.3))
    for name, (low, high) in ranges.items():
        deciles = np.quantile(drawn[name], np.linspace(0, 1, 11))
        np.testing.assert_allclose(deciles, np.linspace(low, high, 11), atol=0.03 * (high - low), err_msg=name)
        assert low <= deciles[0] and deciles[-1] <= high
    bits, counts = np.unique(drawn["posterize"], return_counts=True)
    assert list(bits) == [4, 5, 6, 7, 8] and counts.min() > 0.9 * counts.mean()


def test_magnitudes_of_kekmodel():
    drawn, _ = draws_by_name("kekmodel")
    levels = np.arange(1, 10)
    for name in ENHANCE:
        np.testing.assert_allclose(np.unique(drawn[name].round(6)), 0.05 + 0.09 * levels, atol=1e-6)
    for name, unit in zip(SIGNED, [3, 0.03, 0.03, 0.03, 0.03], strict=True):
        values = np.unique(drawn[name].round(6))
        np.testing.assert_allclose(values, unit * np.concatenate([-levels[::-1], levels]), atol=1e-6)
    np.testing.assert_allclose(np.unique(drawn["solarize"].round(6)), 256 - 25.6 * levels[::-1], atol=1e-6)
    assert list(np.unique(drawn["posterize"])) == [4, 5, 6, 7]
    view = build_view("kekmodel", geometry())
    index = np.full(9, list(view.policy.operations).index("translate_x"))
    shift = view.encode(index, 0.03 * levels)[2][:, 0, 2]
    assert list(shift) == [int(0.03 * level * 32) for level in levels]


def test_magnitudes_of_randaugment():
    drawn, _ = draws_by_name("randaugment(2,10)")
    expected = dict.fromkeys(ENHANCE, 1.9) | {"solarize": [0], "posterize": [4], "rotate": [-30, 30]}
    expected |= {"shear_x": [-0.3, 0.3], "translate_y": [-0.3125, 0.3125]}
    for name, values in expected.items():
        np.testing.assert_allclose(np.unique(drawn[name].round(9)), values, err_msg=name)
    assert np.mean(drawn["rotate"] > 0) == pytest.approx(0.5, abs=0.03)
    view = build_view("randaugment(2,30)", geometry())
    params = view.params(uniforms(view, 4000), None)
    for code, name in enumerate(name for name in view.policy.operations if name not in operations.MATRICES):
        values = set(params["value0"][params["code0"] == code])
        assert values == {"posterize": {128}, "solarize": {0}}.get(name, values)
        assert name not in ENHANCE or values == {np.float32(5.5)}


@pytest.mark.parametrize("magnitude", [0, 1, 5, 9, 16, 22.5])
def test_factors_of_randaugment_rise_with_its_magnitude(magnitude):
    """0.1 + 0.18 M as in the sources: none is 0, which makes an image one flat color; those that once were, by name."""
    drawn, _ = draws_by_name(f"randaugment(2,{magnitude})", count=2000)
    signed, _ = draws_by_name(f"randaugment-signed(2,{magnitude})", count=2000)
    for name in ENHANCE:
        np.testing.assert_allclose(np.unique(drawn[name]), 0.1 + 0.18 * magnitude)
        spread = 0.09 * magnitude
        np.testing.assert_allclose(np.unique(signed[name].round(9)), sorted({1 - spread, 1 + spread}))
    for name in drawn.keys() - set(ENHANCE):
        np.testing.assert_array_equal(drawn[name], signed[name])


CUTOUTS = {
    "fixmatch": (0.5, None, None),
    "fixmatch(0.5,127)": (0.5, None, (127, 127, 127)),
    "fixmatch(16,127)": (0.5, 16, (127, 127, 127)),
    "fixmatch(0.25)": (0.25, None, None),
    "usb": (0.5, None, (125, 123, 114)),
    "usb(16)": (0.5, 16, (125, 123, 114)),
    "kekmodel(1,1,2,3)": (0.5, 1, (1, 2, 3)),
    "randaugment(2,9,0.5,0)": (0.5, None, (0, 0, 0)),
    "randaugment(2,9,8)": (0.5, 8, None),
    "cutout(9,255)": (0.5, 9, (255, 255, 255)),
}


@pytest.mark.parametrize("spec", CUTOUTS)
def test_side_and_color_of_cutout_are_those_of_the_spec(spec):
    cutout = build_view(spec, geometry()).policy.cutout
    assert (cutout.share, cutout.pixels, cutout.fill) == CUTOUTS[spec]
    start, stop = pools.draw_hole(cutout, np.random.default_rng(0).random((5000, 4)), 32)
    assert (stop - start).max() == (cutout.pixels or 32 * cutout.share)


def test_a_side_of_0_is_no_hole():
    for spec in ("fixmatch(0)", "usb(0)", "randaugment(2,9,0)", "randaugment(2,9)"):
        assert build_view(spec, geometry()).policy.cutout is None


def test_cutout_draws():
    values = np.random.default_rng(0).random((50_000, 4))
    start, stop = pools.draw_hole(pools.Cutout(), values, 32)
    assert start.min() == 0 and stop.max() == 32 and (start <= stop).all()
    side = (stop - start).max(axis=1)
    counts = np.bincount(side.astype(int), minlength=17)
    assert len(counts) == 17 and side.mean() == pytest.approx(8, abs=0.7)
    assert np.all(counts[1:16] > 0.7 * 50_000 / 16)
    # Symmetric clipping: as many holes lose pixels at the top left as at the bottom right.
    np.testing.assert_allclose((start == 0).mean(axis=0), (stop == 32).mean(axis=0), atol=0.02)
    fixed = pools.draw_hole(pools.Cutout(pixels=16), values, 32)
    assert (fixed[1] - fixed[0]).min() == 8 and (fixed[1] - fixed[0]).max() == 16


@pytest.mark.kernels("fused")
def test_magnitudes_of_mpl():
    policy = build_view("mpl", geometry()).policy
    assert len(policy.operations) == 15 and set(policy.operations) >= {"invert", "cutout"}
    operation, magnitude = pools.draw_operations(policy, np.random.default_rng(0).random((60_000, 4)))
    assert (operation < 0).mean() == pytest.approx(0.5, abs=0.01)
    counts = np.bincount(operation[operation >= 0], minlength=15)
    assert ((counts - 2000) ** 2 / 2000).sum() < 14 + 4 * np.sqrt(28)
    drawn = {name: np.unique(magnitude[operation == n].round(9)) for n, name in enumerate(policy.operations)}
    expected = {"brightness": [2.98], "sharpness": [2.98], "posterize": [6], "solarize": [-153], "cutout": [0.2]}
    expected |= {"rotate": [-48, 48], "shear_x": [-0.48, 0.48], "translate_y": [-0.2, 0.2]}
    for name, values in expected.items():
        np.testing.assert_allclose(drawn[name], values)
    assert operations.VALUES["solarize"](np.array([-153.0])) == 0  # which inverts everything
