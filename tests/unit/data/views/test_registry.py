"""Views: the host draws against their distributions, the DALI graphs against Pillow and numpy."""

import numpy as np
import pytest
import torch
from PIL import Image

from semisonic.data.views import operations
from semisonic.data.views import policies as pools
from semisonic.data.views import registry as augment
from semisonic.data.views.registry import build_view, single_operation
from semisonic.schema import UserError
from tests.support import pil_reference
from tests.support.views import FILL, files, geometry, pictures, reflect, run, run_weak, uniforms

# A view of one operation leaves some parameters unused, which DALI reports.
pytestmark = pytest.mark.filterwarnings("ignore:The external source node")


def run_alike(spec, **changes):
    """What a spec's DALI operators make of some images, and what the kernel does with the same draws."""
    views = [build_view(spec, geometry(**changes), operations=where) for where in ("dali", "kernel")]
    values, images = uniforms(views[0], 300, seed=7), pictures(300, views[0].geometry.size, seed=8)
    return [run_weak(view, images, values) for view in views]


def difference(ours, theirs):
    """Largest difference, and share of pixels that differ."""
    delta = np.abs(ours.astype(int) - theirs.astype(int))
    return delta.max(), (delta.max(axis=-1) > 0).mean()


# --- operations, one at a time ----------------------------------------------------------------------------

MAGNITUDES = {
    "identity": [0],
    "auto_contrast": [0],
    "invert": [0],
    "brightness": [0, 0.05, 0.37, 0.5, 0.95, 1.7],
    "color": [0, 0.05, 0.37, 0.5, 0.95, 1.7],
    "contrast": [0, 0.05, 0.37, 0.5, 0.95, 1.7],
    "sharpness": [0, 0.05, 0.37, 0.5, 0.95, 1.7],
    "posterize": [1, 4, 5, 6, 7, 8],
    "solarize": [0, 0.5, 100, 200.3, 255, 256],
    "rotate": [-30, -7.3, 0, 11, 27],
    "shear_x": [-0.3, -0.05, 0, 0.123, 0.27],
    "shear_y": [-0.3, -0.05, 0, 0.123, 0.27],
    "translate_x": [-0.3, -0.04, 0, 0.123, 0.29],
    "translate_y": [-0.3, -0.04, 0, 0.123, 0.29],
}
# (largest difference, share of pixels). Pillow rotates in 16.16 fixed point, so that a source coordinate near
# a pixel's edge may fall into the neighbor, which can have any value. All else is exact.
TOLERANCES = {"rotate": (255, 0.001)}


def run_operation(name, size, magnitudes, equalize="dali", count=24):
    """(ours, images, magnitude of each): every image at every magnitude, in one batch."""
    images = pictures(count, size, seed=size)
    view_geometry = geometry(size, pad=0, flip=False)
    views = [single_operation(name, magnitude, view_geometry, equalize) for magnitude in magnitudes]
    every = [view.params(uniforms(view, count), None) for view in views]
    params = {key: np.concatenate([one[key] for one in every]) for key in every[0]}
    images = np.concatenate([images] * len(magnitudes))
    return run(views[0], images, params), images, np.repeat(magnitudes, count)


@pytest.mark.parametrize("size", [32, 48])
@pytest.mark.parametrize("name", MAGNITUDES)
def test_operation_matches_pillow(name, size):
    ours, images, magnitudes = run_operation(name, size, MAGNITUDES[name])
    theirs = np.stack([pil_reference.apply(name, image, m) for image, m in zip(images, magnitudes, strict=True)])
    largest, share = TOLERANCES.get(name, (0, 0))
    found = difference(ours, theirs)
    assert found[0] <= largest and found[1] <= share, found
    if name != "identity":
        assert difference(ours, images)[1] > 0.05  # the operation does something to these pictures


@pytest.mark.parametrize("size", [32, 48])
def test_equalize(size):
    ours, images, _ = run_operation("equalize", size, [0])
    np.testing.assert_array_equal(ours, np.stack([pil_reference.equalize_rounded(image) for image in images]))
    pillow = np.stack([pil_reference.apply("equalize", image, 0) for image in images])
    np.testing.assert_array_equal(run_operation("equalize", size, [0], "pil")[0], pillow)
    assert difference(ours, pillow)[0] > 10


def test_every_operation_is_tested():
    assert set(MAGNITUDES) | {"equalize"} == set(operations.OPERATIONS)


# --- windows ----------------------------------------------------------------------------------------------


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


# --- policies ---------------------------------------------------------------------------------------------


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
    expected = dict.fromkeys(ENHANCE, (0.1, 1.9)) | {"solarize": [0], "posterize": [4], "rotate": [-30, 30]}
    expected |= {"shear_x": [-0.3, 0.3], "translate_y": [-0.3125, 0.3125]}
    for name, values in expected.items():
        np.testing.assert_allclose(np.unique(drawn[name].round(9)), values, err_msg=name)
    assert np.mean(drawn["rotate"] > 0) == pytest.approx(0.5, abs=0.03)
    view = build_view("randaugment(2,30)", geometry())
    params = view.params(uniforms(view, 4000), None)
    for code, name in enumerate(name for name in view.policy.operations if name not in operations.MATRICES):
        values = set(params["value0"][params["code0"] == code])
        assert values == {"posterize": {128}, "solarize": {0}}.get(name, values)
        assert name not in ENHANCE or values == {0, np.float32(3.7)}


