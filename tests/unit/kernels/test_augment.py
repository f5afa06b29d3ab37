"""The fused augmentation kernel: its plain-torch path against the DALI operators and Pillow, its Triton path against
the plain-torch one."""

import numpy as np
import pytest
import torch

from semisonic.data.views import operations
from semisonic.data.views import policies as pools
from semisonic.data.views import registry as augment
from semisonic_kernels import augment as kernel
from semisonic_kernels.augment import augment_reference
from semisonic_kernels.augment_triton import augment_launch
from tests.support import pil_reference
from tests.support.augmentation import FILL, arguments, interpreted, mixed_pictures
from tests.support.views import geometry, pictures, run_weak, uniforms

pytestmark = [pytest.mark.filterwarnings("ignore:The external source node"), pytest.mark.kernels("fused")]


def one_operation(code, count, value=0.0):
    """(operations, values, matrices, holes) of one level with the same operation for all."""
    codes, values = torch.full((count, 1), code, dtype=torch.int32), torch.full((count, 1), float(value))
    return codes, values, torch.eye(2, 3).expand(count, 1, 2, 3), None


# --- against the DALI operators ----------------------------------------------------------------------------


def ranges(name):
    """The widest magnitudes of an operation."""
    wide = dict.fromkeys(("brightness", "color", "contrast", "sharpness"), pools.Range(0, 4))
    wide |= {"posterize": pools.Range(1, 8, whole="steps"), "solarize": pools.Range(0, 256)}
    wide |= {"rotate": pools.Range(0, 180, signed=True)}
    return wide.get(name, pools.Range(0, 1, signed=True))


def both(name, size, count, magnitudes=None, images=None):
    """One operation at random magnitudes, as DALI operators and in the kernel."""
    policy = pools.Policy({name: magnitudes or ranges(name)}, levels=1)
    views = [augment.RandAugment(geometry(size, pad=0, flip=False), policy, operations=w) for w in ("dali", "kernel")]
    images = pictures(count, size, seed=size) if images is None else images
    return [run_weak(view, images, uniforms(view, len(images), seed=size)) for view in views]


@pytest.mark.parametrize("size", [5, 32, 47])
@pytest.mark.parametrize("name", operations.OPERATIONS)
def test_operation_equals_dali(name, size):
    dali, ours = both(name, size, count=120)
    np.testing.assert_array_equal(ours, dali)


@pytest.mark.parametrize("name", ["rotate", "shear_y", "sharpness", "equalize", "color"])
def test_large_images_equal_dali(name):
    """Rows longer than the 256 pixels after which DALI sums its steps anew."""
    dali, ours = both(name, size=300, count=6)
    np.testing.assert_array_equal(ours, dali)


def test_right_angles_equal_dali():
    """Source coordinates on the border of two pixels, where every rounding shows."""
    for angle in (30, 60, 90, 180):
        dali, ours = both("rotate", size=32, count=30, magnitudes=pools.Range(angle, angle, signed=True))
        np.testing.assert_array_equal(ours, dali)


def test_every_gray_on_a_border_rounds_as_in_dali():
    """All colors whose gray value lies halfway between two bytes."""
    colors = np.indices((256, 256, 256)).reshape(3, -1).T
    colors = colors[colors @ np.array([19595, 38470, 7471]) % 65536 == 32768]
    image = np.resize(colors, (1, 20, 20, 3)).astype(np.uint8)
    for name in ("color", "contrast"):
        dali, ours = both(name, size=20, count=0, magnitudes=pools.Range(0, 0), images=image)
        np.testing.assert_array_equal(ours, dali)


def test_contrast_of_images_above_65793_pixels():
    """Their gray values add up to 2^24 or more, which DALI rounds on the way: the mean may be 1 off, and so may pixels."""
    dali, ours = both("contrast", size=400, count=12)
    difference = np.abs(ours.astype(int) - dali)
    assert difference.max() <= 1 and (difference.max(axis=(1, 2, 3)) == 0).mean() > 0.7


# --- against Pillow's and OpenCV's formulas ----------------------------------------------------------------


