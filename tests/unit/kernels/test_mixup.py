"""Mixup against its formula: value, gradient, memory layout, determinism, and what it refuses."""

from typing import Any

import pytest
import torch
from torch import Tensor

from semisonic_kernels.fuse import use_kernels
from semisonic_kernels.mixup import mixup, mixup_in_place, mixup_reference
from tests.support.devices import DEVICES

pytestmark = pytest.mark.kernels("fused")

SHAPES = [(1, 3, 4, 4, 3), (3, 3, 5, 7, 10), (10, 3, 32, 32, 10), (5, 1, 1, 3, 1), (257, 3, 4, 4, 257)]
"""Of images and, last, the number of classes."""
plain = mixup.__wrapped__


def inputs(
    shape: tuple[int, ...] = (6, 3, 5, 4, 7),
    dtype: torch.dtype = torch.float32,
    layout: str = "contiguous",
    normalized: bool = False,
    device: str = "cpu",
) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(sum(shape))
    count, channels, height, width, classes = shape
    pixels = torch.randint(256, (count, channels, height, width), generator=generator, dtype=torch.uint8)
    images = pixels if dtype == torch.uint8 else (pixels.double() / 100 - 1).to(dtype)
    if layout == "channels_last":
        images = images.to(memory_format=torch.channels_last)
    elif layout == "strided":
        images = torch.cat([images, images], 3)[..., ::2]
    floating = torch.float32 if dtype == torch.uint8 else dtype
    targets = torch.randn(count, classes, generator=generator, dtype=torch.float64).softmax(-1).to(floating)
    given = {
        "images": images,
        "targets_NC": targets,
        "partner_N": torch.randperm(count, generator=generator),
        "lam_N": torch.rand(count, generator=generator),
    }
    if normalized:
        given["mean"] = 50 * torch.rand(1, channels, 1, 1, generator=generator)
        given["scale"] = torch.rand(channels, generator=generator)
    return {name: value.to(device) for name, value in given.items()}


def by_hand(given: dict[str, Any], dominant: bool = False) -> tuple[Tensor, Tensor]:
    """Sample by sample in float64."""
    images, targets = given["images"].double(), given["targets_NC"].double()
    if "mean" in given:
        images = images.clone()
        for channel in range(images.shape[1]):
            mean, scale = given["mean"].flatten()[channel], given["scale"].flatten()[channel]
            images[:, channel] = (images[:, channel] - mean.double()) * scale.double()
    mixed = []
    for position, (partner, lam) in enumerate(zip(given["partner_N"].tolist(), given["lam_N"].tolist(), strict=True)):
        lam = max(lam, 1 - lam) if dominant else lam
        mixed.append([lam * values[position] + (1 - lam) * values[partner] for values in (images, targets)])
    return torch.stack([row[0] for row in mixed]), torch.stack([row[1] for row in mixed])


def check(call: Any, given: dict[str, Any], dominant: bool = False) -> tuple[Tensor, Tensor]:
    images, targets = call(**given, dominant=dominant)
    dtype = given["images"].dtype if given["images"].is_floating_point() else torch.float32
    assert images.dtype == dtype and targets.dtype == given["targets_NC"].dtype
    last = given["images"].is_contiguous(memory_format=torch.channels_last)
    assert images.is_contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)
    tolerance = {torch.float64: 1e-6 if "mean" in given else 1e-7, torch.bfloat16: 1e-2, torch.float16: 1e-3}
    for found, expected in zip((images, targets), by_hand(given, dominant), strict=True):
        atol = tolerance.get(dtype, 1e-6) * max(1.0, expected.abs().max().item())
        torch.testing.assert_close(found.double(), expected, rtol=0, atol=atol)
    return images, targets


@pytest.mark.parametrize("call", [plain, mixup_in_place, mixup_reference], ids=["kernel", "in place", "reference"])
@pytest.mark.parametrize("dominant", [False, True])
@pytest.mark.parametrize("normalized", [False, True])
@pytest.mark.parametrize("layout", ["contiguous", "channels_last", "strided"])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.bfloat16, torch.float64], ids=str)
def test_values_are_those_of_the_formula(
    dtype: torch.dtype, layout: str, normalized: bool, dominant: bool, call: Any
) -> None:
    check(call, inputs(dtype=dtype, layout=layout, normalized=normalized), dominant)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32], ids=str)
def test_odd_shapes(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    check(plain, inputs(shape, dtype, normalized=dtype == torch.uint8))


@pytest.mark.parametrize("call", [plain, mixup_in_place, mixup_reference], ids=["kernel", "in place", "reference"])
def test_gradients_of_images_targets_and_lam_are_exact(call: Any) -> None:
    given = inputs((4, 2, 2, 3, 3), torch.float64, normalized=True)
    given["lam_N"], given["partner_N"] = given["lam_N"].double(), torch.tensor([2, 2, 0, 3])  # 2 is taken twice
    given["mean"], given["scale"] = given["mean"].double(), given["scale"].double()
    leaves = tuple(given[name].requires_grad_() for name in ("images", "targets_NC", "lam_N"))

    def of(images: Tensor, targets: Tensor, lam: Tensor) -> tuple[Tensor, Tensor]:
        return call(images, targets, given["partner_N"], lam, given["mean"], given["scale"])

    assert torch.autograd.gradcheck(of, leaves)


@pytest.mark.parametrize("layout", ["contiguous", "channels_last", "strided"])
@pytest.mark.parametrize("normalized", [False, True])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.bfloat16, torch.float64], ids=str)
def test_without_a_compiler_it_is_the_reference_to_the_bit(dtype: torch.dtype, normalized: bool, layout: str) -> None:
    """As runs of earlier versions go on; and what is given stays as it is."""
    given = inputs((5, 4, 3, 6, 7), dtype, layout=layout, normalized=normalized)
    before = {name: value.clone() for name, value in given.items()}
    for dominant in (False, True):
        with use_kernels("eager"):
            found = mixup(**given, dominant=dominant)
        with use_kernels("reference"):
            expected = mixup(**given, dominant=dominant)
        for one, other in zip(found, expected, strict=True):
            assert torch.equal(one, other) and one.dtype == other.dtype and one.stride() == other.stride()
    assert all(torch.equal(value, before[name]) for name, value in given.items())


