"""Batches in tensors at fixed addresses: any dtypes, strides and places in a storage, copied at once."""

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from semisonic.training.fixed_batch import FixedBatch


class Copies(TorchDispatchMode):
    """Notes the operations that copy."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if "copy" in str(func):
            self.found.append(str(func))
        return func(*args, **(kwargs or {}))


def batch(seed: int, images: int = 4) -> dict:
    """Tensors as a step has them: images channels last, labels, keys, numbers, flags, an empty one and a number."""
    torch.manual_seed(seed)
    pictures = torch.randint(0, 256, (images, 3, 5, 5), dtype=torch.uint8)
    return {
        "x": {"weak": pictures.to(memory_format=torch.channels_last)},
        "y": torch.randint(0, 10, (images,)),
        "draws": {"mix": torch.rand(images, 2), "half": torch.rand(images).bfloat16()},
        "params": torch.rand(images, 3, 4).permute(2, 0, 1),
        "known": torch.rand(images) < 0.5,
        "none": torch.empty(0, dtype=torch.int64),
        "part": (torch.tensor(seed),),
    }


def assert_same(found: object, wanted: object) -> None:
    for one, other in zip(tree_leaves(found), tree_leaves(wanted), strict=True):
        assert one.dtype == other.dtype and one.equal(other)


@pytest.mark.parametrize("images", [4, 3])  # 300 and 225 bytes of pixels: four or one at once
def test_all_tensors_are_copied_at_once(images):
    fixed = FixedBatch(batch(0, images))
    assert_same(fixed.batch, batch(0, images))
    addresses = [value.data_ptr() for value in tree_leaves(fixed.batch)]
    assert fixed.batch["x"]["weak"].is_contiguous(memory_format=torch.channels_last)
    for seed in (1, 2):
        given = batch(seed, images)
        with Copies() as copies:
            fixed.fill(given)
        assert copies.found == ["aten._foreach_copy_.default"]
        assert_same(fixed.batch, given)
    assert [value.data_ptr() for value in tree_leaves(fixed.batch)] == addresses


def test_parts_of_larger_storages_are_copied_whole():
    """Where a tensor begins in the middle of a word, words are not what is copied."""

    def parts(seed: int) -> list[Tensor]:
        torch.manual_seed(seed)
        pixels = torch.randint(0, 256, (64,), dtype=torch.uint8)
        return [pixels[3:11], torch.rand(9)[1:]]

    fixed = FixedBatch(parts(0))
    fixed.fill(parts(1))
    assert_same(fixed.batch, parts(1))
    aligned = [torch.arange(8, dtype=torch.uint8), torch.rand(8)]
    fixed.fill(aligned)
    assert_same(fixed.batch, aligned)


def test_tensors_with_gaps_are_copied_one_by_one():
    def gaps(value: float) -> dict[str, Tensor]:
        return {
            "every second": torch.full((4, 8), value)[:, ::2],
            "expanded": torch.full((1, 3), value).expand(5, 3),
            "dense": torch.full((6,), value),
            "turned": torch.arange(6.0).view(2, 3) * value,
        }

    fixed = FixedBatch(gaps(1.0))
    given = gaps(2.0) | {"turned": gaps(2.0)["turned"].t().contiguous().t()}  # dense, in another order
    with Copies() as copies:
        fixed.fill(given)
    assert sorted(copies.found) == ["aten._foreach_copy_.default", *["aten.copy_.default"] * 3]
    assert_same(fixed.batch, given)


@pytest.mark.parametrize(
    "other", [{"x": torch.zeros(5)}, {"x": torch.zeros(4, dtype=torch.int64)}, {"x": torch.zeros(4), "y": torch.zeros(1)}]
)  # fmt: skip
def test_another_batch_is_an_error(other):
    fixed = FixedBatch({"x": torch.ones(4)})
    with pytest.raises(ValueError, match="another size"):
        fixed.fill(other)
    assert fixed.batch["x"].equal(torch.ones(4))
