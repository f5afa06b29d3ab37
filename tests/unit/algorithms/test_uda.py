"""The properties that UDA's equations promise."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from semisonic.algorithms.fixmatch import FixMatch
from semisonic.algorithms.uda import UDA
from semisonic.config.command_line import resolve
from semisonic.contract import Seen
from semisonic.schema import UserError
from semisonic_kernels import collectives
from tests.support.algorithms import CLASSES, batch, frozen, gradients, make, same

SCHEDULES = ("linear", "exp", "log")


def logits_of(algorithm: UDA, images: Tensor) -> Tensor:
    return algorithm.network(algorithm.normalize(images)).detach()


def threshold_for(algorithm: UDA) -> float:
    """One that half of the unlabeled samples pass."""
    return logits_of(algorithm, batch().u["weak"]).softmax(-1).max(-1).values.median().item()


@pytest.mark.parametrize("threshold", [None, 0.95])
def test_near_temperature_zero_it_is_fixmatch(threshold: float | None):
    uda, fixmatch = frozen(make(UDA, temperature=1e-3)), frozen(make(FixMatch))
    while threshold and threshold_for(uda) < threshold:  # so that half of the samples pass
        with torch.no_grad():
            uda.network.head.weight *= 1.05
    fixmatch.load_state_dict(uda.state_dict())
    for algorithm in (uda, fixmatch):
        algorithm.cfg = algorithm.cfg.model_copy(update={"threshold": threshold or threshold_for(uda)})
    assert 0 < uda.loss(batch()).metrics["coverage"] < 1
    assert same(gradients(uda, batch()), gradients(fixmatch, batch()), tolerance=1e-6)


def test_the_temperature_changes_loss_and_gradient():
    warm, cold = (frozen(make(UDA, threshold=0.0, temperature=t)) for t in (1.0, 0.4))
    assert not torch.isclose(warm.loss(batch()).loss, cold.loss(batch()).loss)
    assert not same(gradients(warm, batch()), gradients(cold, batch()), tolerance=1e-4)


def test_it_equals_its_equation_and_its_gradient_is_the_soft_cross_entropy_s():
    algorithm, given = frozen(make(UDA, temperature=0.5, weight=3.0)), batch()
    threshold = threshold_for(algorithm)
    algorithm.cfg = algorithm.cfg.model_copy(update={"threshold": threshold})
    weak = logits_of(algorithm, given.u["weak"])
    q = (weak / 0.5).softmax(-1)
    mask = weak.softmax(-1).max(-1).values >= threshold  # before the temperature
    assert 0 < mask.sum() < 12 and mask.sum() != (q.max(-1).values >= threshold).sum()
    log_p = algorithm.network(algorithm.normalize(given.u["strong"])).log_softmax(-1)
    labeled = F.cross_entropy(algorithm.network(algorithm.normalize(given.x["weak"])), given.y)
    divergence = (q * (q.log() - log_p)).sum(-1)
    torch.testing.assert_close(algorithm.loss(given).loss, labeled + 3 * (mask * divergence).mean())
    found = gradients(algorithm, given)
    algorithm.zero_grad()
    (labeled + 3 * (mask * -(q * log_p).sum(-1)).mean()).backward()
    assert same(found, {name: p.grad for name, p in algorithm.named_parameters()})


def test_equal_views_have_no_unlabeled_loss_at_temperature_one():
    algorithm, given = frozen(make(UDA, threshold=0.0, temperature=1.0)), batch()
    output = algorithm.loss(given._replace(u={"weak": given.u["weak"], "strong": given.u["weak"]}))
    assert abs(output.metrics["loss_unlabeled"]) < 1e-12


def annealing(schedule: str, step: int) -> UDA:
    algorithm = frozen(make(UDA, annealing=schedule))
    algorithm.step.fill_(step)
    return algorithm


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_annealing_follows_its_schedule(schedule: str):
    total = annealing(schedule, 0).info.steps
    for step in (0, 30, total):
        t = step / total
        risen = {"linear": t, "exp": math.exp(5 * (t - 1)), "log": 1 - math.exp(-5 * t)}[schedule]
        assert annealing(schedule, step).ceiling().item() == pytest.approx(risen * (1 - 1 / CLASSES) + 1 / CLASSES)


def test_the_ends_of_the_schedules_for_ten_classes():
    ends = {}
    for schedule in SCHEDULES:
        algorithm = annealing(schedule, 0)
        object.__setattr__(algorithm.info, "classes", 10)
        ends[schedule] = [algorithm.ceiling().item()]
        algorithm.step.fill_(algorithm.info.steps)
        ends[schedule].append(algorithm.ceiling().item())
    assert ends["linear"] == pytest.approx([0.1, 1.0])
    assert ends["exp"] == pytest.approx([0.106, 1.0], abs=1e-4)
    assert ends["log"] == pytest.approx([0.1, 0.9939], abs=1e-4)


@pytest.mark.parametrize(("schedule", "step"), [("linear", 0), ("exp", 0), ("linear", 5), ("log", 100)])
def test_annealing_holds_back_what_is_learned(schedule: str, step: int):
    """By the probability of the true class, not by the largest one; divided by the number that is kept."""
    algorithm = annealing(schedule, step)
    algorithm.cfg = algorithm.cfg.model_copy(update={"weight": 0.0})
    given = batch()
    p_BC = logits_of(algorithm, given.x["weak"]).softmax(-1)
    p_B = p_BC[torch.arange(6), given.y]
    ceiling = algorithm.ceiling()
    kept = p_B <= ceiling
    assert (kept.all() if step == 100 else 0 < kept.sum() < 6) and not (
        step == 0 and (p_BC.max(-1).values <= ceiling).any()
    )
    output = algorithm.loss(given)
    torch.testing.assert_close(output.loss, -p_B.log()[kept].sum() / kept.sum())
    torch.testing.assert_close(output.metrics["labeled_kept"], kept.double().mean())


@pytest.mark.parametrize("schedule", ["linear", "log"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("classes", [3, 7, 10, 100, 10_000])
def test_a_network_that_knows_nothing_learns_from_every_image_at_the_start(
    classes: int, dtype: torch.dtype, schedule: str
):
    """p_y = 1/C is not above eta(0) = 1/C, although what is computed of it may be; a little more is."""
    algorithm = make(UDA, annealing=schedule)
    algorithm.info = replace(algorithm.info, classes=classes)
    for level in (0.0, 0.1, -7.3, 31.7):
        logits = torch.full((8, classes), level, dtype=dtype)
        logits = logits if dtype == torch.float64 else logits.float()  # as the head gives them under autocast
        label = torch.arange(8) % classes
        loss, kept = algorithm.annealed(Seen(logits, logits), label)
        assert kept == 1 and float(loss) == pytest.approx(math.log(classes), rel=1e-5)
        logits[torch.arange(8), label] += 1e-4
        assert algorithm.annealed(Seen(logits, logits), label)[1] == 0


def test_at_the_end_of_the_linear_schedule_all_count():
    algorithm = annealing("linear", 100)
    with torch.no_grad():
        algorithm.network.head.weight *= 1000  # some probabilities are 1
    assert algorithm.loss(batch()).metrics["labeled_kept"] == 1


def test_where_none_is_kept_the_labeled_loss_is_zero():
    algorithm = annealing("linear", 0)
    given = batch()
    learned = logits_of(algorithm, given.x["weak"]).argmax(-1)
    labeled, kept = algorithm.annealed(algorithm.look(given.x["weak"], track=False)[0], learned)
    assert kept == 0 and labeled == 0


def test_ranks_divide_by_the_number_kept_on_all(monkeypatch: pytest.MonkeyPatch):
    """The mean over the ranks of their losses is the loss of the whole batch, though they keep different numbers."""
    algorithm, given = annealing("linear", 5), batch()
    (seen,) = algorithm.look(given.x["weak"], track=False)
    whole, _ = algorithm.annealed(seen, given.y)
    p_B = seen.logits.softmax(-1)[torch.arange(6), given.y]
    order = p_B.argsort()  # one rank has what is learned, the other what is not
    kept = (p_B <= algorithm.ceiling()).double()
    monkeypatch.setattr(collectives, "mean", lambda value: kept.sum() / 2)
    monkeypatch.setattr(collectives, "ranks", lambda: 2)
    halves = [
        algorithm.annealed(Seen(seen.logits[part], seen.features[part]), given.y[part])[0]
        for part in (order[:3], order[3:])
    ]
    assert kept[order[:3]].sum() != kept[order[3:]].sum()
    torch.testing.assert_close((halves[0] + halves[1]) / 2, whole)


def test_targets_carry_no_gradient():
    algorithm, given = frozen(make(UDA, threshold=0.0)), batch()
    weak = algorithm.normalize(given.u["weak"]).requires_grad_()
    algorithm.loss(given._replace(u={"weak": weak, "strong": given.u["strong"]})).loss.backward()
    assert weak.grad is None or not weak.grad.any()


def test_annealing_divides_by_the_number_kept_of_the_whole_batch():
    fields = ["--algorithm", "uda", "--batch.micro", "2", "--device", "cpu"]
    resolve(fields)
    with pytest.raises(UserError, match=r"batch.micro: uda couples all samples of a batch; use 1"):
        resolve([*fields, "--algorithm.annealing", "linear"])
