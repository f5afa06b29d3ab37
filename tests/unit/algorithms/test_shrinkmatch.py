"""The properties that ShrinkMatch's equations promise; those of its loss among fewer classes are in kernels."""

import copy

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from semisonic.algorithms.alignment import aligned
from semisonic.algorithms.fixmatch import FixMatch
from semisonic.algorithms.shrinkmatch import ShrinkMatch
from semisonic.check.tiny import Runner
from semisonic.config.command_line import resolve
from semisonic.schema import UserError
from semisonic_kernels.losses import shrunk_cross_entropy
from tests.support.algorithms import CLASSES, batch, frozen, gradients, make, same


def logits_of(algorithm: ShrinkMatch, view: Tensor) -> Tensor:
    return algorithm.network(algorithm.normalize(view))


def deciding(batches: int = 0, **fields: object) -> ShrinkMatch:
    """After so many batches, and with a threshold that half of the unlabeled images reach."""
    algorithm = frozen(make(ShrinkMatch, **fields))
    rows = torch.tensor([[0.4, 0.3, 0.2, 0.1], [0.1, 0.2, 0.4, 0.3]], dtype=torch.float64)
    for row in rows[:batches]:
        algorithm.update({"mean": row[None], "share": torch.tensor(0.25)})
    guess, _ = algorithm.guess(algorithm.look(batch().u["weak"], track=False)[0])
    algorithm.cfg = algorithm.cfg.model_copy(update={"threshold": guess.confidence.median().item()})
    return algorithm


@pytest.mark.parametrize("window", [32, 2])
def test_it_equals_its_equation(window: int):
    """Guesses are aligned by the rows filled so far, and this batch's; in a window of 2 the oldest has gone."""
    algorithm = deciding(2, window=window, weight=2.0, shrink=3.0, momentum=0.9)
    of, cfg = batch(), algorithm.cfg
    p = logits_of(algorithm, of.u["weak"]).softmax(-1).detach()
    rows = [row for row in algorithm.window_RC if row.any()][-window + 1 :] if window == 2 else algorithm.window_RC[:2]
    q = aligned(p, torch.full((CLASSES,), 1 / CLASSES).double(), torch.stack([*rows, p.mean(0)]).mean(0))
    algorithm.cfg = cfg = cfg.model_copy(update={"threshold": cfg.threshold - 1e-9})
    certain = q.amax(-1) >= cfg.threshold
    seen = algorithm.look(of.u["strong"], track=False)[0]
    log_p, among = seen.logits.log_softmax(-1), algorithm.auxiliary(seen.features)
    fewer = ~certain * shrunk_cross_entropy(among, q, cfg.threshold)
    assert 0 < certain.sum() < 12 and fewer.gt(0).any()
    share = 0.9 * 0.25 + 0.1 * certain.double().mean()
    expected = F.cross_entropy(logits_of(algorithm, of.x["weak"]), of.y)
    expected = expected + 2 * (certain * -(q * log_p).sum(-1)).mean() + 3 * share * fewer.mean()
    output = algorithm.loss(of)
    torch.testing.assert_close(output.loss, expected)
    torch.testing.assert_close(output.observed, {"mean": p.mean(0)[None], "share": share})
    found = gradients(algorithm, of)
    algorithm.zero_grad()
    expected.backward()
    assert same(found, {name: p.grad for name, p in algorithm.named_parameters()})


def test_without_its_further_loss_alignment_and_soft_labels_it_is_fixmatch():
    algorithm = deciding(shrink=0.0, window=0, targets="hard")
    fixmatch = frozen(make(FixMatch, threshold=algorithm.cfg.threshold))
    fixmatch.load_state_dict(algorithm.state_dict(), strict=False)
    assert 0 < fixmatch.loss(batch()).metrics["coverage"] < 1
    found = gradients(algorithm, batch())
    own = {name: found.pop(name) for name in list(found) if name.startswith("auxiliary.")}
    assert own and not any(value.any() for value in own.values())
    assert same(found, gradients(fixmatch, batch()))


@pytest.mark.parametrize("threshold", [0.0, 2.0], ids=["all", "none"])
def test_a_where_all_are_certain_or_nobody_can_be_nothing_is_shrunk(threshold: float):
    """(a)"""
    metrics = frozen(make(ShrinkMatch, threshold=threshold)).loss(batch()).metrics
    assert metrics["coverage"] == (threshold == 0) and metrics["loss_shrunk"] == 0


