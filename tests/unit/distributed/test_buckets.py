"""DDP's buckets: the last one, which nothing hides, is small; graphs are cut where buckets end."""

import pytest
import torch.distributed as dist

from semisonic.config.command_line import resolve
from semisonic.distributed.buckets import SMALL, bucket_cap, cut_at, filled
from semisonic.models.networks import build

MIB = 1 << 20


def sizes_of(name: str) -> list[int]:
    cfg = resolve(["--no-baseline", "--log.trackers", "none", "--model", name])[1]
    return [parameter.numel() * 4 for parameter in build(cfg.model, 10, 32).parameters()]


def test_a_bucket_is_closed_once_it_is_full():
    assert filled([1, 2, 3, 4, 5], 8) == [9, 6]  # from the last parameter on
    assert filled([4, 4], 4) == [4, 4] and filled([9], 4) == [9]


def test_the_last_bucket_is_small_and_there_are_no_more_than_need_be():
    sizes = [MIB // 4] * 24  # 6 MiB
    assert filled(sizes, bucket_cap(sizes, 25 * MIB)) == [5 * MIB, MIB]
    assert filled(sizes, bucket_cap(sizes, 3 * MIB)) == [5 * MIB // 2, 5 * MIB // 2, MIB]


def test_wrn_28_2_has_two_buckets_as_before_and_the_last_below_1_mib():
    sizes = sizes_of("wrn-28-2")
    buckets = filled(sizes, bucket_cap(sizes, 25 * MIB))
    assert len(buckets) == 2 and buckets[1] <= SMALL and sum(buckets) == sum(sizes)


@pytest.mark.parametrize(
    "sizes",
    [[40 * MIB, MIB // 8], [MIB // 8, 40 * MIB], [40 * MIB, 40 * MIB], [MIB // 2], [], [7] * 1000],
    ids=["large first", "large last", "large ones", "small", "none", "tiny"],
)
def test_every_module_has_buckets_of_at_most_what_was_asked(sizes: list[int]):
    cap = bucket_cap(sizes, 25 * MIB)
    assert 0 < cap <= 25 * MIB
    buckets = filled(sizes, cap)
    assert sum(buckets) == sum(sizes) and (len(buckets) == 1 or min(buckets[:-1]) >= cap)
    assert buckets[-1] <= SMALL + max(sizes, default=0)


def test_graphs_are_cut_at_the_first_bucket_s_end_inside_alone():
    before = dist._DEFAULT_FIRST_BUCKET_BYTES
    with pytest.raises(KeyError), cut_at(12345):
        assert dist._DEFAULT_FIRST_BUCKET_BYTES == 12345
        raise KeyError
    assert before == dist._DEFAULT_FIRST_BUCKET_BYTES


def test_a_version_of_torch_that_keeps_it_elsewhere_is_told(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delattr(dist, "_DEFAULT_FIRST_BUCKET_BYTES")
    with pytest.raises(RuntimeError, match="this version of torch"), cut_at(1):
        pass