@pytest.mark.parametrize("shape", [(32, 32), (5, 5), (16, 16), (1, 1), (33, 20), (64, 64)])
def test_equalize(shape):
    images = mixed_pictures(40, *shape)
    for formula, reference in (("dali", pil_reference.equalize_rounded), ("pil", _pillow_equalize)):
        ours = augment_reference(images, *one_operation(kernel.EQUALIZE, 40), FILL, formula)
        np.testing.assert_array_equal(ours, np.stack([reference(image) for image in images.numpy()]))


def _pillow_equalize(image):
    return pil_reference.apply("equalize", image, 0)


@pytest.mark.parametrize("code", range(10))
def test_flat_images_stay_flat(code):
    images = torch.arange(0, 256, 15, dtype=torch.uint8).view(-1, 1, 1, 1).repeat(1, 6, 6, 3)
    ours = augment_reference(images, *one_operation(code, len(images), value=1.0), FILL)
    wanted = 255 - images if code == kernel.SOLARIZE else images & 1 if code == kernel.POSTERIZE else images
    wanted = torch.where(images >= 1, wanted, images) if code == kernel.SOLARIZE else wanted
    assert torch.equal(ours, wanted)


# --- Triton ------------------------------------------------------------------------------------------------

QUICK = [((5, 5), "dali"), ((7, 40), "pil"), ((1, 1), "dali")]


@interpreted
@pytest.mark.parametrize(
    ("shape", "equalize"),
    [
        pytest.param(shape, equalize, marks=() if (shape, equalize) in QUICK else pytest.mark.slow)
        for shape in ((32, 32), (5, 5), (33, 33), (7, 40), (17, 2), (1, 1))
        for equalize in ("dali", "pil")
    ],
)
def test_triton_equals_reference(shape, equalize):
    """Every operation twice, in two orders, then a hole."""
    codes = [(code, (7 * code + 3) % 10) for code in range(10)]
    images, own = mixed_pictures(10, *shape), arguments(codes, *shape)
    ours = augment_launch(images, *own, FILL, equalize == "pil")
    assert torch.equal(ours, augment_reference(images, *own, FILL, equalize))
    assert ours.data_ptr() != images.data_ptr() and not torch.equal(ours, images)


@interpreted
@pytest.mark.parametrize("code", range(1, 10))
def test_triton_operation_equals_reference(code):
    images = torch.cat([mixed_pictures(4, 16, 16), torch.from_numpy(pictures(6, 16))])
    own = arguments([[code]] * 10, 16, 16, seed=code)[:3]
    assert torch.equal(augment_launch(images, *own, None, FILL, False), augment_reference(images, *own, None, FILL))


@interpreted
def test_triton_warps_rows_longer_than_a_checkpoint():
    images, own = mixed_pictures(1, 3, 530), arguments([[kernel.WARP]], 3, 530)
    assert torch.equal(augment_launch(images, *own, FILL, False), augment_reference(images, *own, FILL))


@interpreted
@pytest.mark.parametrize("count, levels", [(0, 2), (1, 2), (3, 0)])
@pytest.mark.parametrize("holes", [True, False])
def test_small_batches_and_no_level(count, levels, holes):
    images, own = mixed_pictures(count, 8, 8), arguments(np.full((count, levels), kernel.SOLARIZE), 8, 8)
    own[3] = own[3] if holes else None
    reference = augment_reference(images, *own, FILL)
    assert reference.shape == (count, 8, 8, 3)
    assert torch.equal(augment_launch(images, *own, FILL, False), reference)
    if not levels and not holes:
        assert torch.equal(reference, images) and reference.data_ptr() != images.data_ptr()


# --- the call ----------------------------------------------------------------------------------------------


def test_input_is_not_written_to_and_may_be_a_view():
    own = arguments([[code, (code + 5) % 10] for code in range(10)], 16, 16)
    images = mixed_pictures(10, 16, 16)
    before = images.clone()
    wanted = kernel.augment(images, *own, FILL)
    assert torch.equal(images, before)
    scattered = images.permute(0, 3, 1, 2).contiguous().permute(0, 2, 3, 1)
    wide = [torch.stack([tensor, tensor], dim=1)[:, 0] for tensor in own]
    assert torch.equal(kernel.augment(scattered, *wide, FILL), wanted)
    nothing = arguments(np.zeros((10, 2)), 16, 16)
    unchanged = kernel.augment(images, *nothing[:3], None, FILL)
    assert torch.equal(unchanged, images) and unchanged.data_ptr() != images.data_ptr()