def test_randaugment_at_magnitude_0_is_weak():
    view, weak = build_view("randaugment(3,0)", geometry()), build_view("weak", geometry())
    values = uniforms(view, 300)
    names = list(view.policy.operations)
    drawn = np.stack([pools.draw_operations(view.policy, values[:, 4 + 4 * k : 8 + 4 * k])[0] for k in range(3)])
    without_magnitude = np.isin(drawn, [names.index("auto_contrast"), names.index("equalize")]).any(axis=0)
    images = pictures(300, 32)
    ours, plain = run_weak(view, images, values), run_weak(weak, images, values[:, :4])
    np.testing.assert_array_equal(ours[~without_magnitude], plain[~without_magnitude])
    assert (ours != plain).any() and 50 < without_magnitude.sum() < 200


@pytest.mark.parametrize("where", ["dali", "kernel"])
@pytest.mark.parametrize("spec", ["fixmatch", "usb", "kekmodel", "randaugment(2,9)"])
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
        fill = {"fixmatch": FILL, "usb": (125, 123, 114), "kekmodel": (127, 127, 127)}[spec]
        for n, (size, y, x) in enumerate(values[:, -4:-1]):
            side = 16 if spec == "kekmodel" else int(size * 16 + 0.5)
            expected[n] = pil_reference.cutout(expected[n], side, (int(y * 32), int(x * 32)), fill)
    same = (ours == expected).all(axis=(1, 2, 3))
    assert same.mean() > 0.9
    assert np.abs(ours.astype(int) - expected).mean() < 0.1


@pytest.mark.parametrize("size", [32, 33])
@pytest.mark.parametrize(
    "spec", ["fixmatch", "usb", "kekmodel", "randaugment(2,9)", "randaugment(4,30)", "mpl", "cutout(9)"]
)
def test_kernel_equals_dali(spec, size):
    np.testing.assert_array_equal(*run_alike(spec, size=size))


def test_views_without_operations_leave_nothing_to_do():
    images = torch.zeros(2, 16, 16, 3, dtype=torch.uint8)
    for spec in ("plain", "weak", "noise", "fixmatch"):
        view = build_view(spec, geometry(16))
        assert view.kernel_params == () and view.apply_kernel(images, {}) is images
    assert build_view("weak", geometry(), operations="kernel").kernel_params == ()
    assert "holes" not in build_view("randaugment(2,9)", geometry(), operations="kernel").kernel_params


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


# --- whole views ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["dali", "kernel"])
@pytest.mark.parametrize("spec", augment.EXAMPLES)
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


# --- encoded images ---------------------------------------------------------------------------------------


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


def test_encoded_strong_views_start_from_the_window():
    view, weak = (build_view(spec, geometry(24, encoded=True)) for spec in ("fixmatch", "weak"))
    encoded, _, shapes = files()
    values = uniforms(view, len(encoded))
    values[:, 8::4] = 0.01  # every level draws the first operation, the identity
    values[:, -4] = 0  # and the hole has no pixels
    ours = run(view, encoded, view.params(values, shapes))
    np.testing.assert_array_equal(ours, run(weak, encoded, weak.params(values[:, :8], shapes)))


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
    single = view.params(uniforms(view, 50), np.ones((50, 2), np.int32))
    assert (single["shape"] == 1).all() and (single["start"] == 0).all()


# --- mistakes ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "spec", ["", "fixmtach", "weak(1)", "plain(2)", "noise(a)", "noise(1,2)", "cutouts", "augmix(1,2)", "a b"]
)
def test_unknown_spec_lists_the_valid_ones(spec):
    with pytest.raises(UserError) as error:
        build_view(spec, geometry())
    assert all(name in str(error.value) for name in augment.VIEW_SPECS)


@pytest.mark.parametrize(
    "spec",
    [
        "randaugment",
        "randaugment(2)",
        "randaugment(0,9)",
        "randaugment(1.5,9)",
        "randaugment(2,31)",
        "randaugment(2,-1)",
        "noise(-0.1)",
        "augmix(0)",
        "augmix(11)",
        "simclr(-1)",
        "cutout",
        "cutout(0)",
        "cutout(1.5)",
        "cutout(nan)",
        "randaugment(nan,1)",
    ],
)
def test_arguments_out_of_range(spec):
    with pytest.raises(UserError, match=spec.split("(")[0]):
        build_view(spec, geometry())


def test_equalize_option_is_checked():
    with pytest.raises(UserError, match=r"data\.equalize"):
        build_view("fixmatch", geometry(), equalize="opencv")
    with pytest.raises(UserError, match=r"data\.equalize.*data\.operations=kernel"):
        build_view("fixmatch", geometry(device="gpu"), equalize="pil")
    for where in ("kernel", "auto"):
        assert build_view("fixmatch", geometry(device="gpu"), equalize="pil", operations=where).kernel_params
    with pytest.raises(UserError, match=r"data\.operations.*'auto', 'dali' or 'kernel'"):
        build_view("fixmatch", geometry(), operations="gpu")


# --- GPU --------------------------------------------------------------------------------------------------


@pytest.mark.gpu
@pytest.mark.parametrize("spec", augment.EXAMPLES)
def test_gpu_equals_cpu(spec):
    """The same operators; the GPU may round a gray value or a histogram step the other way."""
    images = reflect(pictures(96, 32), 4)
    outputs = []
    for device, device_id in (("cpu", None), ("gpu", 0)):
        view = build_view(spec, geometry(device=device))
        outputs.append(run(view, images, view.params(uniforms(view, 96), None), device_id=device_id))
    assert difference(*outputs)[1] < 0.01


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
