"""EnAET's transformations: the identity, their families and ranges, and all of them in one graph."""

import pytest
import torch
from torch import Tensor

from semisonic_kernels import transformations
from semisonic_kernels.boxes import mean_filled
from semisonic_kernels.cutmix import cutmix, cutmix_boxes
from semisonic_kernels.enhance import enhance
from semisonic_kernels.fuse import use_kernels
from semisonic_kernels.warp import warp
from tests.support.devices import DEVICES
from tests.support.kernel_images import identity, pictures, uniforms

pytestmark = pytest.mark.kernels("fused")


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
