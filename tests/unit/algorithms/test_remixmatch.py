"""The properties that ReMixMatch's equations promise."""

import copy

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from semisonic.algorithms.mixing import mixing_partners
from semisonic.algorithms.remixmatch import ReMixMatch
from semisonic.config.command_line import resolve
from semisonic.contract import Batch, Seen
from semisonic.models.ema import EmaConfig
from semisonic.schema import UserError
from tests.support.algorithms import CLASSES, batch, frozen, gradients, images, info, same, tiny_network

PRIOR = (0.4, 0.3, 0.2, 0.1)


def make(prior: tuple[float, ...] = PRIOR, **fields: object) -> ReMixMatch:
    torch.manual_seed(0)
    cfg = ReMixMatch.Config(**{"block": 3, "ramp": 0, **fields})
    return ReMixMatch(cfg, tiny_network, info(class_prior=prior), EmaConfig(decay=0.9)).double()


def given(views: int = 2, **changes: object) -> Batch:
    """6 labeled and 12 unlabeled images: a share that is not the labeled one's, which some codes need."""
    bits = torch.Generator().manual_seed(4)
    draws = {
        "lam_x": torch.rand(6, 1, generator=bits), "partner_x": torch.rand(6, 1, generator=bits),
        "lam_u": torch.rand(12, views + 1, generator=bits), "partner_u": torch.rand(12, views + 1, generator=bits),
        "turns": torch.rand(12, 1, generator=bits),
    }  # fmt: skip
    unlabeled = {f"strong_{k}": images(12, 10 + k) for k in range(views)} | {"weak": images(12, 2)}
    return batch(**({"u": unlabeled, "draws": draws} | changes))


def logits(algorithm: ReMixMatch, view: Tensor) -> Tensor:
    return algorithm.network(algorithm.normalize(view))


