"""The properties that AdaMatch's equations promise."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from semisonic.algorithms.adamatch import USB, AdaMatch, interpolated
from semisonic.algorithms.fixmatch import FixMatch
from semisonic.algorithms.ramps import cosine_ramp
from semisonic.check import properties
from semisonic.check.tiny import Subject
from semisonic.contract import Batch
from semisonic_kernels import collectives
from tests.support.algorithms import batch, frozen, gradients, images, make, same
from tests.support.recipes import chosen


def of(seed: int = 0) -> Batch:
    draws = {"interpolation": torch.rand(6, 2, generator=torch.Generator().manual_seed(seed))}
    return batch(x={"weak": images(6, 1), "strong": images(6, 4)}, draws=draws)


def logits_of(algorithm: AdaMatch, view: Tensor) -> Tensor:
    return algorithm.network(algorithm.normalize(view))


def skewed(**fields: object) -> AdaMatch:
    """It tells images apart, and likes its first class."""
    algorithm = frozen(make(AdaMatch, **fields))
    with torch.no_grad():
        head = algorithm.network.head
        head.weight *= 20
        features = algorithm.network.features(algorithm.normalize(batch().u["weak"]))
        head.bias.copy_(torch.tensor([1.0, 0, 0, 0]) - features.mean(0) @ head.weight.T)
    return algorithm


def test_with_equal_means_and_certain_labeled_images_it_is_fixmatch_with_strong_labeled_views():
    """Without interpolation (U = 0). Certain: the threshold is divided by how sure the labeled images are."""
    algorithm = skewed(interpolate=False, ramp=0.0, momentum=1.0, window=0)
    confidence = logits_of(algorithm, of().x["weak"]).softmax(-1).max(-1).values.mean().item()
    algorithm.cfg = algorithm.cfg.model_copy(update={"threshold": 0.5 / confidence})
    fixmatch = frozen(make(FixMatch, threshold=0.5))
    fixmatch.load_state_dict(algorithm.state_dict(), strict=False)
    output = fixmatch.loss(of())
    assert 0 < output.metrics["coverage"] < 1
    weak, strong = (F.cross_entropy(logits_of(fixmatch, of().x[name]), of().y) for name in ("weak", "strong"))
    fixmatch.zero_grad()
    (output.loss + (strong - weak) / 2).backward()
    assert same(gradients(algorithm, of()), {name: p.grad for name, p in fixmatch.named_parameters()})


def by_hand(algorithm: AdaMatch, given: Batch, running: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """The loss without the ramp's weight, and the mask; running: E_x and E_u with the batch in them."""
    weak, strong = (logits_of(algorithm, given.u[name]) for name in ("weak", "strong"))
    x = [logits_of(algorithm, given.x[name]) for name in ("weak", "strong")]
    q = weak.softmax(-1) * (running["x"] + 1e-6) / (running["u"] + 1e-6)
    confidence, label = (q / q.sum(-1, keepdim=True)).max(-1)
    mask = (confidence >= algorithm.cfg.threshold * x[0].softmax(-1).max(-1).values.mean()).double()
    labeled = sum(F.cross_entropy(logits, given.y) for logits in x) / 2
    unlabeled = (mask * F.cross_entropy(strong, label, reduction="none")).mean()
    return labeled + algorithm.cfg.weight * unlabeled, mask


@pytest.mark.parametrize("window", [0, 2])
def test_the_loss_equals_its_equation_step_after_step(window: int):
    algorithm = skewed(interpolate=False, ramp=0.0, momentum=0.8, window=window, threshold=0.95, weight=2.0)
    average = {name: torch.full((4,), 0.25, dtype=torch.float64) for name in "xu"}
    seen = window * [average["u"]]  # both means begin with all classes alike
    for seed in range(4):
        given = of()._replace(u={"weak": images(12, 10 + seed), "strong": images(12, 20 + seed)})
        means = {
            "x": logits_of(algorithm, given.x["weak"]).softmax(-1).mean(0).detach(),
            "u": logits_of(algorithm, given.u["weak"]).softmax(-1).mean(0).detach(),
        }
        average = {name: 0.8 * average[name] + 0.2 * means[name] for name in "xu"}
        seen.append(means["u"])
        running = {"x": average["x"], "u": torch.stack(seen[-window:]).mean(0) if window else average["u"]}
        loss, mask = by_hand(algorithm, given, running)
        output = algorithm.loss(given)
        torch.testing.assert_close(output.loss, loss)
        assert 0 < mask.mean() < 1 and output.metrics["coverage"] == pytest.approx(mask.mean().item())
        algorithm.update(output.observed)


