"""Kernels on batches of images: boxes, CutMix, warps, enhancements, and EnAET's transformations."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance
from torch import Tensor

from semisonic_kernels import transformations
from semisonic_kernels.boxes import boxes_around, inside_boxes, mean_filled, mean_filled_reference
from semisonic_kernels.cutmix import cutmix, cutmix_boxes, cutmix_reference
from semisonic_kernels.enhance import enhance, enhance_reference
from semisonic_kernels.fuse import use_kernels
from semisonic_kernels.warp import affine_matrices, corner_matrices, warp, warp_reference

pytestmark = pytest.mark.kernels("fused")

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]
LAYOUTS = [torch.contiguous_format, torch.channels_last]
both_cutmix = pytest.mark.parametrize("call", [cutmix.__wrapped__, cutmix_reference], ids=["kernel", "reference"])
both_warps = pytest.mark.parametrize("call", [warp.__wrapped__, warp_reference], ids=["kernel", "reference"])
GRAY = torch.full((3,), 128.0)


def pictures(count: int = 6, height: int = 9, width: int = 7, dtype: torch.dtype = torch.uint8) -> Tensor:
    bits = torch.Generator().manual_seed(count + height + width)
    return torch.randint(256, (count, 3, height, width), generator=bits, dtype=torch.uint8).to(dtype)


def smooth(count: int, size: int) -> Tensor:
    """Float images without sharp edges, which survive being interpolated twice."""
    bits = torch.Generator().manual_seed(size)
    waves = torch.rand(count, 3, 4, 1, 1, generator=bits)
    x, y = torch.arange(size) / size, (torch.arange(size) / size).view(-1, 1)
    return torch.sin(4 * waves[:, :, 0] * x + 4 * waves[:, :, 1] * y + 6 * waves[:, :, 2])


def uniforms(count: int, width: int, seed: int = 0) -> Tensor:
    return torch.rand(count, width, generator=torch.Generator().manual_seed(seed))


# Boxes


def test_boxes_keep_their_side_unless_the_border_cuts_them() -> None:
    boxes = boxes_around(torch.tensor([[0.5, 0.5], [0.0, 0.999], [0.99999997, 0.0]]), 4, 3, 10, 8)
    assert boxes.tolist() == [[3, 3, 7, 6], [0, 6, 2, 8], [7, 0, 10, 2]]


def test_every_pixel_is_a_center_equally_often() -> None:
    rows = (torch.arange(90) / 90).view(-1, 1)
    boxes = boxes_around(torch.cat([rows, rows], 1), 1, 1, 9, 9)
    assert torch.bincount(boxes[:, 0]).tolist() == [10] * 9


def test_the_mask_of_a_box() -> None:
    inside = inside_boxes(torch.tensor([[1, 2, 3, 5], [2, 2, 2, 4]]), 4, 6)
    assert inside[0, 0].nonzero().tolist() == [[row, column] for row in (1, 2) for column in (2, 3, 4)]
    assert not inside[1].any()


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_mean_filled_equals_its_reference(dtype: torch.dtype, layout: torch.memory_format) -> None:
    images = pictures(dtype=dtype).to(memory_format=layout)
    boxes = boxes_around(uniforms(6, 2), 4, 4, 9, 7)
    boxes[3] = 0
    filled = mean_filled(images, boxes)
    assert filled.dtype == dtype and filled.is_contiguous(memory_format=layout)
    torch.testing.assert_close(filled, mean_filled_reference(images, boxes), rtol=0, atol=1e-4)
    assert not filled[0].equal(images[0]) and filled[3].equal(images[3])
    torch.testing.assert_close(filled.double().mean((2, 3)), images.double().mean((2, 3)), rtol=0, atol=0.5)


# CutMix


def test_cutmix_sides_are_rounded_down() -> None:
    boxes = cutmix_boxes(torch.tensor([0.75, 0.5, 1.0, 0.0]), torch.full((4, 2), 0.5), 32, 31)
    sides = torch.stack([boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]], 1)
    assert sides.tolist() == [[16, 15], [22, 21], [0, 0], [32, 31]]


@both_cutmix
def test_cutmix_targets_are_the_pasted_share_of_pixels_exactly(call: Any) -> None:
    """White partners on black images: the share can be counted."""
    count, size = 64, 8
    images = torch.zeros(2 * count, 3, size, size)
    images[count:] = 1
    targets = torch.tensor([[1.0, 0.0]] * count + [[0.0, 1.0]] * count)
    partner = (torch.arange(2 * count) + count) % (2 * count)
    boxes = cutmix_boxes(uniforms(2 * count, 1)[:, 0], uniforms(2 * count, 2, seed=1), size, size)
    mixed, mixed_targets = call(images, targets, partner, boxes)
    assert mixed_targets[:, 1].equal(mixed.mean((1, 2, 3)))  # sixty-fourths are exact
    assert mixed_targets.sum(1).equal(torch.ones(2 * count))
    assert mixed_targets[:, 1].unique().numel() > 10


@both_cutmix
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.bfloat16, torch.float64], ids=str)
@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_cutmix_pastes_the_partner_s_pixels(dtype: torch.dtype, layout: torch.memory_format, call: Any) -> None:
    images = pictures(dtype=dtype).to(memory_format=layout)
    targets = torch.rand(6, 4, generator=torch.Generator().manual_seed(0)).softmax(-1)
    partner = torch.tensor([3, 1, 0, 5, 4, 2])
    boxes = cutmix_boxes(uniforms(6, 1)[:, 0], uniforms(6, 2, seed=1), 9, 7)
    mixed, mixed_targets = call(images, targets, partner, boxes)
    assert mixed.dtype == dtype and mixed.is_contiguous(memory_format=layout)
    for k, (top, left, bottom, right) in enumerate(boxes.tolist()):
        expected = images[k].clone()
        expected[:, top:bottom, left:right] = images[partner[k], :, top:bottom, left:right]
        assert mixed[k].equal(expected)
        share = (bottom - top) * (right - left) / 63
        torch.testing.assert_close(mixed_targets[k], (1 - share) * targets[k] + share * targets[partner[k]])


@both_cutmix
def test_cutmix_gradients_are_exact(call: Any) -> None:
    images = pictures(4, 4, 3, torch.float64).requires_grad_()
    targets = torch.rand(4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    boxes, partner = boxes_around(uniforms(4, 2), 3, 2, 4, 3), torch.tensor([1, 2, 3, 0])
    assert torch.autograd.gradcheck(lambda x, y: call(x, y, partner, boxes), (images, targets))


def test_cutmix_of_nothing_is_the_identity() -> None:
    images, targets = pictures(), torch.eye(6)
    boxes = cutmix_boxes(torch.ones(6), uniforms(6, 2), 9, 7)
    mixed, mixed_targets = cutmix.__wrapped__(images, targets, torch.arange(6).flip(0), boxes)
    assert mixed.equal(images) and mixed_targets.equal(targets)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"images": torch.zeros(6, 3, 4)}, r"images must be uint8 or floating \[N, C, H, W\], not torch.float32"),
        ({"targets_NC": torch.zeros(6).long()}, r"targets must be probabilities, floating \[6, C\]"),
        ({"partner_N": torch.zeros(6)}, r"partner must be int64 \[6\], not torch.float32"),
        ({"boxes_N4": torch.zeros(6, 2).long()}, r"boxes must be int64 \[6, 4\], not torch.int64 \[6, 2\]"),
    ],
)
def test_cutmix_refuses(changed: dict[str, Tensor], message: str) -> None:
    given = {"images": pictures(), "targets_NC": torch.eye(6), "partner_N": torch.arange(6),
             "boxes_N4": torch.zeros(6, 4).long()}  # fmt: skip
    with pytest.raises(ValueError, match=message):
        cutmix(**given | changed)
    with pytest.raises(ValueError, match=r"lam must be floating \[N\]"):
        cutmix_boxes(torch.ones(6).long(), torch.zeros(6, 2), 9, 7)
    with pytest.raises(ValueError, match=r"centers must be floating \[N, 2\]"):
        cutmix_boxes(torch.ones(6), torch.zeros(6, 3), 9, 7)


# Warps


def identity(count: int) -> Tensor:
    return torch.eye(3).expand(count, 3, 3)


def by_hand(image: Tensor, matrix: Tensor, fill: float) -> Tensor:
    """One pixel after the other, in Python's floats."""
    _, height, width = image.shape
    m, out = matrix.double().tolist(), torch.empty(image.shape, dtype=torch.float64)
    for row in range(height):
        for column in range(width):
            x, y, depth = (m[k][0] * (column + 0.5) + m[k][1] * (row + 0.5) + m[k][2] for k in range(3))
            if depth <= 0 or not (0 <= x / depth < width and 0 <= y / depth < height):
                out[:, row, column] = fill
                continue
            x, y = x / depth - 0.5, y / depth - 0.5
            value = 0.0
            for r, c in ((0, 0), (0, 1), (1, 0), (1, 1)):
                weight = abs(1 - r - (y - math.floor(y))) * abs(1 - c - (x - math.floor(x)))
                near = min(max(math.floor(y) + r, 0), height - 1), min(max(math.floor(x) + c, 0), width - 1)
                value = value + weight * image[:, near[0], near[1]].double()
            out[:, row, column] = value
    return out


