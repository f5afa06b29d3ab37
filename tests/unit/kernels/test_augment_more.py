"""Further operations of the fused augmentation kernel, and the views that are made of them: MPL's operations, SimCLR's
views, AugMix and Cutout."""

import colorsys

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter, ImageOps

from semisonic.data.sets.torchvision_sets import KNOWN
from semisonic.data.views import operations
from semisonic.data.views import policies as pools
from semisonic.data.views.registry import EXAMPLES, build_view
from semisonic_kernels import augment as kernel
from semisonic_kernels.augment import augment_reference
from semisonic_kernels.augment_mix import mix_chains, mix_chains_launch, mix_chains_reference
from semisonic_kernels.augment_triton import augment_launch
from tests.support import pil_reference
from tests.support.augmentation import FILL, arguments, interpreted, mixed_pictures
from tests.support.views import FILL as MEAN
from tests.support.views import files, geometry, pictures, reflect, run, run_weak, uniforms

pytestmark = [pytest.mark.filterwarnings("ignore:The external source node"), pytest.mark.kernels("fused")]


def apply(code, images, value=0.0, matrix=None, equalize="pil"):
    """One operation with one value on uint8 [N, H, W, 3] arrays."""
    count = len(images)
    matrix = torch.eye(2, 3) if matrix is None else torch.tensor(matrix, dtype=torch.float32)
    codes, values = torch.full((count, 1), code, dtype=torch.int32), torch.full((count, 1), float(value))
    own = (codes, values, matrix.expand(count, 1, 2, 3), None, FILL)
    return kernel.augment(torch.from_numpy(images), *own, equalize, extended=True).numpy()


def difference(ours, theirs):
    """Largest difference, and share of values that differ."""
    delta = np.abs(ours.astype(int) - np.asarray(theirs).astype(int))
    return delta.max(), (delta > 0).mean()


# --- operations against Pillow -----------------------------------------------------------------------------

WHOLE = {
    kernel.INVERT: ImageOps.invert,
    kernel.BLUR: lambda image: image.filter(ImageFilter.BLUR),
    kernel.AUTO_CONTRAST: ImageOps.autocontrast,
    kernel.EQUALIZE: ImageOps.equalize,
    kernel.SHARPNESS: lambda image: image.filter(ImageFilter.SMOOTH),
}


@pytest.mark.parametrize("size", [5, 32, 33])
@pytest.mark.parametrize("code", WHOLE)
def test_blends_match_pillow(code, size):
    images = pictures(12, size, seed=size)
    for level in (0, 0.3, 0.72, 1):
        ours = apply(code, images, 1 - level)
        theirs = [Image.blend(x, WHOLE[code](x), level) for x in map(Image.fromarray, images)]
        # Where the exact result is a whole number, either may fall just short of it.
        largest, share = difference(ours, np.stack(theirs))
        assert largest <= (0 if level in (0, 1) else 1) and share < 0.02


def test_hue_is_that_of_hsv():
    images = pictures(4, 16, seed=3)
    for shift in (-0.5, -0.2, 0, 0.07, 0.31, 0.5):
        ours = apply(kernel.HUE, images, shift)
        for pixel, result in zip(images.reshape(-1, 3), ours.reshape(-1, 3), strict=True):
            h, s, v = colorsys.rgb_to_hsv(*(pixel / 255))
            wanted = 255 * np.array(colorsys.hsv_to_rgb((h + shift) % 1, s, v))
            assert np.abs(result - wanted).max() < 0.501
    np.testing.assert_array_equal(apply(kernel.HUE, images, 0), images)


FILTERS = ["LANCZOS", "BICUBIC", "BILINEAR", "BOX", "HAMMING", "NEAREST"]


@pytest.mark.parametrize("method", range(6))
@pytest.mark.parametrize("share", [0, 0.07, 0.2, 0.25])
def test_rescale_matches_pillow(method, share):
    size = 32
    images = pictures(9, size, seed=1)
    scale, offset = 1 - 2 * share, share * size
    ours = apply(kernel.RESCALE, images, method, [[scale, 0, offset], [0, scale, offset]])
    box = (offset, offset, size - offset, size - offset)
    theirs = [Image.fromarray(x).resize((size, size), getattr(Image.Resampling, FILTERS[method]), box) for x in images]
    delta = np.abs(ours.astype(int) - np.stack(theirs))
    # Positions are rounded to 1/256 of a pixel, and Pillow rounds and saturates between rows and columns, which shows
    # where a filter overshoots: in noise.
    assert delta.mean() < 0.5 and np.quantile(delta, 0.95) <= 2
    assert np.quantile(delta[1::3], 0.999) <= 1
    if share == 0:
        np.testing.assert_array_equal(ours, images)