def test_at_first_nothing_is_aligned():
    """As the authors' means begin: after one batch both are within a share of the window of 1 / C."""
    algorithm = skewed(interpolate=False, momentum=1.0, window=10**5)
    seen = algorithm.loss(of()).seen["guessed"]
    assert torch.equal(seen.targets, logits_of(algorithm, of().u["weak"]).argmax(-1))


def softmax(logits: np.ndarray) -> np.ndarray:
    p = np.exp(logits - logits.max(-1, keepdims=True))
    return p / p.sum(-1, keepdims=True)


def test_the_loss_equals_its_equation_with_labeled_logits_between_two_forwards():
    """In training mode, where the two forwards differ; and its gradient goes through both."""
    algorithm, given = make(AdaMatch, ramp=0.0, momentum=0.8, window=2, threshold=0.9, weight=2.0), of()
    algorithm.labeled_logits = lambda seen: seen  # type: ignore[method-assign,assignment]
    ones = torch.ones(6, 4, dtype=torch.float64)
    shares = np.stack([s.numpy() for s in algorithm.labeled(2 * [ones], 2 * [0 * ones], given)])
    del algorithm.labeled_logits
    alone = algorithm.look(given.x["weak"], given.x["strong"], track=False)
    *x, weak, strong = algorithm.look(*given.x.values(), *given.u.values(), track=False)
    f1, f2 = (np.stack([seen.logits.detach().numpy() for seen in views]) for views in (alone, x))
    x_VBC, y = f2 + shares * (f1 - f2), given.y.numpy()
    p_x, q = softmax(x_VBC[0]), softmax(weak.logits.detach().numpy())
    running = (0.8 * 0.25 + 0.2 * p_x.mean(0) + 1e-6) / ((0.25 + q.mean(0)) / 2 + 1e-6)
    aligned = q * running / (q * running).sum(-1, keepdims=True)
    mask = aligned.max(-1) >= 0.9 * p_x.max(-1).mean()
    label, p_s = aligned.argmax(-1), softmax(strong.logits.detach().numpy())
    labeled = -np.log(softmax(x_VBC)[:, np.arange(6), y]).mean()
    expected = labeled + 2 * (mask * -np.log(p_s[np.arange(12), label])).mean()
    assert 0 < mask.mean() < 1
    assert algorithm.loss(given).loss.item() == pytest.approx(expected, rel=1e-12)

    found = gradients(algorithm, given)
    algorithm.zero_grad()
    between = torch.stack([t.logits + torch.from_numpy(s) * (a.logits - t.logits)
                           for a, t, s in zip(alone, x, shares, strict=True)])  # fmt: skip
    loss = sum(F.cross_entropy(logits, given.y) for logits in between) / 2
    unlabeled = F.cross_entropy(strong.logits, torch.from_numpy(label), reduction="none")
    (loss + 2 * (torch.from_numpy(mask) * unlabeled).mean()).backward()
    assert same(found, {name: p.grad for name, p in algorithm.named_parameters()})


def test_equal_running_means_leave_guesses_as_they_are():
    algorithm = skewed(momentum=1.0, window=0, interpolate=False)
    seen = algorithm.loss(of()).seen["guessed"]
    plain = logits_of(algorithm, of().u["weak"])
    assert torch.equal(seen.targets, plain.argmax(-1))


