"""RandAugment: the whole view against Pillow, and the kernel against DALI."""

import numpy as np
import pytest

from semisonic.data.views import policies as pools
from semisonic.data.views import registry as augment
from semisonic.data.views.registry import build_view
from tests.support import pil_reference
from tests.support.views import FILL, files, geometry, pictures, reflect, run, run_weak, uniforms

pytestmark = pytest.mark.filterwarnings("ignore:The external source node")


def run_alike(spec, **changes):
    """What a spec's DALI operators make of some images, and what the kernel does with the same draws."""
    views = [build_view(spec, geometry(**changes), operations=where) for where in ("dali", "kernel")]
    values, images = uniforms(views[0], 300, seed=7), pictures(300, views[0].geometry.size, seed=8)
    return [run_weak(view, images, values) for view in views]


def test_randaugment_at_magnitude_0_is_weak():
    """Where no operation is drawn that has no magnitude; of the authors' factors none is 1 at M = 0."""
    spec = "randaugment-signed(3,0)"
    view, weak = build_view(spec, geometry()), build_view("weak", geometry())
    values = uniforms(view, 300)
    names = list(view.policy.operations)
    drawn = np.stack([pools.draw_operations(view.policy, values[:, 4 + 4 * k : 8 + 4 * k])[0] for k in range(3)])
    without_magnitude = np.isin(drawn, [names.index("auto_contrast"), names.index("equalize")]).any(axis=0)
    images = pictures(300, 32)
    ours, plain = run_weak(view, images, values), run_weak(weak, images, values[:, :4])
    np.testing.assert_array_equal(ours[~without_magnitude], plain[~without_magnitude])
    assert (ours != plain).any() and 50 < without_magnitude.sum() < 200


@pytest.mark.parametrize("where", ["dali", "kernel"])
@pytest.mark.parametrize(
    "spec", ["fixmatch", "usb", "kekmodel", "randaugment(2,9)", "fixmatch(0.5,127)", "usb(16)", "randaugment(2,9,8)"]
)
def test_policy_equals_pillow_end_to_end(spec, where):
    """Weak, the drawn operations, Cutout. A rotated pixel may differ, and later operations spread it."""
    view, weak = build_view(spec, geometry(), equalize="pil", operations=where), build_view("weak", geometry())
    values, images = uniforms(view, 240, seed=3), pictures(240, 32, seed=4)
    ours = run_weak(view, images, values)
    expected = run_weak(weak, images, values[:, :4])
    names = list(view.policy.operations)
    for level in range(view.policy.levels):
        operations, magnitudes = pools.draw_operations(view.policy, values[:, 4 + 4 * level : 8 + 4 * level])
        for n, (operation, magnitude) in enumerate(zip(operations, magnitudes, strict=True)):
            if operation >= 0:
                name = names[operation]
                if view.policy.whole_pixels and name.startswith("translate"):
                    magnitude = int(magnitude * 32) / 32
                expected[n] = pil_reference.apply(name, expected[n], magnitude)
    if view.policy.cutout is not None:
        usb, gray = (125, 123, 114), (127, 127, 127)
        fill = {"usb": usb, "usb(16)": usb, "kekmodel": gray, "fixmatch(0.5,127)": gray}.get(spec, FILL)
        fixed = {"kekmodel": 16, "usb(16)": 16, "randaugment(2,9,8)": 8}.get(spec)
        for n, (size, y, x) in enumerate(values[:, -4:-1]):
            side = fixed or int(size * 16 + 0.5)
            expected[n] = pil_reference.cutout(expected[n], side, (int(y * 32), int(x * 32)), fill)
    same = (ours == expected).all(axis=(1, 2, 3))
    assert same.mean() > 0.9
    assert np.abs(ours.astype(int) - expected).mean() < 0.1


@pytest.mark.parametrize("size", [32, 33])
@pytest.mark.parametrize(
    "spec",
    [
        "fixmatch", "usb", "kekmodel", "randaugment(2,9)", "randaugment(4,30)", "mpl", "cutout(9)",
        "fixmatch(0.25,127)", "usb(16,1,2,3)", "randaugment-signed(2,9)", "randaugment(2,9,8,127)",
    ],
)  # fmt: skip
def test_kernel_equals_dali(spec, size):
    np.testing.assert_array_equal(*run_alike(spec, size=size))


