"""Supervised training: cross-entropy, smoothed or on mixed images, and nothing of the unlabeled stream."""

import copy

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from semisonic.algorithms.base import Algorithm
from semisonic.algorithms.supervised import Supervised
from semisonic.contract import Batch
from semisonic.models.ema import EmaConfig
from tests.support.algorithms import (
    CLASSES,
    SIZE,
    batch,
    batch_for,
    frozen,
    gradients,
    info,
    make,
    same,
    tiny_network,
)


def test_supervised_is_plain_cross_entropy():
    algorithm = frozen(make(Supervised))
    given = batch()
    logits = algorithm.network(algorithm.normalize(given.x["weak"]))
    torch.testing.assert_close(algorithm.loss(given).loss, F.cross_entropy(logits, given.y))


def test_supervised_never_touches_the_unlabeled_stream():
    assert not Supervised.views(Supervised.Config()).unlabeled
    make(Supervised).loss(batch(u={}, u_index=torch.empty(0), u_true=torch.empty(0)))


def test_supervised_does_not_depend_on_the_order():
    algorithm, order = make(Supervised), torch.tensor([3, 1, 5, 0, 4, 2])
    given = batch()
    permuted = batch(x={"weak": given.x["weak"][order]}, y=given.y[order])
    assert same(gradients(copy.deepcopy(algorithm), given), gradients(algorithm, permuted))


def test_label_smoothing():
    algorithm = frozen(make(Supervised, label_smoothing=0.2))
    given = batch()
    log_p = algorithm.network(algorithm.normalize(given.x["weak"])).log_softmax(-1)
    target = 0.8 * F.one_hot(given.y, CLASSES) + 0.2 / CLASSES
    torch.testing.assert_close(algorithm.loss(given).loss, -(target * log_p).sum(-1).mean())


def mixing(**fields: object) -> Algorithm:
    torch.manual_seed(0)
    cfg = Supervised.Config(**{"block": 2} | fields)
    algorithm = Supervised(cfg, tiny_network, info(), EmaConfig(decay=0.9)).double()
    algorithm.step.fill_(50)
    return algorithm


def mixing_batch(algorithm: Algorithm, lam: Tensor | None = None) -> Batch:
    batch = batch_for(algorithm)
    return batch if lam is None else batch._replace(draws=batch.draws | {"lam": lam.view(-1, 1)})


def test_unmixed_training_asks_for_no_draws():
    assert not Supervised.views(Supervised.Config()).labeled_draws
    assert Supervised.problems(Supervised.Config(), 7, 0) == []


@pytest.mark.parametrize("mix", ["mixup", "cutmix"])
def test_a_weight_of_one_mixes_nothing(mix: str):
    mixed, plain = (mixing(mix=name, label_smoothing=0.1).eval() for name in (mix, "none"))
    batch = mixing_batch(mixed, torch.ones(6))
    assert same(gradients(mixed, batch), gradients(plain, batch))
    assert mixed.loss(batch).metrics["labeled_accuracy"] == plain.loss(batch).metrics["labeled_accuracy"]


@pytest.mark.parametrize("alpha", [0.2, 1.0])
@pytest.mark.parametrize("mix", ["mixup", "cutmix"])
def test_the_mixing_weight_follows_beta_of_mix_alpha(mix: str, alpha: float):
    views = Supervised.views(Supervised.Config(mix=mix, mix_alpha=alpha))
    assert views.betas == {"lam": alpha} and views.labeled_draws["lam"] == 1


@pytest.mark.parametrize("block", [2, 3, 6])
@pytest.mark.parametrize("mix", ["mixup", "cutmix"])
def test_supervised_on_mixed_images_equals_its_equation(mix: str, block: int):
    """The partner of a block's k-th image is the one with its k-th smallest key."""
    algorithm = mixing(mix=mix, label_smoothing=0.2, block=block).eval()
    batch = mixing_batch(algorithm, torch.tensor([0.3, 0.6, 0.5, 0.0, 0.7, 0.4]))
    keys = torch.tensor([0.9, 0.2, 0.6, 0.8, 0.5, 0.1])  # in blocks of two, images 2 and 3 keep to themselves
    batch = batch._replace(draws=batch.draws | {"partner": keys.view(-1, 1)})
    x, y = batch.x["weak"].double(), 0.8 * F.one_hot(batch.y, CLASSES).double() + 0.05
    mixed, targets = x.clone(), y.clone()
    for rows in torch.arange(6).split(block):
        for k, partner in zip(rows.tolist(), rows[keys[rows].argsort()].tolist(), strict=True):
            lam = batch.draws["lam"][k, 0].double()
            if mix == "mixup":
                mixed[k] = lam * x[k] + (1 - lam) * x[partner]
            else:
                side = int((1 - lam).sqrt() * SIZE)
                top, left = ((batch.draws["center"][k] * SIZE).long() - side // 2).tolist()
                box = (slice(max(top, 0), top + side), slice(max(left, 0), left + side))
                mixed[k][:, box[0], box[1]] = x[partner][:, box[0], box[1]]
                lam = 1 - mixed[k][0][box].numel() / SIZE**2
            targets[k] = lam * y[k] + (1 - lam) * y[partner]
    assert (mixed != x).any() and sum((targets != y).any(1).tolist()) >= 4  # partners were others than the images
    logits = algorithm.network((mixed - algorithm.pixel_mean) * algorithm.pixel_scale)
    output = algorithm.loss(batch)
    torch.testing.assert_close(output.loss, -(targets * logits.log_softmax(-1)).sum(-1).mean(), rtol=1e-6, atol=0)
    assert output.metrics["labeled_accuracy"] == logits.argmax(-1).eq(targets.argmax(-1)).float().mean()


@pytest.mark.parametrize("mix", ["mixup", "cutmix"])
def test_blocks_make_mixing_independent_of_micro_batches(mix: str):
    algorithm = mixing(mix=mix).eval()
    batch = mixing_batch(algorithm)
    whole = algorithm.loss(batch).loss
    parts = [
        algorithm.loss(batch._replace(x={"weak": batch.x["weak"][rows]}, y=batch.y[rows],
                                      draws={name: draw[rows] for name, draw in batch.draws.items()})).loss
        for rows in (slice(0, 2), slice(2, 4), slice(4, 6))
    ]  # fmt: skip
    torch.testing.assert_close(sum(parts) / 3, whole)
    assert Supervised.problems(Supervised.Config(mix=mix), 12, 0)[0].startswith("algorithm.block")
    other = copy.deepcopy(batch)._replace(draws=batch.draws | {"partner": batch.draws["partner"].flip(0)})
    assert not torch.equal(algorithm.loss(other).loss, whole)


@pytest.mark.parametrize("mix", ["mixup", "cutmix"])
@pytest.mark.parametrize("lam", [0.1, 0.5, 0.9])
def test_a_number_stands_in_place_of_the_draws(mix: str, lam: float):
    fixed, drawn = mixing(mix=mix, mix_lam=lam), mixing(mix=mix)
    given = mixing_batch(drawn)
    alike = mixing_batch(drawn, torch.full((len(given.y),), lam))
    assert same(gradients(fixed, given), gradients(drawn, alike), tolerance=0)
    assert Supervised.views(fixed.cfg).betas == {}