def test_the_threshold_is_a_share_of_the_labeled_images_confidence():
    algorithm, sure = frozen(make(AdaMatch, interpolate=False)), frozen(make(AdaMatch, interpolate=False))
    given = of()
    x = torch.randn(6, 4, generator=torch.Generator().manual_seed(1)).double()
    p = x.softmax(-1)
    half = ((p.max(-1).values + 1) / 2).mean()
    found = [algorithm.means(logits, x).confidence for logits in (x, ((p + F.one_hot(p.argmax(-1), 4)) / 2).log())]
    torch.testing.assert_close(found[0], p.max(-1).values.mean())
    torch.testing.assert_close(found[1], half)
    with torch.no_grad():
        sure.network.head.weight *= 3
    for made in (algorithm, sure):
        confidence = logits_of(made, given.x["weak"]).softmax(-1).max(-1).values.mean()
        torch.testing.assert_close(made.loss(given).metrics["threshold"], 0.9 * confidence.detach())


def test_logits_are_between_those_of_two_forwards():
    alone, together = torch.tensor([[4.0, 0.0]]), torch.tensor([[2.0, 1.0]])
    assert torch.equal(interpolated(alone, together, torch.zeros(1, 2)), together)
    assert torch.equal(interpolated(alone, together, torch.ones(1, 2)), alone)
    assert interpolated(alone, together, torch.tensor([[0.5, 0.25]])).tolist() == [[3.0, 0.75]]


def test_every_logit_has_a_share_of_its_own_that_draws_give():
    """In training mode, where the labeled images' statistics by themselves are not those of all."""
    algorithm = make(AdaMatch)
    given = of()
    rows = [(0, 6), (6, 12)]
    alone = algorithm.look(given.x["weak"], given.x["strong"], track=False)
    together = algorithm.look(*given.x.values(), *given.u.values(), track=False)[:2]
    mixed = algorithm.labeled(alone, together, given)
    shares = torch.stack(
        [(m - t.logits) / (a.logits - t.logits) for m, a, t in zip(mixed, alone, together, strict=True)]
    ).detach()
    assert len(rows) == len(mixed) and shares.min() > 0 and shares.max() <= 1 and len(shares.unique()) == 2 * 6 * 4
    again, other = (algorithm.labeled(alone, together, batch_) for batch_ in (given, of(1)))
    assert all(torch.equal(a, b) for a, b in zip(mixed, again, strict=True))
    assert not torch.isclose(mixed[0], other[0]).any()
    part = given._replace(draws={"interpolation": given.draws["interpolation"][3:]})
    second = [
        tuple(s._replace(logits=s.logits[3:], features=s.features[3:]) for s in views) for views in (alone, together)
    ]
    assert torch.equal(algorithm.labeled(*second, part)[1], mixed[1][3:])  # an image's own, whoever is beside it


def test_shares_are_uniform():
    algorithm = frozen(make(AdaMatch))
    draws = torch.rand(4000, 2, generator=torch.Generator().manual_seed(3))
    zeros, ones = (torch.full((4000, 4), value, dtype=torch.float64) for value in (0.0, 1.0))
    algorithm.labeled_logits = lambda seen: seen  # type: ignore[method-assign,assignment]
    (shares,) = algorithm.labeled((ones,), (zeros,), of()._replace(draws={"interpolation": draws}))
    assert shares.mean() == pytest.approx(0.5, abs=0.01) and shares.var() == pytest.approx(1 / 12, abs=0.003)
    assert abs(torch.corrcoef(shares.T) - torch.eye(4)).max() < 0.06


def test_the_labeled_forward_moves_no_running_statistics():
    """Nor does it what the unlabeled images' loss is made of."""
    one, two = make(AdaMatch), make(AdaMatch, interpolate=False)
    for algorithm in (one, two):
        algorithm.loss(of())
        assert algorithm.network.norm.num_batches_tracked == 1
    assert torch.equal(one.network.norm.running_mean, two.network.norm.running_mean)
    assert torch.equal(one.network.norm.running_var, two.network.norm.running_var)


def test_the_mean_and_the_confidence_are_of_the_interpolated_logits():
    algorithm, given = make(AdaMatch), of()
    alone = algorithm.look(given.x["weak"], given.x["strong"], track=False)
    together = algorithm.look(*given.x.values(), *given.u.values(), track=False)[:2]
    p = algorithm.labeled(alone, together, given)[0].softmax(-1).detach()
    output = algorithm.loss(given)
    torch.testing.assert_close(output.observed["labeled"][0], p.mean(0))
    torch.testing.assert_close(output.metrics["threshold"], 0.9 * p.max(-1).values.mean())