def test_ends() -> None:
    given = inputs()
    partners = given["images"][given["partner_N"]], given["targets_NC"][given["partner_N"]]
    same = plain(**given | {"lam_N": torch.ones(6)})
    other = plain(**given | {"lam_N": torch.zeros(6)})
    dominant = plain(**given | {"lam_N": torch.zeros(6)}, dominant=True)
    for images, targets in (same, dominant):
        assert images.equal(given["images"]) and targets.equal(given["targets_NC"])
    assert other[0].equal(partners[0]) and other[1].equal(partners[1])


def test_targets_stay_distributions() -> None:
    _, targets = plain(**inputs())
    torch.testing.assert_close(targets.sum(-1), torch.ones(6))


def test_normalization_in_float64_stays_there() -> None:
    given = inputs(dtype=torch.uint8, normalized=True)
    given["mean"], given["scale"] = given["mean"].double(), given["scale"].double()
    assert plain(**given)[0].dtype == mixup_reference(**given)[0].dtype == torch.float64


def test_no_samples() -> None:
    images, targets = mixup(**inputs((0, 3, 4, 4, 7)))
    assert images.shape == (0, 3, 4, 4) and targets.shape == (0, 7)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"images": torch.zeros(6, 5, 4)}, r"images must be uint8 or floating \[N, C, H, W\], not torch.float32"),
        ({"images": torch.zeros(6, 3, 5, 4).int()}, r"images must be .* not torch.int32"),
        ({"targets_NC": torch.zeros(6).long()}, r"targets must be probabilities, floating \[6, C\]"),
        ({"targets_NC": torch.zeros(5, 7)}, r"floating \[6, C\], not torch.float32 \[5, 7\]"),
        ({"partner_N": torch.zeros(6)}, r"partner must be int64 \[6\], not torch.float32"),
        ({"partner_N": torch.zeros(7).long()}, r"partner must be int64 \[6\], not torch.int64 \[7\]"),
        ({"lam_N": torch.tensor(0.5)}, r"lam must be floating \[6\], not torch.float32 \[\]"),
        ({"lam_N": torch.ones(6).long()}, r"lam must be floating \[6\]"),
        ({"mean": torch.zeros(3)}, r"both of mean and scale, or neither"),
        ({"mean": torch.zeros(4), "scale": torch.ones(3)}, r"mean must be floating \[3\] or \[1, 3, 1, 1\], not"),
        ({"mean": torch.zeros(3), "scale": torch.ones(3, 1, 1)}, r"scale must be floating \[3\] or \[1, 3, 1, 1\]"),
    ],
)
def test_refuses(changed: dict[str, Tensor], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        mixup(**inputs() | changed)


@pytest.mark.slow
@pytest.mark.parametrize("device", DEVICES)
def test_compiled_once_for_all_sizes(device: str) -> None:
    """uint8 channels_last images, normalized in the same pass."""
    first = inputs((6, 3, 6, 6, 6), torch.uint8, "channels_last", True, device)
    check(mixup, first)
    with torch._dynamo.config.patch(error_on_recompile=True):
        for shape in [(10, 3, 32, 32, 10), (257, 3, 5, 4, 3), (3, 3, 8, 8, 100)]:
            given = inputs(shape, torch.uint8, "channels_last", True, device)
            once, twice = check(mixup, given), check(mixup, given)
            assert once[0].equal(twice[0]) and once[1].equal(twice[1])


@pytest.mark.slow
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("layout", ["contiguous", "channels_last", "strided"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_compiled_gradients(dtype: torch.dtype, layout: str, device: str) -> None:
    def gradients() -> list[Tensor]:
        given = inputs((10, 3, 6, 4, 10), dtype, layout, device=device)
        leaves = [given[name].requires_grad_() for name in ("images", "targets_NC", "lam_N")]
        images, targets = mixup(**given, dominant=True)
        (images.square().mean() + targets.square().mean()).backward()
        return [leaf.grad for leaf in leaves]

    found, again = gradients(), gradients()
    with use_kernels("reference"):
        expected = gradients()
    for one, other, wanted in zip(found, again, expected, strict=True):
        tolerance = 1e-6 if dtype == torch.float32 else 1e-2
        torch.testing.assert_close(one, wanted, rtol=tolerance, atol=tolerance * wanted.abs().max().item())
        assert one.equal(other)


def test_part_of_a_larger_graph() -> None:
    def step(given: dict[str, Tensor]) -> Tensor:
        images, targets = mixup(**given)
        return images.mean() + (targets * targets).sum()

    call = torch.compile(step, fullgraph=True, backend="aot_eager")
    given = inputs(normalized=True)
    torch.testing.assert_close(call(given), step_reference(given))
    with torch._dynamo.config.patch(error_on_recompile=True):
        call(inputs(normalized=True))


def step_reference(given: dict[str, Tensor]) -> Tensor:
    images, targets = mixup_reference(**given)
    return images.mean() + (targets * targets).sum()