def mixed_by_hand(of: Batch, guess: Tensor, views: int, block: int) -> tuple[Tensor, Tensor, Tensor]:
    """Images, targets and lambdas of the mixed batch, one by one."""
    every = torch.cat([of.x["weak"], *[of.u[f"strong_{k}"] for k in range(views)], of.u["weak"]]).double()
    targets = torch.cat([F.one_hot(of.y, CLASSES).double(), *[guess] * (views + 1)])
    keys = [of.draws["partner_x"][:, 0], *[of.draws["partner_u"][:, k] for k in range(views + 1)]]
    lam = torch.cat([of.draws["lam_x"][:, 0], *[of.draws["lam_u"][:, k] for k in range(views + 1)]]).double()
    lam = torch.stack([max(value, 1 - value) for value in lam])
    partners = mixing_partners(keys, len(of.y) // block)
    rows = [(m * every[i] + (1 - m) * every[j], m * targets[i] + (1 - m) * targets[j]) for i, (j, m) in
            enumerate(zip(partners.tolist(), lam, strict=True))]  # fmt: skip
    return torch.stack([row[0] for row in rows]), torch.stack([row[1] for row in rows]), lam


def cross_entropy(targets: Tensor, logits: Tensor) -> Tensor:
    return -(targets * logits.log_softmax(-1)).sum(-1).mean()


@pytest.mark.parametrize("views", [1, 3])
def test_the_loss_equals_its_equation(views: int):
    algorithm = frozen(make(strong_views=views, w_m=1.5, w_kl=0.7, w_rot=0.3, ramp=8))
    algorithm.step += 6
    algorithm.update({"mean": torch.tensor([[0.1, 0.2, 0.3, 0.4]], dtype=torch.float64)})
    of = given(views)
    p = logits(algorithm, of.u["weak"]).softmax(-1)
    running = (torch.tensor([0.1, 0.2, 0.3, 0.4]) + p.mean(0)) / 2  # this batch is in it
    aligned = p * (torch.tensor(PRIOR) + 1e-6) / (running + 1e-6)
    guess = (aligned / aligned.sum(-1, keepdim=True)) ** 2
    guess = guess / guess.sum(-1, keepdim=True)
    pixels, targets, _ = mixed_by_hand(of, guess, views, block=3)
    found = algorithm.network((pixels - algorithm.pixel_mean) * algorithm.pixel_scale)
    labeled, unlabeled = cross_entropy(targets[:6], found[:6]), cross_entropy(targets[6:], found[6:])
    anchored = cross_entropy(guess, logits(algorithm, of.u["strong_0"]))
    turns = [int(4 * draw) for draw in of.draws["turns"][:, 0]]
    turned = torch.stack([torch.rot90(image, k, (1, 2)) for image, k in zip(of.u["strong_0"], turns, strict=True)])
    rotation = F.cross_entropy(
        algorithm.rotation(algorithm.network.features(algorithm.normalize(turned))), torch.tensor(turns)
    )
    assert len(set(turns)) > 2
    expected = labeled + 0.75 * (1.5 * unlabeled + 0.7 * anchored) + 0.3 * rotation
    output = algorithm.loss(of)
    torch.testing.assert_close(output.loss, expected, rtol=1e-6, atol=0)  # the prior and lambdas are given in float32
    torch.testing.assert_close(output.observed["mean"], p.mean(0)[None])
    assert output.metrics["loss_anchored"].item() == pytest.approx(anchored.item(), rel=1e-6)


def test_alignment_to_the_same_mean_changes_nothing():
    """p_run = p_lab."""
    plain = frozen(make(window=0))
    guess, mean = plain.guess(given().u["weak"])
    aligned = frozen(make(prior=tuple(mean.tolist())))
    found, _ = aligned.guess(given().u["weak"])
    torch.testing.assert_close(found, guess, rtol=1e-5, atol=1e-6)  # the prior is kept in float32
    other, _ = frozen(make(prior=(0.97, 0.01, 0.01, 0.01))).guess(given().u["weak"])
    assert (other - guess).abs().max() > 0.01


@pytest.mark.parametrize(("spread", "largest"), [(0.02, 0.01), (1.0, 1.0)])
def test_alignment_moves_a_stationary_stream_towards_the_prior(spread: float, largest: float):
    """Within 1 % for nearly uniform predictions; always nearer than they were."""
    algorithm = frozen(make(temperature=1.0, window=16))
    algorithm.prior_C = algorithm.prior_C.double()
    bits = torch.Generator().manual_seed(0)
    bias = torch.tensor([0.0, 0.2, 0.4, 0.8], dtype=torch.float64)
    stream = spread * torch.randn(20, 200, CLASSES, dtype=torch.float64, generator=bits) + bias
    prior, means = torch.tensor(PRIOR, dtype=torch.float64), []
    for logits_UC in stream:
        algorithm.infer = lambda weak, track, fixed=logits_UC: fixed
        guess, mean = algorithm.guess(images(1, 0))
        algorithm.update({"mean": mean[None]})
        means.append(guess.mean(0))
    before, after = (mean - prior).abs().max(), (means[-1] - prior).abs().max()
    assert after < 0.6 * before and ((means[-1] - prior).abs() / prior).max() < largest


def test_the_window_holds_the_last_batches_and_counts_from_the_first():
    algorithm = make(window=3)
    means = torch.rand(5, CLASSES, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    for count, mean in enumerate(means, start=1):
        expected = means[max(0, count - 3) : count].mean(0)
        torch.testing.assert_close(algorithm.running(mean), expected)  # in the loss, before it is committed
        algorithm.update({"mean": mean.expand(2, CLASSES)})  # a row of each rank
    assert algorithm.batches == 5
    assert make().window_RC.shape == (128, CLASSES)


@pytest.mark.parametrize(("ramp", "ends"), [(ReMixMatch.Config().ramp, 16384), (0.4, 40)], ids=["steps", "share"])
def test_the_weight_ramps_up_over_16384_steps_or_a_share_of_the_run(ramp: float, ends: int):
    algorithm = frozen(make(ramp=ramp))
    assert algorithm.info.steps == 100
    for step, share in ((0, 0.0), (ends // 4, 0.25), (ends, 1.0), (ends + 1, 1.0)):
        algorithm.step.fill_(step)
        output = algorithm.loss(given())
        m = output.metrics
        terms = share * (1.5 * m["loss_unlabeled"] + 0.5 * m["loss_anchored"]) + 0.5 * m["loss_rotation"]
        torch.testing.assert_close(output.loss.detach(), m["loss_labeled"] + terms)


def test_the_rotation_loss_reaches_the_network_and_evaluation_needs_no_rotation_head():
    on, off = frozen(make(w_rot=0.5)), frozen(make(w_rot=0.0))
    one, other = gradients(on, given()), gradients(off, given())
    assert not torch.allclose(one["network.conv.weight"], other["network.conv.weight"])
    assert one["rotation.weight"].any() and not other["rotation.weight"].any()
    assert torch.equal(one["network.head.weight"], other["network.head.weight"])
    before = on.infer(images(4, 1))
    with torch.no_grad():
        on.rotation.weight.fill_(torch.nan)
    assert torch.equal(on.infer(images(4, 1)), before) and on.infer(images(4, 1), "ema").isfinite().all()


def test_one_view_without_its_own_terms_is_mixmatch_with_cross_entropy():
    """MixMatch with two equal views: q their mean prediction, sharpened; MixUp of x and both views."""
    algorithm = frozen(make(strong_views=1, w_kl=0.0, w_rot=0.0, window=0, w_m=2.0))
    view = images(12, 2)
    of = given(1, u={"weak": view, "strong_0": view})
    guess = torch.stack([logits(algorithm, view).softmax(-1)] * 2).mean(0) ** 2
    pixels, targets, _ = mixed_by_hand(of, (guess / guess.sum(-1, keepdim=True)).detach(), 1, block=3)
    found = algorithm.network((pixels - algorithm.pixel_mean) * algorithm.pixel_scale)
    (cross_entropy(targets[:6], found[:6]) + 2 * cross_entropy(targets[6:], found[6:])).backward()
    expected = {name: p.grad for name, p in algorithm.network.named_parameters()}
    mine = {k.removeprefix("network."): v for k, v in gradients(algorithm, of).items() if k.startswith("network.")}
    assert same(mine, expected, tolerance=1e-6)  # lambdas are float32


def test_targets_are_probabilities_and_labeled_ones_keep_their_class():
    algorithm = frozen(make())
    guess, _ = algorithm.guess(given().u["weak"])
    assert not guess.requires_grad
    pixels, targets = algorithm.mixed(given(), guess)
    assert len(pixels) == len(targets) == 6 + 3 * 12
    torch.testing.assert_close(targets.sum(-1), torch.ones(42, dtype=torch.float64))
    assert (targets >= 0).all() and torch.equal(targets[:6].argmax(-1), given().y)  # lambda >= 1/2
    whole = given()
    whole.draws["lam_u"].fill_(1.0), whole.draws["lam_x"].fill_(0.0)  # 0 is folded to 1
    targets = algorithm.mixed(whole, guess)[1]
    assert torch.equal(targets[:6], F.one_hot(given().y, CLASSES).double())
    for copies in targets[6:].chunk(3):
        assert torch.equal(copies, guess)  # one guess for all views of an image


def test_temperature_sharpens():
    """At every temperature; reference codes ignore it in places."""
    guess = {t: frozen(make(temperature=t)).guess(given().u["weak"])[0] for t in (1.0, 0.5, 0.1)}
    assert guess[0.1].max(-1).values.mean() > guess[0.5].max(-1).values.mean() > guess[1.0].max(-1).values.mean()
    powers = guess[1.0] ** 2
    torch.testing.assert_close(guess[0.5], powers / powers.sum(-1, keepdim=True))


def test_the_guess_takes_one_forward_without_gradient_or_tracking():
    algorithm, calls = frozen(make()), []
    inner = algorithm.look

    def counted(*args: object, **options: object) -> tuple[Seen, ...]:
        calls.append((torch.is_grad_enabled(), options["track"]))
        return inner(*args, **options)

    algorithm.look = counted
    algorithm.loss(given())
    assert calls == [(False, False)]


def test_the_unlabeled_loss_has_a_gradient_where_views_differ():
    algorithm = frozen(make(w_rot=0.0))
    plain = frozen(make(w_rot=0.0, w_m=0.0, w_kl=0.0))
    one, other = gradients(algorithm, given()), gradients(plain, given())
    assert (one["network.conv.weight"] - other["network.conv.weight"]).abs().max() > 1e-6


def test_true_labels_never_reach_the_loss_and_one_forward_moves_the_statistics():
    algorithm = make()
    poisoned = given(u_true=torch.full((12,), -1))
    assert same(gradients(copy.deepcopy(algorithm), given()), gradients(algorithm, poisoned), tolerance=0)
    assert algorithm.network.norm.num_batches_tracked == 1
    assert not algorithm.window_RC.any() and algorithm.batches == 0


def test_micro_batches_and_blocks_that_do_not_divide_are_refused():
    fields = ["--algorithm", "remixmatch", "--no-baseline", "--device", "cpu"]
    with pytest.raises(UserError, match=r"batch.micro: remixmatch couples all samples"):
        resolve([*fields, "--batch.micro", "2"])
    with pytest.raises(UserError, match=r"algorithm.block: blocks of 5 labeled images do not divide"):
        resolve([*fields, "--algorithm.block", "5"])
    views = ReMixMatch.views(resolve([*fields, "--algorithm.strong-views", "8"])[1].algorithm)
    assert len(views.unlabeled) == 9 and views.draws["lam_u"] == 9 and views.betas["lam_x"] == 0.75


@pytest.mark.parametrize("lam", [0.1, 0.9])
def test_a_number_stands_in_place_of_the_draws(lam: float):
    fixed = given()
    fixed.draws["lam_u"].fill_(lam), fixed.draws["lam_x"].fill_(lam)
    assert same(gradients(make(lam=lam), given()), gradients(make(), fixed), tolerance=0)
    assert ReMixMatch.views(ReMixMatch.Config(lam=lam)).betas == {}


def test_labeled_images_are_strong_where_asked_for():
    """As in the paper's algorithm 1; by default weak, as in the code whose errors are quoted."""
    weak, strong = make(strong="usb"), make(strong="usb", labeled="strong")
    assert weak.views(weak.cfg).labeled == {"weak": "weak"} and strong.views(strong.cfg).labeled == {"strong": "usb"}
    of = given()
    same_pixels = given(x={"strong": of.x["weak"]})
    assert same(gradients(weak, of), gradients(strong, same_pixels))
    others = given(x={"strong": images(6, 9)})
    assert not same(gradients(make(labeled="strong"), others), gradients(make(), of))