@both_warps
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_warp_equals_the_interpolation_by_hand(dtype: torch.dtype, layout: torch.memory_format, call: Any) -> None:
    images = pictures(4, 9, 7, dtype).to(memory_format=layout)
    matrices = corner_matrices(
        torch.tensor([[0.0, 0], [7, 0], [7, 9], [0, 9]]) + 3 * uniforms(4, 8).view(4, 4, 2) - 1, 9, 7
    )
    matrices[3, 2] = torch.tensor([0.3, 0.2, -1.0])  # the horizon runs through this one
    warped = call(images, matrices, GRAY)
    assert warped.dtype == dtype and warped.is_contiguous(memory_format=layout)
    for image, found, matrix in zip(images, warped, matrices, strict=True):
        tolerance = 0.501 if dtype == torch.uint8 else 2e-3
        torch.testing.assert_close(found.double(), by_hand(image, matrix, 128), rtol=0, atol=tolerance)
    assert (warped == 128).any() and (warped != 128).any()


@both_warps
def test_the_identity_warp_changes_no_bit(call: Any) -> None:
    for images in (pictures(), pictures(6, 8, 8, torch.float32)):
        assert call(images, identity(6), GRAY).equal(images)


@both_warps
def test_quarter_turns_are_exact(call: Any) -> None:
    images = pictures(4, 8, 8)
    angle = torch.arange(4) * (math.pi / 2)
    none = torch.zeros(4)
    turned = call(images, affine_matrices(angle, torch.zeros(4, 2), none + 1, none, 8, 8), GRAY)
    for k in range(4):  # a positive angle turns from x to y: clockwise, since y points down
        assert turned[k].equal(images[k].rot90(-k, (1, 2))), k