@pytest.mark.parametrize("where", ["dali", "kernel"])
def test_an_operation_that_is_not_applied_leaves_the_image(where):
    """Also in a policy without geometric operations, whose levels have no branch for it otherwise."""
    ranges = {"solarize": pools.Range(0, 0), "brightness": pools.Range(0, 0)}
    policy = pools.Policy(ranges, levels=1, probability=0.5)
    view = augment.RandAugment(geometry(pad=0, flip=False), policy, operations=where)
    images = pictures(40, 32)
    values = uniforms(view, 40)
    ours = run_weak(view, images, values)
    operation, applied = values[:, 4] >= 0.5, values[:, 7] < 0.5
    expected = np.where(operation[:, None, None, None], 0, 255 - images)
    np.testing.assert_array_equal(ours, np.where(applied[:, None, None, None], expected, images))


def test_encoded_strong_views_start_from_the_window():
    view, weak = (build_view(spec, geometry(24, encoded=True)) for spec in ("fixmatch", "weak"))
    encoded, _, shapes = files()
    values = uniforms(view, len(encoded))
    values[:, 8::4] = 0.01  # every level draws the first operation, the identity
    values[:, -4] = 0  # and the hole has no pixels
    ours = run(view, encoded, view.params(values, shapes))
    np.testing.assert_array_equal(ours, run(weak, encoded, weak.params(values[:, :8], shapes)))


@pytest.mark.gpu
@pytest.mark.parametrize("equalize", ["dali", "pil"])
@pytest.mark.parametrize("spec", ["fixmatch", "usb", "kekmodel", "randaugment(2,9)"])
def test_finished_on_a_gpu_equals_cpu(spec, equalize):
    images = reflect(pictures(96, 32), 4)
    outputs = []
    for device, device_id in (("cpu", None), ("gpu", 0)):
        view = build_view(spec, geometry(device=device), equalize, "kernel")
        outputs.append(run(view, images, view.params(uniforms(view, 96), None), device_id=device_id))
    np.testing.assert_array_equal(*outputs)


@pytest.mark.kernels("fused")
@pytest.mark.parametrize("where", ["dali", "kernel"])
def test_holes_of_the_mpl_pool_are_gray_and_take_their_turn(where):
    """First a hole of 6 pixels, then a translation that takes it along."""
    view = build_view("mpl", geometry(pad=0, flip=False), operations=where)
    names = list(view.policy.operations)
    images, values = pictures(1, 32), np.full((1, view.uniforms), 0.25)
    values[0, 4:8] = (names.index("cutout") + 0.5) / 15, 0.5, 0.25, 0  # center (16, 8)
    values[0, 8:12] = (names.index("translate_x") + 0.5) / 15, 0, 0.9, 0  # to the left, 6.4 pixels
    ours = run_weak(view, images, values)
    images[0, 13:19, 5:11] = 127
    np.testing.assert_array_equal(ours[0], pil_reference.apply("translate_x", images[0], 0.2))


@pytest.mark.kernels("fused")
@pytest.mark.parametrize("where", ["dali", "kernel"])
def test_cutout_is_weak_with_a_hole(where):
    view, weak = build_view("cutout(10)", geometry(), operations=where), build_view("weak", geometry())
    values, images = uniforms(view, 60), pictures(60, 32)
    expected = run_weak(weak, images, values[:, :4])
    for n, (_, y, x, _) in enumerate(values[:, 4:]):
        expected[n] = pil_reference.cutout(expected[n], 10, (int(y * 32), int(x * 32)), FILL)
    np.testing.assert_array_equal(run_weak(view, images, values), expected)


def test_a_growing_magnitude_is_the_first_one_then_between_then_the_last_one():
    view = build_view("randaugment(2,1..9)", geometry())
    values = uniforms(view, 200)
    assert view.grows and not build_view("randaugment(2,9)", geometry()).grows
    for share, magnitude in {0.0: 1, 0.25: 3, 0.5: 5, 1.0: 9}.items():
        expected = build_view(f"randaugment(2,{magnitude})", geometry()).params(values, None)
        grown = view.at(share).params(values, None)
        assert grown.keys() == expected.keys()
        for name, array in grown.items():
            np.testing.assert_allclose(array, expected[name], rtol=1e-6, atol=1e-5, err_msg=name)
            if share in (0.0, 1.0):
                np.testing.assert_array_equal(array, expected[name])
    by_itself, constant = view.params(values, None), build_view("randaugment(2,4.7..4.7)", geometry())
    np.testing.assert_array_equal(by_itself["value0"], view.at(0.0).params(values, None)["value0"])
    for share in (0.0, 0.3, 1.0):
        np.testing.assert_array_equal(
            constant.at(share).params(values, None)["value1"],
            build_view("randaugment(2,4.7)", geometry()).params(values, None)["value1"],
        )
