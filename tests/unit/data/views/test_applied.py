"""What captions say is what was done: of planted draws, of the parameters that operators read, and of the pixels."""

import numpy as np
import pytest
from torch import device

from semisonic.data.loading.calls import Placement
from semisonic.data.loading.draws import Draws
from semisonic.data.loading.image_source import ImageSource
from semisonic.data.loading.stream import Extras, Stream
from semisonic.data.sets.base import Images
from semisonic.data.views import ctaugment
from semisonic.data.views.applied import Applied
from semisonic.data.views.operations import CODES, VALUES
from semisonic.data.views.registry import build_view, view_examples
from semisonic.data.views.simclr import NAMES
from semisonic.data.views.view import View
from semisonic.reporting.view_grids import SameImages
from semisonic_kernels.augment import BLUR, NONE, RESCALE, SHARPNESS, WARP
from tests.support.views import geometry, run_weak, uniforms

CENTER = [0.5, 0.5, 0.9, 0.0]
"""Draws of `weak`: no shift at a padding of 4 pixels, no flip."""


def texts(spec: str, *draws: list[float], **changes: object) -> list[list[str]]:
    view = build_view(spec, geometry(**changes), operations="kernel")
    values = np.array(draws)
    return [[one.text for one in done] for done in view.applied(values, None)]


def place(name: str, names: list[str]) -> float:
    """A uniform number that draws this operation of a list."""
    return (names.index(name) + 0.5) / len(names)


def drawn(name: str, strength: float, sign: float = 0.9, applied: float = 0.0) -> list[float]:
    names = list(build_view("fixmatch", geometry()).policy.operations)
    return [place(name, names), strength, sign, applied]


@pytest.mark.parametrize(
    ("name", "strength", "text"),
    [
        ("brightness", 0.5, "brightness × 0.50"),
        ("color", 0.0, "color × 0.05"),
        ("posterize", 0.0, "posterize to 4 bits"),
        ("posterize", 0.99, "posterize to 8 bits"),
        ("solarize", 0.25, "solarize from 64"),
        ("rotate", 0.5, "rotate +15°"),
        ("shear_x", 1.0, "shear x +0.30"),
        ("translate_y", 0.5, "translate y +15%"),
        ("equalize", 0.7, "equalize"),
        ("identity", 0.7, "identity"),
    ],
)
def test_planted_draws_of_a_policy(name: str, strength: float, text: str):
    other, no_hole = drawn("auto_contrast", 0.0), [0.0] * 4
    assert texts("fixmatch", [*CENTER, *drawn(name, strength), *other, *no_hole]) == [[text, "auto contrast"]]


def test_planted_draws_of_shifts_flips_signs_and_holes():
    ops = [*drawn("rotate", 0.5, sign=0.1), *drawn("identity", 0.0)]
    hole = [1 - 1e-9, 0.5, 0.5, 0.0]  # 16 of 32 pixels in the middle
    (said,) = texts("fixmatch", [0.0, 0.999, 0.1, 0.0, *ops, *hole])
    assert said == ["shift 4 px left", "shift 4 px down", "flip", "rotate -15°", "identity", "cutout 16 px"]
    (said,) = texts("fixmatch", [*CENTER, *ops, 1 - 1e-9, 0.0, 0.0, 0.0])  # in the corner: a half of each side
    assert said[-1] == "cutout 8 px"
    (said,) = texts(
        "kekmodel", [*CENTER, *drawn("rotate", 0.5, applied=0.6), *drawn("identity", 0.0, applied=0.4), *hole]
    )
    assert said == ["identity", "cutout 16 px"]  # the other was drawn and not applied


def test_planted_draws_of_other_views():
    assert texts("noise(0.2)", CENTER) == [["noise σ 0.20"]] and texts("plain", []) == [[]]
    assert texts("cutout(8)", [*CENTER, 0.0, 0.5, 0.5, 0.0]) == [["cutout 8 px"]]
    names = list(ctaugment._NAMES)
    probe = [place("rotate", names), 0.0, 0.5, 0, 0, 0, 0, 0], [place("identity", names), 0.4, 0.5, 0, 0, 0, 0, 0]
    assert texts("ctaugment-probe", [*CENTER, *probe[0], *probe[1]]) == [[f"rotate level {0.5 / 17:.2f}", "identity"]]
    square = [0.0, 0.0, 1.0, 0.5]  # all of the image, at a ratio of 1
    jitter = [0.9, 0.0, 0.9, 0.0, 0.5, 0.5, 0.5, 0.5]
    assert texts("simclr(0.5)", [*square, *jitter]) == [
        ["crop 100% of the area", "brightness × 1.00", "contrast × 1.00", "color × 1.00", "hue +0% of a turn"]
    ]
    assert texts("simclr(0.5)", [*square, 0.1, 0.9, 0.1, 0.0, 0, 0, 0, 0]) == [
        ["crop 100% of the area", "flip", "gray"]
    ]


