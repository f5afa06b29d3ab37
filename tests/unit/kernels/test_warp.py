"""Warps: interpolation by hand, exact turns and gradients, and the matrices of moved corners."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from semisonic_kernels import transformations
from semisonic_kernels.cutmix import cutmix, cutmix_boxes, cutmix_reference
from semisonic_kernels.warp import affine_matrices, corner_matrices, warp, warp_reference
from tests.support.devices import DEVICES
from tests.support.kernel_images import LAYOUTS, identity, pictures, uniforms

pytestmark = pytest.mark.kernels("fused")

both_warps = pytest.mark.parametrize("call", [warp.__wrapped__, warp_reference], ids=["kernel", "reference"])

GRAY = torch.full((3,), 128.0)


def smooth(count: int, size: int) -> Tensor:
    """Float images without sharp edges, which survive being interpolated twice."""
    bits = torch.Generator().manual_seed(size)
    waves = torch.rand(count, 3, 4, 1, 1, generator=bits)
    x, y = torch.arange(size) / size, (torch.arange(size) / size).view(-1, 1)
    return torch.sin(4 * waves[:, :, 0] * x + 4 * waves[:, :, 1] * y + 6 * waves[:, :, 2])


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