@both_warps
def test_warp_and_its_inverse_give_the_center_back(call: Any) -> None:
    images = smooth(5, 32)
    matrices, _ = transformations.projective(uniforms(5, 10), 32, 0.06, 0.05, False)
    back = call(call(images, matrices, torch.zeros(3)), matrices.inverse(), torch.zeros(3))
    center = (..., slice(8, 24), slice(8, 24))
    torch.testing.assert_close(back[center], images[center], rtol=0, atol=0.02)
    assert (call(images, matrices, torch.zeros(3))[center] - images[center]).abs().max() > 0.1


def test_pixels_are_pillow_s() -> None:
    """Pillow truncates where we round, so they may differ by 1."""
    images = pictures(5, 32, 32)
    matrices, _ = transformations.projective(uniforms(5, 10), 32, 0.125, 0.2, True)
    warped = warp.__wrapped__(images, matrices, GRAY)
    for image, found, matrix in zip(images, warped, matrices, strict=True):
        pillow = Image.fromarray(image.permute(1, 2, 0).numpy()).transform(
            (32, 32), Image.Transform.PERSPECTIVE, matrix.flatten()[:8].tolist(), Image.Resampling.BILINEAR, fillcolor=(128,) * 3
        )  # fmt: skip
        difference = found.int() - torch.from_numpy(np.array(pillow)).permute(2, 0, 1).int()
        assert set(difference.unique().tolist()) == {0, 1}