def test_threshold_and_means_are_those_of_all_ranks(monkeypatch: pytest.MonkeyPatch):
    algorithm = frozen(make(AdaMatch))
    bits = torch.Generator().manual_seed(0)
    x, u = (4 * torch.randn(count, 4, generator=bits).double() for count in (6, 12))
    whole = algorithm.means(x, u)
    own: list[Tensor] = []
    monkeypatch.setattr(collectives, "mean", lambda value: own.append(value) or value)
    halves = [algorithm.means(x[part], u[other]) for part, other in ((slice(3), slice(6)), (slice(3, 6), slice(6, 12)))]
    monkeypatch.setattr(collectives, "mean", lambda value: torch.stack(own).mean(0))
    torch.testing.assert_close(algorithm.means(x[:3], u[:6]), whole)
    assert not torch.isclose(halves[0].confidence, whole.confidence)


def test_the_unlabeled_loss_rises_as_half_a_cosine_over_half_the_run():
    def weight(step: int) -> float:
        return cosine_ramp(torch.tensor(step), 0.5, 800).item()

    assert weight(0) == 0 and weight(800) == weight(400) == 1 and weight(200) == pytest.approx(0.5)
    assert weight(100) == pytest.approx(0.1464, abs=1e-4) == (1 - math.cos(math.pi / 4)) / 2
    algorithm = frozen(make(AdaMatch, threshold=0.0))
    full = frozen(make(AdaMatch, threshold=0.0, ramp=0.0))
    outputs = [made.loss(of()) for made in (algorithm, full)]
    torch.testing.assert_close(outputs[1].loss - outputs[0].loss, outputs[1].metrics["loss_unlabeled"])
    assert AdaMatch.depends_on_steps(algorithm.cfg) == ["ramp"] and AdaMatch.ramped(algorithm.cfg, 800) == 400


def test_a_class_without_labeled_images_leaves_guesses_finite():
    algorithm = skewed(momentum=0.0)
    output = algorithm.loss(of())
    algorithm.update({"labeled": torch.tensor([[0.5, 0.5, 0, 0]]).double(), "unlabeled": output.observed["unlabeled"]})
    assert algorithm.loss(of()).loss.isfinite()


def test_weak_views_of_unlabeled_images_get_no_gradient():
    algorithm, given = frozen(make(AdaMatch, threshold=0.0, ramp=0.0)), of()
    weak = algorithm.normalize(given.u["weak"]).requires_grad_()
    algorithm.loss(given._replace(u={"weak": weak, "strong": given.u["strong"]})).loss.backward()
    assert weak.grad is None or not weak.grad.any()


def test_separate_weak_views_leave_the_equations_as_they_are():
    """With frozen statistics it makes no difference which forward a view is in."""
    joint, separate = skewed(ramp=0.0), skewed(ramp=0.0, weak_pass="separate")
    assert same(gradients(joint, of()), gradients(separate, of()))
    properties.loss_writes_no_state(Subject(AdaMatch, {"weak_pass": "separate"}))


def test_usb_s_variant_has_one_labeled_view_and_no_draws():
    views = AdaMatch.views(AdaMatch.Config(**USB))
    assert list(views.labeled) == ["weak"] and not views.labeled_draws
    algorithm = skewed(**USB, momentum=1.0)
    plain = batch()
    assert algorithm.loss(plain).metrics["ramp"] == 1


@pytest.mark.usefixtures("no_files")
def test_the_authors_settings_are_those_of_the_papers_data_sets():
    cfg = chosen("cifar10", "adamatch")
    assert (cfg.steps, cfg.batch.labeled, cfg.batch.unlabeled_ratio) == (131_072, 64, 3)
    assert (cfg.optim.lr or cfg.optim.peak, cfg.optim.weight_decay, cfg.optim.schedule) == (0.03, 1e-3, "adamatch")
    assert cfg.algorithm.strong == "ctaugment" and cfg.algorithm.interpolate
    assert chosen("digits", "adamatch").batch.unlabeled_ratio == 7