def test_holes():
    images = mixed_pictures(3, 6, 8)
    holes = torch.tensor([[0, 0, 0, 0], [1, 2, 4, 8], [0, 0, 6, 8]], dtype=torch.int32)
    ours = kernel.augment(images, *one_operation(kernel.NONE, 3)[:3], holes, FILL)
    wanted = images.clone()
    wanted[1, 1:4, 2:8] = wanted[2] = torch.tensor(FILL, dtype=torch.uint8)
    assert torch.equal(ours, wanted)


MISTAKES = {
    "images must be uint8": {"images": torch.zeros(2, 3, 8, 8, dtype=torch.uint8)},
    r"\[N, H, W, 3\], not torch.float32": {"images": torch.zeros(2, 8, 8, 3)},
    "too large": {"images": torch.zeros(1, 1, 1, 3, dtype=torch.uint8).expand(2, 4096, 4096, 3)},
    "operations must be torch.int32": {"operations": torch.zeros(2, 1, dtype=torch.int64)},
    r"values must be torch.float32 \[2, 1\]": {"values": torch.zeros(2, 2)},
    "matrices must be": {"matrices": torch.zeros(2, 1, 6)},
    "holes must be": {"holes": torch.zeros(2, 2, dtype=torch.int32)},
    "operations must be torch.int32 .* on cpu": {"operations": torch.zeros(2, 1, dtype=torch.int32, device="meta")},
    "three bytes": {"fill": (0, 0, 256)},
    "equalize must be": {"equalize": "opencv"},
    "codes 0..9": {"operations": torch.tensor([[0], [10]], dtype=torch.int32)},
    "must be finite": {"matrices": torch.full((2, 1, 2, 3), torch.nan)},
}


@pytest.mark.parametrize("message", MISTAKES)
def test_mistakes(message):
    operations, values, matrices, _ = one_operation(kernel.NONE, 2)
    right = {"images": mixed_pictures(2, 8, 8), "operations": operations, "values": values, "matrices": matrices}
    right |= {"holes": None, "fill": FILL}
    kernel.augment(**right)
    with pytest.raises(ValueError, match=message):
        kernel.augment(**right | MISTAKES[message])


# --- GPU ---------------------------------------------------------------------------------------------------


@pytest.mark.gpu
@pytest.mark.parametrize("equalize", ["dali", "pil"])
@pytest.mark.parametrize("shape", [(32, 32), (96, 96), (224, 224), (5, 5), (33, 33), (40, 530), (1, 1)])
def test_gpu_equals_cpu(shape, equalize):
    codes = np.random.default_rng(0).integers(0, 10, (100, 3))
    images, own = mixed_pictures(100, *shape), arguments(codes, *shape)
    on_gpu = [tensor.cuda() for tensor in own]
    ours = kernel.augment(images.cuda(), *on_gpu, FILL, equalize).cpu()
    assert torch.equal(ours, augment_reference(images, *own, FILL, equalize))
    slow = augment_reference(images.cuda(), *on_gpu, FILL, equalize).cpu()
    assert torch.equal(slow, ours)


@pytest.mark.gpu
def test_replays_in_a_cuda_graph_without_waiting():
    codes = np.random.default_rng(0).integers(0, 10, (64, 2))
    batches = [(mixed_pictures(64, 32, 32, seed), arguments(codes, 32, 32, seed)) for seed in (0, 1)]
    fixed = [tensor.cuda() for tensor in (batches[0][0], *batches[0][1])]
    kernel.augment(*fixed, FILL)  # compiles
    torch.cuda.set_sync_debug_mode("error")
    try:
        kernel.augment(*fixed, FILL)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out = kernel.augment(*fixed, FILL)
    for images, own in batches:
        for tensor, new in zip(fixed, (images, *own), strict=True):
            tensor.copy_(new)
        graph.replay()
        assert torch.equal(out.cpu(), augment_reference(images, *own, FILL))