@both_warps
def test_warp_gradients_are_exact(call: Any) -> None:
    images = torch.rand(2, 2, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    matrices = transformations.projective(uniforms(2, 10), 4, 0.1, 0.1, False)[0].requires_grad_()
    fill = torch.zeros(2, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x, m: call(x, m, fill), (images, matrices))


def test_corners_go_where_they_are_sent() -> None:
    corners = torch.tensor([[[1.0, 2], [30, -3], [35, 33], [-2, 28]]]).double()
    matrix = corner_matrices(corners, 24, 32)[0]
    for corner, source in zip(corners[0], [(0, 0), (32, 0), (32, 24), (0, 24)], strict=True):
        x, y, depth = (matrix @ torch.cat([corner, torch.ones(1)])).tolist()
        assert (x / depth, y / depth) == pytest.approx(source, abs=1e-9)
    still = torch.tensor([[[0.0, 0], [32, 0], [32, 24], [0, 24]]])
    assert corner_matrices(still, 24, 32).equal(torch.eye(3).unsqueeze(0))


def test_affine_matrices_invert_the_stated_map() -> None:
    angle, scale, shear = (torch.tensor([value]).double() for value in (0.7, 1.3, 0.4))
    move = torch.tensor([[3.0, -2.0]]).double()
    inverse = affine_matrices(angle, move, scale, shear, 10, 20)[0]
    a, s = 0.7, 0.4
    linear = 1.3 * torch.tensor([[math.cos(a), -math.sin(a + s)], [math.sin(a), math.cos(a + s)]]).double()
    center, point = torch.tensor([10.0, 5]).double(), torch.tensor([4.0, 9]).double()
    sent = center + move[0] + linear @ (point - center)
    torch.testing.assert_close(inverse @ torch.cat([sent, torch.ones(1)]), torch.cat([point, torch.ones(1)]).double())


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"images": torch.zeros(6, 3, 4)}, r"images must be uint8 or floating"),
        (
            {"matrices_N33": torch.zeros(6, 2, 3)},
            r"matrices must be floating \[6, 3, 3\], not torch.float32 \[6, 2, 3\]",
        ),
        ({"fill_C": torch.zeros(3).long()}, r"fill must be floating \[3\], not torch.int64"),
    ],
)
def test_warp_refuses(changed: dict[str, Tensor], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        warp(**{"images": pictures(), "matrices_N33": identity(6), "fill_C": GRAY} | changed)


# Enhancements


def test_enhancements_are_pillow_s() -> None:
    images = pictures(8, 12, 10)
    factors = transformations.enhancement(uniforms(8, 4), 0.8).float()
    found = enhance(images, factors)
    assert found.equal(enhance_reference(images, factors))
    for image, out, factor in zip(images, found, factors.tolist(), strict=True):
        pillow = Image.fromarray(image.permute(1, 2, 0).numpy())
        for kind, value in zip(
            (ImageEnhance.Color, ImageEnhance.Contrast, ImageEnhance.Brightness, ImageEnhance.Sharpness), factor, strict=True
        ):  # fmt: skip
            pillow = kind(pillow).enhance(value)
        assert np.array_equal(out.permute(1, 2, 0).numpy(), np.array(pillow))
    assert enhance(images, torch.ones(8, 4)).equal(images)


def test_enhance_refuses() -> None:
    with pytest.raises(ValueError, match=r"images must be uint8 \[N, 3, H, W\], not torch.float32"):
        enhance(pictures(dtype=torch.float32), torch.ones(6, 4))
    with pytest.raises(ValueError, match=r"factors must be floating \[6, 4\], not torch.float32 \[6, 3\]"):
        enhance(pictures(), torch.ones(6, 3))


# EnAET's transformations


def test_uniforms_of_one_half_are_the_identity_with_its_canonical_parameters() -> None:
    half = torch.full((2, 10), 0.5)
    half[:, 9] = 0.1
    matrices, parameters = transformations.projective(half, 32, 0.125, 0.2, True)
    torch.testing.assert_close(matrices, identity(2).double())
    torch.testing.assert_close(parameters[0], torch.tensor([1, 0, -0.8, 0, 1, -0.8, 0, 0]).double())
    canonical = torch.tensor([1.0, 0, 0, 0, 0, 0]).double()
    for matrices, parameters in transformations.affine_family(half[:, :5], 32, 180, 0.2, 0.2, 30):
        torch.testing.assert_close(matrices, identity(2).double())
        torch.testing.assert_close(parameters[0], canonical[: parameters.shape[1]])
    assert transformations.enhancement(half[:, :4], 0.8).equal(torch.ones(2, 4).double())


def test_the_family_shares_one_draw() -> None:
    affine, similar, euclidean = transformations.affine_family(uniforms(9, 5), 20, 180, 0.2, 0.3, 30)
    assert [parameters.shape[1] for _, parameters in (affine, similar, euclidean)] == [6, 5, 4]
    assert similar[1].equal(affine[1][:, :5]) and euclidean[1].equal(affine[1][:, :4])
    shape = [matrices[:, :2, :2] @ matrices[:, :2, :2].mT for matrices, _ in (affine, similar, euclidean)]
    eye = torch.eye(2).double().expand(9, 2, 2)
    torch.testing.assert_close(shape[2], eye)
    torch.testing.assert_close(shape[1], eye * shape[1][:, :1, :1])
    assert (shape[0] - eye * shape[0][:, :1, :1]).abs().amax((1, 2)).min() > 1e-3
    torch.testing.assert_close(shape[1][:, 0, 0].rsqrt(), 1 + 0.3 * similar[1][:, 4])


def test_projective_stays_in_its_ranges_and_turns() -> None:
    u = uniforms(200, 10)
    matrices, parameters = transformations.projective(u, 32, 0.125, 0.2, True)
    corner = torch.linalg.solve(matrices, torch.tensor([0.0, 0, 1]).double().expand(200, 3))
    corner = (corner[:, :2] / corner[:, 2:] - 16).abs()
    assert corner.max() <= 16 * 1.2 + 4 and corner.min() >= 16 * 0.8 - 4
    turned = (u[:, 9] >= 0.25).logical_and(u[:, 9] < 0.5)
    assert (matrices[turned, 1, 0].abs() > matrices[turned, 0, 0].abs()).all()
    still = transformations.projective(u, 32, 0.125, 0.2, False)[0]
    assert (still[:, 0, 0] > 0.5).all() and still[u[:, 9] < 0.25].equal(matrices[u[:, 9] < 0.25])
    assert parameters.abs().max() < 4 and parameters[:, 6].std() > 0.1  # scaled to about 1
    small = transformations.projective(u, 16, 0.125, 0.2, True)[1]
    torch.testing.assert_close(small, parameters)  # the same at any size


# In graphs


@pytest.mark.parametrize("device", DEVICES)
def test_all_are_part_of_one_graph(device: str) -> None:
    def step(images: Tensor, u: Tensor) -> list[Tensor]:
        matrices, parameters = transformations.projective(u, 8, 0.125, 0.2, True)
        family = transformations.affine_family(u[:, :5], 8, 180, 0.2, 0.2, 30)
        boxes = cutmix_boxes(u[:, 0], u[:, 1:3], 8, 8)
        mixed, targets = cutmix(images, u, torch.arange(len(u), device=u.device).flip(0), boxes)
        gray = torch.full((3,), 128.0, device=u.device)
        warped = [warp(images.float(), m, gray) for m in (matrices, *(m for m, _ in family))]
        enhanced = enhance(images, transformations.enhancement(u[:, :4], 0.8))
        return [*warped, parameters, mixed, targets, mean_filled(images, boxes), enhanced]

    given = pictures(6, 8, 8).to(device), uniforms(6, 10).to(device)
    found = torch.compile(step, fullgraph=True, backend="aot_eager")(*given)
    with use_kernels("reference"):
        expected = step(*given)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-3 if one.is_floating_point() else 1)


