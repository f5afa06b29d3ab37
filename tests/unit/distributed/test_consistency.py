"""Checksums of tensors that must be equal on all ranks, and which rank or step a difference is told with."""

import pytest
import torch
from torch import nn

from semisonic.distributed import consistency as divergence
from semisonic.distributed.consistency import Diverged, RanksDiffer, check_equal, check_finite, checksums, equal_tensors
from semisonic.models.norm import BatchNorm2d


def several() -> list[torch.Tensor]:
    torch.manual_seed(0)
    return [
        torch.randn(3, 4), torch.randn(2, 3, 4, 4).to(memory_format=torch.channels_last), torch.tensor(7),
        torch.tensor([True, False, False]), torch.randn(5, dtype=torch.float64), torch.randn(6).bfloat16(),
        torch.randn(4, dtype=torch.complex128), torch.zeros(0), torch.tensor(1.5), torch.arange(9, dtype=torch.uint8),
    ]  # fmt: skip


def check_checksums(device: str) -> None:
    def of(tensors: list[torch.Tensor]) -> list[int]:
        return checksums([tensor.to(device) for tensor in tensors]).tolist()

    expected = of(several())
    assert of(several()) == expected and len(set(expected)) == len(expected)
    for number, tensor in enumerate(several()):
        if not tensor.numel():
            continue
        bits = tensor.flatten().view(torch.uint8).clone()
        for change in (0x80, 1):
            bits[-1] ^= change
            changed = [*several()[:number], bits.view(tensor.dtype).reshape(tensor.shape), *several()[number + 1 :]]
            differ = [a != b for a, b in zip(of(changed), expected, strict=True)]
            assert differ == [other == number for other in range(len(expected))], (tensor.dtype, change)
    swapped = several()
    swapped[0] = swapped[0].flip(0)
    assert of(swapped)[0] != expected[0] and of(swapped)[1:] == expected[1:]
    assert of([torch.tensor([0.0])]) != of([torch.tensor([-0.0])])  # the bits count


def test_checksums_see_every_bit_and_place():
    check_checksums("cpu")


@pytest.mark.gpu
def test_checksums_on_a_gpu():
    torch.use_deterministic_algorithms(True)
    check_checksums("cuda")
    torch.cuda.set_sync_debug_mode("error")
    try:
        tensors = [torch.ones(5, device="cuda"), torch.ones(3, device="cuda").half()]
        checksums(tensors)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_large_tensors_are_hashed_in_parts(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(divergence, "ELEMENTS", 10)
    check_checksums("cpu")
    ones = torch.ones(25)
    changed = ones.clone()
    changed[[3, 13]] = 0
    other = ones.clone()
    other[[4, 14]] = 0
    assert len({int(checksums([tensor])) for tensor in (ones, changed, other)}) == 3


def test_own_statistics_of_ranks_may_differ():
    net = nn.Sequential(nn.Conv2d(3, 4, 1), BatchNorm2d(4), BatchNorm2d(4), BatchNorm2d(4))
    net[2].sync, net[3].groups = False, 2
    names = set(equal_tensors(net))
    assert {"1.running_mean", "1.running_var", "2.weight", "0.weight"} < names
    assert not {"2.running_mean", "2.running_var", "3.running_mean", "3.running_var"} & names
    assert set(equal_tensors(net, parameters=False)) == {n for n in names if "running" in n or "num_batches" in n}


def pretend(monkeypatch: pytest.MonkeyPatch, others: list[torch.Tensor]) -> None:
    """Has this process be one rank among others, which contribute the given tensors to every gathering."""

    def all_gather(out: list[torch.Tensor], own: torch.Tensor) -> None:
        for into, value in zip(out, [own, *others], strict=True):
            into.copy_(value)

    monkeypatch.setattr(divergence.dist, "is_initialized", lambda: True)
    monkeypatch.setattr(divergence.dist, "get_world_size", lambda: len(others) + 1)
    monkeypatch.setattr(divergence.dist, "all_gather", all_gather)


def test_ranks_that_differ_are_named(monkeypatch: pytest.MonkeyPatch):
    tensors = {f"t{i}": torch.full((3,), float(i)) for i in range(6)}
    good = checksums(tensors.values())
    pretend(monkeypatch, [good, good])
    check_equal(tensors, 7, lambda: "")
    pretend(monkeypatch, [good, checksums(value + (name > "t1") for name, value in tensors.items())])
    with pytest.raises(RanksDiffer) as caught:
        check_equal(tensors, 7, lambda: "Go back")
    says = "rank 2 differs from the other ranks at step 7, in t2, t3, t4 and 1 more; nothing was saved since. Go back"
    assert caught.value.messages == [says]
    with pytest.raises(RanksDiffer, match=r"ranks 0, 1 and 2 differ from each other at step 7, in t0"):
        pretend(monkeypatch, [good + 1, good + 2])
        check_equal(tensors, 7, lambda: "")


def test_the_first_rank_that_saw_a_bad_step_is_named(monkeypatch: pytest.MonkeyPatch):
    check_finite(torch.tensor(-1), lambda: "")
    with pytest.raises(Diverged, match="not finite at step 4; nothing"):
        check_finite(torch.tensor(4), lambda: "")
    pretend(monkeypatch, [torch.tensor([-1]), torch.tensor([3])])
    with pytest.raises(Diverged, match="not finite at step 3 on rank 2; nothing"):
        check_finite(torch.tensor(4), lambda: "")
