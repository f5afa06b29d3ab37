"""The properties that Dash's rules promise."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from semisonic.algorithms.dash import ALL, NONE, Dash
from semisonic.algorithms.fixmatch import FixMatch
from semisonic.check.tiny import Runner
from semisonic.config.command_line import resolve
from semisonic.contract import Seen
from semisonic.schema import UserError
from semisonic_kernels import collectives
from tests.support.algorithms import batch, frozen, gradients, images, make, same

RULES = ("official", "usb")
each = pytest.mark.parametrize("rule", RULES)


def logits_of(algorithm: Dash, view: Tensor) -> Tensor:
    return algorithm.network(algorithm.normalize(view))


def at(step: int, first: float, **fields: object) -> Dash:
    """With rho^ as given, after so many steps; an epoch is one step, the warm-up 10 of them."""
    algorithm = frozen(make(Dash, **{"epoch": 2, "warm_up": 5, **fields}))
    algorithm.step.fill_(step)
    algorithm.losses.fill_(7 * first)
    algorithm.counted.fill_(7)
    return algorithm


def deciding(**fields: object) -> Dash:
    """With a threshold that half of the unlabeled images pass, far above the floor."""
    algorithm = at(10, 1.0, **{"fall_every": 1000, "floor": 1e-3, **fields})
    logits = logits_of(algorithm, batch().u["weak"]).detach()
    soft = logits.softmax(-1) if algorithm.cfg.rule == "official" else (logits / algorithm.cfg.temperature).softmax(-1)
    hard = F.one_hot(logits.argmax(-1), 4).double()
    judged = hard if algorithm.cfg.rule == "official" else soft
    losses = -(judged * logits.log_softmax(-1)).sum(-1)
    algorithm.losses.copy_(7 * losses.sort().values[5:7].mean())
    return algorithm


@each
def test_it_equals_its_equation_while_labels_are_soft(rule: str):
    algorithm, of = deciding(rule=rule, weight=2.0), batch()
    weak, log_p = logits_of(algorithm, of.u["weak"]).detach(), logits_of(algorithm, of.u["strong"]).log_softmax(-1)
    q = (weak / 0.5).softmax(-1)
    losses = -(q * log_p).sum(-1)
    judged = -weak.log_softmax(-1).amax(-1) if rule == "official" else -(q * weak.log_softmax(-1)).sum(-1)
    kept = judged <= algorithm.losses / 7
    assert 0 < kept.sum() < 12
    unlabeled = 0.9 * losses[kept].mean() if rule == "official" else losses[kept].sum() / 12
    expected = F.cross_entropy(logits_of(algorithm, of.x["weak"]), of.y) + 2 * unlabeled
    torch.testing.assert_close(algorithm.loss(of).loss, expected)
    found = gradients(algorithm, of)
    algorithm.zero_grad()
    expected.backward()
    assert same(found, {name: p.grad for name, p in algorithm.named_parameters()})


@each
def test_at_its_floor_it_is_fixmatch_but_for_the_mean(rule: str):
    """rho = -log threshold and hard labels; official: of the number that counts, times 0.9."""
    threshold = logits_of(frozen(make(Dash)), batch().u["weak"]).softmax(-1).amax(-1).sort().values[5:7].mean().item()
    dash = at(10, 0.0, rule=rule, floor=-math.log(threshold))
    fixmatch = frozen(make(FixMatch, threshold=threshold))
    fixmatch.load_state_dict(dash.state_dict(), strict=False)
    coverage = fixmatch.loss(batch()).metrics["coverage"].item()
    assert 0 < coverage < 1
    fixmatch.cfg = fixmatch.cfg.model_copy(update={"weight": 0.9 / coverage if rule == "official" else 1.0})
    assert same(gradients(dash, batch()), gradients(fixmatch, batch()))


@each
def test_a_the_threshold_never_rises_and_ends_at_the_floor(rule: str):
    """(a)"""
    found = [at(step, 2.3, rule=rule, fall_every=2).threshold() for step in range(10, 100)]
    rho = [value.item() for value, _ in found]
    assert rho == sorted(rho, reverse=True) and rho[-1] == 0.05 < rho[0]
    hard = [bool(value) for _, value in found]
    assert hard == sorted(hard) and [value == 0.05 for value in rho] == hard


@pytest.mark.parametrize(("first", "epoch"), [(0.5, 91), (1.0, 118), (2.3, 154)])
def test_the_official_threshold_reaches_its_floor_when_the_code_s_does(first: float, epoch: int):
    """As epochs of 1,024 steps; exp(-0.05) = 0.9512 is then the confidence that counts."""
    before, after = (at(1024 * e - d, first, epoch=1024, warm_up=None) for e, d in ((epoch, 1), (epoch, 0)))
    assert before.threshold()[0] > 0.05 and not before.threshold()[1]
    assert after.threshold()[0] == 0.05 and after.threshold()[1]
    assert math.exp(-after.threshold()[0].item()) == pytest.approx(0.9512, abs=1e-4)


@pytest.mark.parametrize(("first", "falls"), [(0.5, 10), (1.0, 13), (2.3, 17)])
def test_usb_s_threshold_counts_its_falls_from_the_warm_up_on(first: float, falls: int):
    end = 2048 + 10 * 1024 * falls
    before, after = (at(step, first, rule="usb", epoch=1024, warm_up=None) for step in (end - 1, end))
    assert before.threshold()[0] > 0.05 == after.threshold()[0]
    assert at(2048, first, rule="usb", epoch=1024, warm_up=None).threshold()[0].item() == pytest.approx(1.0001 * first)


@each
def test_b_an_infinite_threshold_keeps_all_and_none_keeps_what_has_no_loss(rule: str):
    """(b)"""
    algorithm = at(10, 1.0, rule=rule)
    logits = torch.tensor([[0.0, 1e4, 0.0, 0.0], [0.3, 0.2, 0.1, 0.0]], dtype=torch.float64)
    for rho, kept in ((math.inf, [1, 1]), (0.0, [1, 0])):
        guess = algorithm.guess(Seen(logits, logits), torch.tensor(rho), torch.tensor(False))
        assert guess.mask.tolist() == kept


def test_in_the_official_warm_up_all_count_and_in_usb_s_none():
    official, usb = (at(9, 0.01, rule=rule) for rule in RULES)
    assert official.threshold()[0] == ALL and usb.threshold()[0] == NONE
    metrics = official.loss(batch()).metrics
    assert (metrics["coverage"], metrics["threshold"]) == (1, 0)
    output = usb.loss(batch())
    assert [output.metrics[name] for name in ("coverage", "loss_unlabeled", "threshold")] == [0, 0, 1]
    torch.testing.assert_close(output.loss, F.cross_entropy(logits_of(usb, batch().x["weak"]), batch().y))


def warmed_up(rule: str, steps: int, **fields: object) -> tuple[Dash, list[Tensor]]:
    """After so many steps of a warm-up of 10, and the losses of each that rho^ may be of."""
    algorithm, losses = make(Dash, **{"rule": rule, "epoch": 2, "warm_up": 5, **fields}), []
    run = Runner(algorithm)
    for step in range(steps):
        of = batch(u={"weak": images(12, 20 + step), "strong": images(12, 50 + step)}, x={"weak": images(6, 80 + step)})
        copy = make(Dash, rule=rule)
        copy.load_state_dict(algorithm.state_dict())
        x, weak, strong = copy.look_at(of)
        q = (weak.logits / 0.5).softmax(-1)
        soft, labeled = -(q * strong.logits.log_softmax(-1)).sum(-1), F.cross_entropy(x.logits, of.y, reduction="none")
        losses.append((soft if rule == "official" else labeled).detach())
        run.step(of)
    return algorithm, losses


@pytest.mark.parametrize(
    ("rule", "epoch", "last"), [("official", 5, 40), ("official", 1.25, 12), ("usb", 5, 8), ("usb", 1.25, 6)]
)
def test_c_the_first_threshold_is_of_the_last_losses_of_the_warm_up(rule: str, epoch: float, last: int):
    """(c), X5: of as many strong views as the pool has images (40), or labeled ones as there are (8), of an epoch."""
    algorithm, losses = warmed_up(rule, 13, epoch=epoch, warm_up=10 / epoch)
    assert algorithm.counted == last
    torch.testing.assert_close(algorithm.first(), torch.cat(losses[:10])[-last:].mean())


def test_a_warm_up_of_fewer_losses_takes_them_all():
    algorithm, losses = warmed_up("official", 4, epoch=40, warm_up=0.05)
    assert algorithm.counted == 24
    torch.testing.assert_close(algorithm.first(), torch.cat(losses[:2]).mean())


def test_c_no_test_and_no_held_out_image_is_read():
    """(c), X5"""
    for rule in RULES:
        algorithm = at(10, 1.0, rule=rule)
        assert not algorithm.reads_held_out(algorithm.cfg)
        before = algorithm.loss(batch())
        algorithm.held_out_counts += 9
        assert torch.equal(algorithm.loss(batch()).loss, before.loss)


def test_ranks_divide_by_the_number_that_counts_on_all(monkeypatch: pytest.MonkeyPatch):
    """The mean over the ranks of their losses is the loss of the whole batch, though other numbers count on each."""
    algorithm = deciding()
    _, weak, _ = algorithm.look_at(batch())
    guess = algorithm.guess(weak, *algorithm.threshold())
    losses_U = torch.rand(12, generator=torch.Generator().manual_seed(0)).double().requires_grad_()
    whole = algorithm.mean_of_counting(losses_U, guess.mask)
    order = guess.mask.argsort()
    monkeypatch.setattr(collectives, "mean", lambda value: guess.mask.sum() / 2)
    monkeypatch.setattr(collectives, "ranks", lambda: 2)
    halves = [algorithm.mean_of_counting(losses_U[part], guess.mask[part]) for part in (order[:6], order[6:])]
    assert guess.mask[order[:6]].sum() != guess.mask[order[6:]].sum()
    both = (halves[0] + halves[1]) / 2
    torch.testing.assert_close(both, whole)
    torch.testing.assert_close(torch.autograd.grad(both, losses_U), torch.autograd.grad(whole, losses_U))


def test_where_none_counts_the_unlabeled_loss_is_zero():
    algorithm = at(10, 0.0, floor=1e-9)
    output = algorithm.loss(batch())
    assert output.metrics["coverage"] == 0 and output.metrics["loss_unlabeled"] == 0
    assert all(value.isfinite().all() for value in gradients(algorithm, batch()).values())


def test_the_temperature_is_of_soft_labels_alone():
    """X2"""
    soft = [deciding(temperature=t).loss(batch()).metrics for t in (0.5, 1.0)]
    assert soft[0]["coverage"] == soft[1]["coverage"]
    assert not torch.isclose(soft[0]["loss_unlabeled"], soft[1]["loss_unlabeled"])
    hard = [at(10, 0.0, floor=1.3, temperature=t).loss(batch()).loss for t in (0.5, 1.0)]
    assert torch.equal(*hard)


def test_only_the_official_mean_couples_the_batch():
    fields = ["--algorithm", "dash", "--no-baseline", "--device", "cpu", "--batch.micro", "2"]
    resolve([*fields, "--algorithm.rule", "usb"])
    with pytest.raises(UserError, match=r"batch.micro: dash couples all samples of a batch; use 1"):
        resolve(fields)
