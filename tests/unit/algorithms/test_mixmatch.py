"""The properties that MixMatch's equations promise."""

import copy

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from semisonic.algorithms.base import Algorithm
from semisonic.algorithms.mixing import block_first, block_problems
from semisonic.algorithms.mixmatch import MixMatch
from semisonic.algorithms.ramps import linear_ramp, sigmoid_ramp
from semisonic.config.command_line import resolve
from semisonic.contract import Batch
from semisonic.schema import UserError
from tests.support.algorithms import CLASSES, frozen, gradients, make, mixing_batch, mixmatch, same


def predict(algorithm: Algorithm, view: Tensor) -> Tensor:
    return algorithm.network(algorithm.normalize(view))


def rows(given: Batch, cfg: object) -> list[list[int]]:
    """The rows of each block in the concatenation of x, u1, u2, ..."""
    blocks, views = 6 // cfg.block, len(given.u)
    starts = [(0, 6)] + [(6 + 12 * k, 12) for k in range(views)]
    return [[start + b * n // blocks + i for start, n in starts for i in range(n // blocks)] for b in range(blocks)]


def by_hand(algorithm: Algorithm, given: Batch) -> tuple[Tensor, Tensor, Tensor]:
    """Labeled and unlabeled loss and the mixed targets, image by image, for BatchNorm in evaluation mode."""
    cfg, views = algorithm.cfg, list(given.u.values())
    with torch.no_grad():
        guess = sum(predict(algorithm, view).softmax(-1) for view in views) / len(views)
        sharp = guess ** (1 / cfg.temperature)
        sharp /= sharp.sum(-1, keepdim=True)
    plain = algorithm.normalize(torch.cat([given.x["weak"], *views]))
    targets = torch.cat([F.one_hot(given.y, CLASSES).double(), *[sharp] * len(views)])
    keys = torch.cat([given.draws["labeled_partner"].flatten(), given.draws["partner"].T.flatten()])
    lams = torch.cat([given.draws["labeled_lam"].flatten(), given.draws["lam"].T.flatten()]).double()
    mixed, mixed_targets = plain.clone(), targets.clone()
    for block in rows(given, cfg):
        for row, partner in zip(block, sorted(block, key=lambda i: keys[i].item()), strict=True):
            lam = max(lams[row].item(), 1 - lams[row].item())
            mixed[row] = lam * plain[row] + (1 - lam) * plain[partner]
            mixed_targets[row] = lam * targets[row] + (1 - lam) * targets[partner]
    p = algorithm.network(mixed).softmax(-1)
    labeled = -(mixed_targets[:6] * p[:6].log()).sum(-1).mean()
    return labeled, (p[6:] - mixed_targets[6:]).square().mean(), mixed_targets


@pytest.mark.parametrize("views", [1, 2, 3])
def test_equals_its_equations(views: int):
    algorithm, given = frozen(mixmatch(views=views)), mixing_batch(views)
    labeled, unlabeled, _ = by_hand(algorithm, given)
    output = algorithm.loss(given)
    torch.testing.assert_close(output.metrics["loss_labeled"], labeled.detach(), rtol=1e-6, atol=0)
    torch.testing.assert_close(output.metrics["loss_unlabeled"], unlabeled.detach(), rtol=1e-6, atol=0)
    found = gradients(algorithm, given)
    algorithm.zero_grad()
    labeled, unlabeled, _ = by_hand(algorithm, given)
    (labeled + 75 * 0.5 * unlabeled).backward()  # also: the guess carries no gradient
    assert same(found, {name: p.grad for name, p in algorithm.named_parameters()}, tolerance=1e-6)


def test_without_sharpening_and_mixing_it_is_averaged_consistency_with_plain_cross_entropy():
    algorithm, given = frozen(mixmatch(temperature=1.0, weight=3.0, ramp=0.0)), mixing_batch(lam=1.0)
    found = gradients(algorithm, given)
    algorithm.zero_grad()
    p = [predict(algorithm, view).softmax(-1) for view in given.u.values()]
    mean = (sum(p) / 2).detach()
    unlabeled = sum((one - mean).square().mean() for one in p) / 2
    (F.cross_entropy(predict(algorithm, given.x["weak"]), given.y) + 3 * unlabeled).backward()
    assert same(found, {name: p.grad for name, p in algorithm.named_parameters()})


def test_targets_are_probabilities_and_the_first_b_match_the_labels():
    """lam' >= 1/2 whatever is drawn; the guess of an image is one for all its views and carries no gradient."""
    for seed in range(5):
        algorithm, given = mixmatch(), mixing_batch(seed=seed)
        target_UC = algorithm.guess(given)
        assert not target_UC.requires_grad
        _, y_BC, _, q_NC = algorithm.mixed(given, target_UC)
        for targets in (target_UC, y_BC, q_NC):
            assert (targets >= 0).all()
            torch.testing.assert_close(targets.sum(-1), torch.ones(len(targets), dtype=torch.float64))
        own = y_BC.gather(1, given.y[:, None]).squeeze(1)
        assert (own >= 0.5).all() and torch.equal(y_BC.argmax(-1), given.y)
    unmixed = mixing_batch(lam=1.0)
    q_KUC = algorithm.mixed(unmixed, target_UC)[3].view(2, 12, CLASSES)
    assert torch.equal(q_KUC[0], target_UC) and torch.equal(q_KUC[1], target_UC)


def test_a_small_weight_counts_from_the_other_side():
    """lam and 1 - lam mix alike: no labeled target is given to the partner."""
    algorithm = frozen(mixmatch())
    assert same(gradients(algorithm, mixing_batch(lam=0.75)), gradients(algorithm, mixing_batch(lam=0.25)))


def test_temperature_views_and_ramp_change_the_loss():
    given = mixing_batch()
    losses = [mixmatch(**fields).loss(given).loss for fields in ({}, {"temperature": 0.6}, {"ramp": 50.0})]
    losses.append(mixmatch(views=1).loss(mixing_batch(views=1)).loss)
    assert len({loss.item() for loss in losses}) == 4


@pytest.mark.parametrize("labeled", [2, 64])
def test_the_ramp_ends_at_step_16000_whatever_the_batch(labeled: int):
    algorithm = make(MixMatch)
    algorithm.info = type(algorithm.info)(**(vars(algorithm.info) | {"labeled_batch": labeled, "steps": 2**20}))
    cfg, steps = algorithm.cfg, torch.tensor([0, 4000, 15_999, 16_000, 16_001])
    found = [linear_ramp(step, cfg.ramp, algorithm.info.steps).item() for step in steps]
    assert found[0] == 0 and found[1] == 0.25 and found[2] < 1 and found[3:] == [1, 1]


def test_a_ramp_up_to_1_is_a_share_of_the_run():
    at = torch.tensor(20)
    assert linear_ramp(at, 0.4, 100) == 0.5 and linear_ramp(at, 1, 100).item() == pytest.approx(0.2)
    assert linear_ramp(at, 40, 100) == 0.5 and linear_ramp(at, 0, 100) == 1
    assert torch.equal(sigmoid_ramp(at, 0.25, 100), sigmoid_ramp(at, 25))


def test_only_the_mixed_images_move_the_running_statistics():
    algorithm, given = mixmatch(), mixing_batch()
    target_UC = algorithm.guess(given)
    assert algorithm.network.norm.num_batches_tracked == 0 and not algorithm.network.norm.running_mean.any()
    plain, partner_N, lam_N = algorithm.plan(given, None)
    lam = torch.maximum(lam_N, 1 - lam_N).double().view(-1, 1, 1, 1)
    x = algorithm.normalize(plain)
    with torch.no_grad():
        channels = algorithm.network.conv(lam * x + (1 - lam) * x[partner_N]).mean((0, 2, 3))
    algorithm.mixed(given, target_UC)
    norm = algorithm.network.norm
    torch.testing.assert_close(norm.running_mean, norm.momentum * channels, rtol=1e-6, atol=1e-9)


def test_the_guess_uses_the_batch_s_statistics():
    algorithm, given = mixmatch(), mixing_batch()
    assert not torch.allclose(algorithm.guess(given), frozen(copy.deepcopy(algorithm)).guess(given), atol=1e-3)


def test_one_batch_holds_all_images_so_that_interleaving_changes_nothing():
    """Whole blocks in another order, in training mode."""
    algorithm, given = mixmatch(), mixing_batch()
    other = given._replace(
        x={k: v.roll(3, 0) for k, v in given.x.items()}, y=given.y.roll(3),
        u={k: v.roll(6, 0) for k, v in given.u.items()},
        draws={k: v.roll(len(v) // 2, 0) for k, v in given.draws.items()},
    )  # fmt: skip
    assert same(gradients(copy.deepcopy(algorithm), given), gradients(algorithm, other))


def test_micro_batches_sum_to_the_batch():
    algorithm, given = frozen(mixmatch(block=3)), mixing_batch()
    whole = gradients(algorithm, given)
    algorithm.zero_grad()
    for half in (0, 1):
        micro = given._replace(
            x={k: v.chunk(2)[half] for k, v in given.x.items()}, y=given.y.chunk(2)[half],
            u={k: v.chunk(2)[half] for k, v in given.u.items()}, u_true=given.u_true.chunk(2)[half],
            draws={k: v.chunk(2)[half] for k, v in given.draws.items()},
        )  # fmt: skip
        (algorithm.loss(micro).loss / 2).backward()
    assert same(whole, {name: p.grad for name, p in algorithm.named_parameters()})
    assert block_problems(4, 6) and MixMatch.problems(algorithm.cfg, 4, 8)[0].startswith("algorithm.block: ")
    assert MixMatch.problems(algorithm.cfg, 6, 12) == []
    assert "a multiple of 2 that divides 6" in MixMatch.problems(algorithm.cfg, 6, 15)[0]  # 3 labeled, 7.5 unlabeled
    assert block_problems(2, 6, 15) == block_problems(6, 6, 15) == []


def test_true_labels_of_the_unlabeled_images_never_reach_the_loss():
    algorithm, given = mixmatch(), mixing_batch()
    poisoned = given._replace(u_true=torch.full((12,), -1))
    assert same(gradients(copy.deepcopy(algorithm), given), gradients(algorithm, poisoned), tolerance=0)


def test_one_weight_for_a_block():
    algorithm, given = mixmatch(lam="block"), mixing_batch()
    _, _, lam_N = algorithm.plan(given, None)
    for block, first in zip(rows(given, algorithm.cfg), (0, 3), strict=True):
        assert (lam_N[block] == given.draws["labeled_lam"][first]).all()
    assert lam_N.unique().numel() == 2
    assert torch.equal(block_first(torch.arange(6.0), 4, 2), torch.tensor([0.0, 0, 3, 3]))


@pytest.mark.parametrize("lam", [0.0, 0.1, 0.5, 0.9, 1.0])
def test_a_number_stands_in_place_of_the_draws(lam: float):
    given, other = mixing_batch(lam=lam), mixing_batch()
    assert same(gradients(mixmatch(lam=lam), other), gradients(mixmatch(), given), tolerance=0)
    assert same(gradients(mixmatch(lam=1 - lam), other), gradients(mixmatch(lam=lam), other), tolerance=1e-6)
    views = MixMatch.views(MixMatch.Config(lam=lam))
    assert views.betas == {} and MixMatch.views(MixMatch.Config()).betas == {"lam": 0.75, "labeled_lam": 0.75}


def test_a_mixing_weight_is_a_name_or_a_number_of_0_to_1():
    for name, field, other in (("mixmatch", "lam", "sample, block"), ("policy-mixmatch", "lam", "sample, block"),
                               ("enaet", "lam", "sample, block"), ("ict", "lam", "sample, block"),
                               ("remixmatch", "lam", "sample"), ("supervised", "mix_lam", "sample")):  # fmt: skip
        option = f"--algorithm.{field.replace('_', '-')}"
        mixing = ["--algorithm.mix", "mixup"] if name == "supervised" else []
        cfg = resolve(["--algorithm", name, *mixing, option, "0.3", "--device", "cpu"])[1].algorithm
        assert getattr(cfg, field) == 0.3 and cfg.model_validate(cfg.model_dump()) == cfg
        for wrong in ("1.1", "-0.1", "nan", "true", "each"):
            with pytest.raises(UserError) as caught:
                resolve(["--algorithm", name, option, wrong, "--device", "cpu"])
            (line,) = caught.value.messages
            assert line == f"algorithm.{field}: {wrong!r} is not valid; expected {other} or a number of 0 to 1"