@pytest.mark.parametrize("spec", ["fixmatch", "usb", "kekmodel", "mpl", "randaugment(2,9)", "ctaugment", "simclr"])
def test_captions_are_of_the_parameters_that_operators_read(spec: str):
    """Each code, and of values that are factors, bits or thresholds the number itself."""
    view = build_view(spec, geometry(), operations="kernel")
    values = uniforms(view, 200, seed=5)
    params, captions = view.params(values, None), view.applied(values, None)
    for codes, numbers, said in zip(params["operations"], params["values"], captions, strict=True):
        wanted = [(code, number) for code, number in zip(codes.tolist(), numbers.tolist(), strict=True) if code != NONE]
        own = [one for one in said if one.name not in ("shift", "flip", "identity", "crop")]
        if "holes" in params and own and own[-1].name == "cutout":
            own.pop()
        assert len(own) == len(wanted)
        for one, (code, number) in zip(own, wanted, strict=True):
            assert code == code_of(spec, one)
            if code != WARP and one.strength is not None and spec != "ctaugment":
                expected = VALUES[one.name](np.array([one.strength]))[0] if one.name in VALUES else one.strength
                assert number == pytest.approx(expected, abs=1e-6) or one.name == "cutout"


def code_of(spec: str, one: Applied) -> int:
    if spec == "simclr":
        return {name: code for code, name in NAMES.items()}[one.name if one.name != "gray" else "color"]
    if spec == "ctaugment":
        return {"blur": BLUR, "smooth": SHARPNESS, "rescale": RESCALE}.get(one.name) or CODES[one.name]
    return CODES[one.name]


def test_shifts_and_flips_are_those_of_the_pixels():
    """Of images whose colors say where each pixel was."""
    view = build_view("weak", geometry(size=16, pad=3))
    values = uniforms(view, 60, seed=2)
    y, x = np.mgrid[:16, :16]
    images = np.repeat(np.stack([x, y, 0 * x], axis=-1).astype(np.uint8)[None] * 8 + 40, 60, axis=0)
    for image, done in zip(run_weak(view, images, values), view.applied(values, None), strict=True):
        expected = np.pad(images[0], ((3, 3), (3, 3), (0, 0)), mode="reflect")
        by = {one.text.rsplit(" ", 1)[1]: int(one.strength or 0) for one in done if one.name == "shift"}
        down, right = by.get("down", 0) - by.get("up", 0), by.get("right", 0) - by.get("left", 0)
        expected = expected[3 - down : 19 - down, 3 - right : 19 - right]
        expected = expected[:, ::-1] if done and done[-1].name == "flip" else expected
        np.testing.assert_array_equal(image, expected)


def test_augmix_says_its_shares_and_chains():
    view = build_view("augmix(3)", geometry())
    values = uniforms(view, 50, seed=3)
    params = view.params(values, None)
    for done, weights, codes in zip(view.applied(values, None), params["weights"], params["operations"], strict=True):
        own, *chains = [one.text for one in done if one.name not in ("flip",) and not one.name.startswith("shift")]
        assert own == f"{weights[0]:.0%} as it is" and len(chains) == 3
        for text, weight, chain in zip(chains, weights[1:], codes, strict=True):
            assert text.startswith(f"{weight:.0%} ") and text.count(",") == max((chain != NONE).sum() - 1, 0)


def test_encoded_images_say_the_share_of_their_area():
    view = build_view("weak", geometry(encoded=True, pad=0, least=0.2))
    values, shapes = uniforms(view, 20), np.tile([40, 60], (20, 1))
    params = view.params(values, shapes)
    for done, (height, width), mirror in zip(
        view.applied(values, shapes), params["shape"], params["mirror"], strict=True
    ):
        assert done[0].strength == pytest.approx(height * width / 2400) and (done[-1].name == "flip") == bool(mirror)


@pytest.mark.parametrize("spec", view_examples())
def test_every_view_says_something_of_every_sample(spec: str):
    view = build_view(spec, geometry(), operations="kernel")
    captions = view.applied(uniforms(view, 7), None)
    assert len(captions) == 7 and (spec == "plain" or any(captions))


def test_a_view_of_somebody_else_s_says_nothing():
    class Own(View):
        uniforms = 4

        def params(self, uniforms_NK, shapes_N2):
            return {}

        def graph(self, source, params):
            return source

    assert Own().applied(np.zeros((3, 4)), None) == [[], [], []]


def test_a_stream_says_what_it_does_step_by_step_as_a_growing_view_grows():
    pixels = np.zeros((4, 8, 8, 3), np.uint8)
    source = ImageSource(Images(pixels, np.zeros(4, np.int64)), geometry(size=8, pad=2))
    extras = Extras(run=11)
    with Stream(
        Draws(0, "labeled"), source, {"a": "weak", "b": "randaugment(1,0..30)"}, SameImages(4),
        Placement(device("cpu")), extras=extras,
    ) as stream:  # fmt: skip
        for step in (0, 10):
            said = stream.applied(step)
            view = extras.view_of(stream.views["b"], step)
            assert view.policy.fixed == 3.0 * (step == 10) and {*said} == {"a", "b"}
            values = Draws(0, "labeled").uniforms("view", "b", np.arange(4 * step, 4 * step + 4), view.uniforms)
            assert said["b"] == view.applied(values, None) and len(said["a"]) == 4
