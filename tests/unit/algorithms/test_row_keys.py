"""Keys of rows: those of a global batch, however ranks and micro-batches cut it."""

import pytest
import torch
from torch import Tensor

from semisonic.algorithms.fixmatch import FixMatch
from semisonic.algorithms.mixmatch import MixMatch
from semisonic.algorithms.row_keys import phase, row_keys
from semisonic.contract import Rank, cut
from tests.support.algorithms import batch, batch_for, info, tiny_network
from tests.support.runner import Runner

RUN, STEP = torch.tensor(2**62 + 5), torch.tensor(3)


def keys_of(rank: Rank, rows: tuple[int, ...], part: int | None = None, name: str = "loss") -> tuple[Tensor, ...]:
    """Of the views of the second forward of a phase."""
    given = batch()._replace(part=() if part is None else (torch.tensor(part),))
    share = torch.tensor([rank.rank, rank.world_size])
    with phase(name, given):
        row_keys(RUN, STEP, share, rows)
        found = row_keys(RUN, STEP, share, rows)
    assert found is not None
    return torch.split(found, rows)


def test_ranks_and_micro_batches_share_the_keys_of_one_process():
    whole = keys_of(Rank(), (8, 16, 16))
    assert len(torch.cat(whole).unique()) == 40
    for ranks, micro in ((2, 1), (4, 1), (1, 2), (2, 2), (4, 2)):
        sizes = tuple(size // ranks // micro for size in (8, 16, 16))
        cuts = [keys_of(Rank(rank, ranks), sizes, part) for part in range(micro) for rank in range(ranks)]
        for view, keys in enumerate(whole):
            assert torch.cat([own[view] for own in cuts]).equal(keys), (ranks, micro)


def test_another_forward_phase_step_or_run_has_other_keys():
    share, found = torch.tensor([0, 1]), []
    for name in ("study", "teach"):
        with phase(name, batch()):
            found += [row_keys(RUN, STEP, share, (4,)) for _ in range(2)]
    for run, step in ((RUN + 1, STEP), (RUN, STEP + 1)):
        with phase("study", batch()):
            found.append(row_keys(run, step, share, (4,)))
    assert len(torch.cat(found).unique()) == 6 * 4
    with phase("study", batch()):
        assert row_keys(RUN, STEP, share, (4,)).equal(found[0])
    assert row_keys(RUN, STEP, share, (4,)) is None  # outside of any phase


def test_a_compiled_forward_has_the_same_keys():
    torch._dynamo.reset()
    given, share = batch()._replace(part=(torch.tensor(1),)), torch.tensor([1, 2])

    def both(step: Tensor) -> Tensor:
        with phase("loss", given):
            return torch.cat([row_keys(RUN, step, share, (3, 5)), row_keys(RUN, step, share, (3, 5))])

    compiled = torch.compile(both, fullgraph=True, backend="aot_eager")
    for step in range(3):
        with torch._dynamo.config.patch(error_on_recompile=step > 0):
            assert compiled(torch.tensor(step)).equal(both(torch.tensor(step)))


class Kept:
    """The keys that an algorithm's forwards had."""

    def __init__(self, algorithm, monkeypatch: pytest.MonkeyPatch):
        self.found: list[Tensor] = []
        original = algorithm._row_keys

        def row_keys(rows):
            self.found.append(original(rows))
            return self.found[-1]

        monkeypatch.setattr(algorithm, "_row_keys", row_keys)
        monkeypatch.setattr(algorithm, "_draws", True)


def test_a_step_has_keys_that_change_with_it_and_none_in_evaluation(monkeypatch: pytest.MonkeyPatch):
    torch.manual_seed(0)
    algorithm = FixMatch(FixMatch.Config(), tiny_network, info())
    kept, run = Kept(algorithm, monkeypatch), Runner(algorithm)
    for seed in (1, 1):
        run.step(batch_for(algorithm, seed))
    first, _, second, _ = kept.found  # of the features, and of the head
    assert len(first) == 6 + 12 + 12 and not first.equal(second)
    algorithm.eval().infer(batch().x["weak"])
    assert kept.found[-1] is None
    with pytest.raises(ValueError, match=r"rows: \[4, 4\] are 8 rows, but there are 6"):
        algorithm.infer(batch().x["weak"], rows=[4, 4])


def test_a_mixture_s_rows_are_those_of_its_streams(monkeypatch: pytest.MonkeyPatch):
    """Halves of the batch, on two ranks, have the keys of the whole: of labeled images first, then of each view."""
    torch.manual_seed(0)
    algorithm = MixMatch(MixMatch.Config(block=2), tiny_network, info())
    kept, given = Kept(algorithm, monkeypatch), batch_for(algorithm)
    algorithm(given)
    whole, kept.found = kept.found, []
    for rank, half in enumerate(cut(given, 2)):
        algorithm.draw_from(0, Rank(rank, 2))
        algorithm.cfg = algorithm.cfg.model_copy(update={"block": 1})
        algorithm(half._replace(part=()))
    for keys, one, two in zip(whole, kept.found[:4], kept.found[4:], strict=True):
        assert torch.cat([one, two]).sort().values.equal(keys.sort().values)
