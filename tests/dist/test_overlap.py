"""Messages that are joined and overlapped change nothing: against the same graphs without, and against eager steps."""

from pathlib import Path

import pytest
import torch

from tests.dist.overlap_worker import COMPILED, EAGER, GRAPHS, NETWORKS, OVERLAPPED, PASSES, run

GATHERS, SUMS = "all_gather_into_tensor", "all_reduce"
NORMS = {"residual": (6, 6), "wide": (4, 4), "twice": (8, 4)}
"""Messages of a step as it is written: forward, backward."""
LEVELS = {"residual": (4, 4), "wide": (4, 4), "twice": (4, 4)}
"""The same where those that are ready together travel as one: in each residual block, the norm of the shortcut with one
of the branch; the norms of two forwards side by side."""


def same(found: dict, expected: dict, tolerance: float) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        if name != "messages":
            torch.testing.assert_close(found[name], value, rtol=tolerance, atol=tolerance, msg=name)


def check(ranks: list[dict], plain: str, joined: str) -> None:
    for found in ranks:
        for name, ways in found.items():
            same(ways[joined], ways[plain], 1e-12)
            same(ways[joined], ways[EAGER], 1e-12)
            sent = {way: (own["messages"][GATHERS], own["messages"][SUMS]) for way, own in ways.items()}
            assert sent == {EAGER: NORMS[name], plain: NORMS[name], joined: LEVELS[name]}, name


@pytest.mark.slow
def test_passes_over_the_graphs_of_two_ranks_change_no_number(tmp_path: Path):
    check(run(tmp_path, 2, list(NETWORKS), (EAGER, GRAPHS, PASSES)), GRAPHS, PASSES)


@pytest.mark.long
def test_passes_over_the_graphs_of_four_ranks_change_no_number(tmp_path: Path):
    check(run(tmp_path, 4, list(NETWORKS), (EAGER, GRAPHS, PASSES)), GRAPHS, PASSES)


@pytest.mark.long
@pytest.mark.parametrize("name", NETWORKS)
def test_compiled_steps_with_joined_and_overlapped_messages_have_the_same_numbers(name: str, tmp_path: Path):
    check(run(tmp_path, 2, [name], (EAGER, COMPILED, OVERLAPPED)), COMPILED, OVERLAPPED)


@pytest.mark.long
def test_statistics_of_groups_of_ranks(tmp_path: Path):
    """A group of two ranks has the statistics of its own batches; four groups of one are layers without `sync`."""
    ranks = [rank["groups"] for rank in run(tmp_path, 4)]

    def statistics(groups: int) -> list[torch.Tensor]:
        return [rank[f"{groups} groups"]["1.norm1.running_mean"] for rank in ranks]

    all_alike, two, four = statistics(1), statistics(2), statistics(4)
    assert all(torch.equal(value, all_alike[0]) for value in all_alike)
    assert torch.equal(two[0], two[1]) and torch.equal(two[2], two[3]) and not torch.allclose(two[0], two[2])
    assert len({tuple(value.tolist()) for value in four}) == 4
    for groups in (1, 2, 4):  # gradients are the mean over all ranks, whatever statistics they come from
        weights = [rank[f"{groups} groups"]["1.conv1.weight"] for rank in ranks]
        assert all(torch.equal(weight, weights[0]) for weight in weights)
    assert not torch.allclose(ranks[0]["1 groups"]["1.conv1.weight"], ranks[0]["2 groups"]["1.conv1.weight"])