@pytest.mark.slow
@pytest.mark.parametrize("device", DEVICES)
def test_compiled_kernels_equal_their_references(device: str) -> None:
    torch._dynamo.reset()
    for size in (8, 16):
        images = pictures(5, size, size, torch.float32).to(device, memory_format=torch.channels_last).requires_grad_()
        matrices = transformations.projective(uniforms(5, 10).to(device), size, 0.125, 0.2, True)[0].float()
        gray = GRAY.to(device)
        boxes = cutmix_boxes(uniforms(5, 1)[:, 0].to(device), uniforms(5, 2, 1).to(device), size, size)
        partner, targets = torch.arange(5, device=device).flip(0), torch.eye(5, device=device)
        for name, arguments in {"warp": (matrices, gray), "cutmix": (targets, partner, boxes)}.items():
            kernel, reference = {"warp": (warp, warp_reference), "cutmix": (cutmix, cutmix_reference)}[name]
            found, expected = (call(images, *arguments) for call in (kernel, reference))
            if name == "cutmix":
                torch.testing.assert_close(found[1], expected[1])
                found, expected = found[0], expected[0]
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-2)
            gradients = [torch.autograd.grad(out.square().mean(), images)[0] for out in (found, expected)]
            torch.testing.assert_close(*gradients, rtol=1e-3, atol=1e-4)