def test_d_the_share_begins_at_the_first_batch_s_and_goes_on_through_epochs_and_a_resume():
    """(d), X25: it is never begun anew, and a batch that comes later moves it by 1 - momentum."""
    algorithm, expected, shares = deciding(momentum=0.9), None, []
    for step in range(30):  # more images than the pool has
        of = batch(u={name: view.roll(step, 0) // (1 + step % 3) for name, view in batch().u.items()})
        output = algorithm.loss(of)
        shares.append(output.metrics["coverage"].item())
        expected = shares[0] if expected is None else 0.9 * expected + 0.1 * shares[-1]
        assert output.observed["share"].item() == pytest.approx(expected, abs=1e-6)
        algorithm.update(output.observed)
        if step == 15:
            resumed = deciding(momentum=0.9)
            resumed.load_state_dict(copy.deepcopy(algorithm.state_dict()))
            algorithm = resumed
    assert len(set(shares)) > 1


def test_e_the_head_of_fewer_classes_is_in_no_evaluation_and_no_average():
    """(e)"""
    algorithm = make(ShrinkMatch, threshold=0.3)
    Runner(algorithm).step(batch())
    before = [algorithm.predict(batch().x["weak"], module) for module in ("network", "ema")]
    with torch.no_grad():
        for value in algorithm.auxiliary.parameters():
            value += 1
    after = [algorithm.predict(batch().x["weak"], module) for module in ("network", "ema")]
    assert all(map(torch.equal, before, after)) and algorithm.exported_head() is None
    assert not any(name.startswith(("ema.auxiliary", "network.auxiliary")) for name in algorithm.state_dict())
    own = set(algorithm.auxiliary.parameters())
    assert own and not own & algorithm.averaged_parameters().keys()


def test_the_head_reads_the_strong_views_and_normalizes_by_their_batch_alone():
    algorithm = deciding(2)
    of, seen = batch(), []
    hook = algorithm.auxiliary.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    algorithm.loss(of)
    hook.remove()
    strong = algorithm.network.features(algorithm.normalize(of.u["strong"]))
    assert len(seen) == 1
    torch.testing.assert_close(seen[0], strong)
    assert not list(algorithm.auxiliary.buffers())  # no running statistics, that a second forward could move


def test_certain_samples_train_no_fewer_classes():
    """Each sample is in one of the two losses."""
    algorithm = deciding(2, shrink=1e3)
    of = batch()
    guess, _ = algorithm.guess(algorithm.look(of.u["weak"], track=False)[0])
    assert 0 < guess.mask.sum() < 12
    outputs: list[Tensor] = []
    hook = algorithm.auxiliary.register_forward_hook(lambda module, given, output: outputs.append(output))
    loss = algorithm.loss(of).loss
    hook.remove()
    (gradient,) = torch.autograd.grad(loss, outputs)
    reached = gradient.abs().sum(-1) > 0
    assert reached.any() and not (reached & (guess.mask == 1)).any()


def test_guesses_carry_no_gradient():
    algorithm, of = deciding(), batch()
    weak = algorithm.normalize(of.u["weak"]).requires_grad_()
    algorithm.loss(of._replace(u={"weak": weak, "strong": of.u["strong"]})).loss.backward()
    assert weak.grad is None or not weak.grad.any()


def test_a_class_that_nobody_is_guessed_leaves_guesses_finite():
    algorithm = frozen(make(ShrinkMatch))
    with torch.no_grad():
        algorithm.network.head.bias[0] = -1e9
    guess, mean_C = algorithm.guess(algorithm.look(batch().u["weak"], track=False)[0])
    assert mean_C[0] == 0 and guess.targets.isfinite().all() and not guess.targets[:, 0].any()


def test_a_batch_is_not_cut():
    fields = ["--algorithm", "shrinkmatch", "--no-baseline", "--device", "cpu"]
    resolve(fields)
    with pytest.raises(UserError, match=r"batch.micro: shrinkmatch couples all samples of a batch; use 1"):
        resolve([*fields, "--batch.micro", "2"])