def test_holes_of_an_operation():
    images = pictures(2, 8)
    ours = apply(kernel.HOLE, images, 0, [[1, 2, 4], [8, 0, 0]])
    images[:, 1:4, 2:8] = FILL
    np.testing.assert_array_equal(ours, images)


# --- Triton ------------------------------------------------------------------------------------------------


def further_arguments(codes, height, width, seed=0):
    operations, values, matrices, holes = arguments(codes, height, width, seed)
    generator = torch.Generator().manual_seed(seed)
    values[operations == kernel.HUE] -= 1
    own = operations == kernel.RESCALE
    values[own] = torch.randint(0, 6, (int(own.sum()),), generator=generator).float()
    matrices[operations == kernel.HOLE] = torch.tensor([[1.0, 0, height // 2], [width, 0, 0]])
    return operations, values, matrices, holes


@interpreted
@pytest.mark.parametrize("shape", [(17, 19), (5, 5), (3, 2)])
def test_triton_equals_reference(shape):
    codes = [
        (code, 10 + (code + 2) % 5) for code in (*range(10, 15), *range(10, 15), kernel.EQUALIZE, kernel.AUTO_CONTRAST)
    ]
    images, own = mixed_pictures(len(codes), *shape), further_arguments(codes, *shape)
    ours = augment_launch(images, *own, FILL, False, extended=True)
    assert torch.equal(ours, augment_reference(images, *own, FILL, extended=True))
    assert not torch.equal(ours, images)


@pytest.mark.gpu
@pytest.mark.parametrize("shape", [(32, 32), (224, 224), (5, 5), (40, 530)])
def test_gpu_equals_cpu(shape):
    codes = np.random.default_rng(0).integers(0, 15, (100, 3))
    images, own = mixed_pictures(100, *shape), further_arguments(codes, *shape)
    ours = kernel.augment(images.cuda(), *(tensor.cuda() for tensor in own), FILL, extended=True).cpu()
    assert torch.equal(ours, augment_reference(images, *own, FILL, extended=True))


def test_further_operations_must_be_asked_for():
    with pytest.raises(ValueError, match=r"codes 0\.\.9"):
        kernel.augment(*_hue_of_one(), FILL)
    with pytest.raises(ValueError, match=r"codes 0\.\.14"):
        images, operations, *rest = _hue_of_one()
        kernel.augment(images, operations + 5, *rest, FILL, extended=True)


def _hue_of_one():
    return (
        mixed_pictures(1, 4, 4),
        torch.full((1, 1), kernel.HUE, dtype=torch.int32),
        *further_arguments([[0]], 4, 4)[1:],
    )


# --- the MPL pool ------------------------------------------------------------------------------------------


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


# --- Cutout ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["dali", "kernel"])
def test_cutout_is_weak_with_a_hole(where):
    view, weak = build_view("cutout(10)", geometry(), operations=where), build_view("weak", geometry())
    values, images = uniforms(view, 60), pictures(60, 32)
    expected = run_weak(weak, images, values[:, :4])
    for n, (_, y, x, _) in enumerate(values[:, 4:]):
        expected[n] = pil_reference.cutout(expected[n], 10, (int(y * 32), int(x * 32)), MEAN)
    np.testing.assert_array_equal(run_weak(view, images, values), expected)


# --- SimCLR ------------------------------------------------------------------------------------------------


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


# --- AugMix ------------------------------------------------------------------------------------------------


def test_augmix_draws():
    view = build_view("augmix", geometry())
    params = view.params(uniforms(view, 20_000), None)
    weights = params["weights"].astype(float)
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(np.quantile(1 - weights[:, 0], [0.1, 0.5, 0.9]), [0.1, 0.5, 0.9], atol=0.02)
    shares = weights[:, 1:] / (1 - weights[:, :1])
    # Every share of Dirichlet(1, 1, 1) is Beta(1, 2): distribution function 1 - (1 - x)^2.
    for share in shares.T:
        np.testing.assert_allclose(np.quantile(share, [0.25, 0.5, 0.75]), 1 - np.sqrt([0.75, 0.5, 0.25]), atol=0.02)
    assert np.corrcoef(shares.T)[0, 1] == pytest.approx(-0.5, abs=0.03)
    applied = params["operations"] != kernel.NONE
    depth = applied.sum(axis=2)
    assert np.bincount(depth.ravel())[1:] == pytest.approx(20_000, rel=0.03) and (depth > 0).all()
    assert (applied[..., :-1] >= applied[..., 1:]).all()
    masks = params["values"][params["operations"] == kernel.POSTERIZE]
    assert set(masks) == {256 - 2**4, 256 - 2**5}  # 4 bits, or from level 2.5 of 10 on one less
    thresholds = params["values"][params["operations"] == kernel.SOLARIZE]
    assert thresholds.max() <= 256 - 2 and thresholds.min() >= 256 - 76


@pytest.mark.parametrize("where", ["dali", "kernel"])
def test_augmix_with_m_0_is_weak(where):
    view, weak = build_view("augmix", geometry(), operations=where), build_view("weak", geometry())
    values, images = uniforms(view, 30), pictures(30, 32)
    values[:, -5] = 0
    np.testing.assert_array_equal(run_weak(view, images, values), run_weak(weak, images, values[:, :4]))
    values[:, -5] = 0.9
    assert (run_weak(view, images, values) != run_weak(weak, images, values[:, :4])).mean() > 0.3


def test_augmix_equals_pillow_end_to_end():
    view = build_view("augmix(3)", geometry(), equalize="pil")
    values, images = uniforms(view, 60, seed=5), pictures(60, 32)
    ours = run_weak(view, images, values)
    weak = run_weak(build_view("weak", geometry()), images, values[:, :4])
    names = list(pools.AUGMIX_OPERATIONS)
    weights = view.params(values, None)["weights"]
    for n, image in enumerate(weak):
        operation, magnitude = pools.draw_operations(view.chain.policy, values[n, 4:-8].reshape(-1, 4))
        total = weights[n, 0] * image
        for chain in range(3):
            mixed = image
            for k in range(3 * chain, 3 * chain + 1 + int(3 * values[n, -4 + chain])):
                name, m = names[operation[k]], magnitude[k]
                mixed = pil_reference.apply(name, mixed, int(m * 32) / 32 if name.startswith("translate") else m)
            total = total + weights[n, chain + 1] * mixed
        delta = np.abs(ours[n] - total)
        assert np.quantile(delta, 0.98) <= 0.501  # Pillow may rotate a pixel to its neighbor


def mixture(count, size, chains=3):
    generator = torch.Generator().manual_seed(count)
    pixels = torch.randint(0, 256, (count, 1 + chains, size, size, 3), dtype=torch.uint8, generator=generator)
    weights = torch.rand(count, 1 + chains, generator=generator)
    return pixels[:, 0], pixels[:, 1:], weights / weights.sum(1, keepdim=True)


@interpreted
@pytest.mark.parametrize("count, size", [(3, 5), (2, 20), (0, 5)])
def test_triton_mixes_like_the_reference(count, size):
    own = mixture(count, size)
    assert torch.equal(mix_chains_launch(*own), mix_chains_reference(*own))


@pytest.mark.gpu
def test_gpu_mixes_like_the_cpu():
    own = mixture(50, 33)
    assert torch.equal(mix_chains(*(tensor.cuda() for tensor in own)).cpu(), mix_chains_reference(*own))


@pytest.mark.parametrize("index, message", [(0, "images"), (1, "chains"), (2, "weights")])
def test_mistakes_of_a_mixture(index, message):
    own = list(mixture(2, 4))
    own[index] = own[index].double()
    with pytest.raises(ValueError, match=f"mix_chains: {message} must be"):
        mix_chains(*own)


# --- all ---------------------------------------------------------------------------------------------------


@pytest.mark.gpu
@pytest.mark.parametrize("spec", ["mpl", "ctaugment", "ctaugment-probe", "augmix", "simclr", "cutout(16)"])
def test_finished_on_a_gpu_equals_cpu(spec):
    images, outputs = reflect(pictures(96, 32), 4), []
    for device, device_id in (("cpu", None), ("gpu", 0)):
        view = build_view(spec, geometry(device=device), operations="kernel")
        outputs.append(run(view, images, view.params(uniforms(view, 96), None), device_id=device_id))
    share = difference(*outputs)[1]
    assert share == 0 or (spec == "simclr" and share < 0.05)  # DALI's resize rounds differently


@pytest.mark.parametrize("spec", EXAMPLES)
def test_digits_are_not_flipped(spec):
    """Mirrored digits are other symbols: no view may flip them where the data set says so, as SVHN does."""
    assert not KNOWN["svhn"].flip
    for flip in (KNOWN["svhn"].flip, KNOWN["cifar10"].flip):
        view = build_view(spec, geometry(flip=flip))
        params = view.params(uniforms(view, 100), None)
        flipped = params["mirror"] if "mirror" in params else params.get("window", np.eye(2, 3)[None])[:, 0, 0] < 0
        assert bool(flipped.any()) == (flip and spec != "plain")
