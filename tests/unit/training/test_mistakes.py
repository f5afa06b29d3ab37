"""The surest mistakes of an evaluation, whatever its slices are."""

import pytest
import torch

from semisonic.contract import Rank
from semisonic.training.mistakes import Mistake, Mistakes

LOGITS = torch.tensor([[9.0, 0, 0], [0, 2, 0], [5, 0, 0], [0, 0, 1], [0, 3, 0], [0, 0, 8]])
LABELS = torch.tensor([0, 0, 1, 2, 2, 1])


def heard(share: int, most: int, rank: Rank = Rank()) -> list[Mistake]:  # noqa: B008
    mistakes = Mistakes(share, rank, most)
    step = share * rank.world_size
    for start in range(rank.rank * share, len(LABELS), step):
        part = slice(start, start + share)
        mistakes.add(LOGITS[part], LABELS[part], torch.ones(len(LABELS[part]), dtype=torch.bool))
    return mistakes.read(everywhere=False)


@pytest.mark.parametrize("share", [1, 2, 3, 6])
def test_the_surest_come_first_whatever_the_slices(share: int):
    found = heard(share, 3)
    assert [(one.place, one.true, one.predicted) for one in found] == [(5, 1, 2), (2, 1, 0), (4, 2, 1)]
    confidence = LOGITS.softmax(-1).amax(-1)
    assert [one.confidence for one in found] == pytest.approx(confidence[[5, 2, 4]].tolist())
    assert len(heard(share, 10)) == 4


def test_ranks_have_places_among_all_images():
    found = [one.place for rank in range(2) for one in heard(2, 10, Rank(rank, 2))]
    assert sorted(found) == [1, 2, 4, 5]


def test_repeated_images_do_not_count():
    mistakes = Mistakes(2, most=4)
    mistakes.add(LOGITS[1:3], LABELS[1:3], torch.tensor([True, False]))
    assert [one.place for one in mistakes.read()] == [0]
    assert Mistakes(2).read() == []
