"""Pseudo-Label: between supervised training and cross-entropy with own predictions, by its threshold."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from semisonic.algorithms.pseudo_label import PseudoLabel
from semisonic.algorithms.supervised import Supervised
from tests.support.algorithms import batch, frozen, gradients, info, make, same
from tests.support.consistency import given, ready


class Logits(nn.Module):
    """A network whose logits are the mean colors of the image, times a parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.head = Scale()

    def features(self, given: Tensor) -> Tensor:
        return given.mean((2, 3))

    def forward(self, given: Tensor) -> Tensor:
        return self.head(self.features(given))


class Scale(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, features: Tensor) -> Tensor:
        return features * self.scale


def colors(logits_N3: Tensor) -> Tensor:
    return logits_N3[:, :, None, None].expand(-1, -1, 2, 2)


def test_pseudo_label_above_every_confidence_is_supervised():
    algorithm, supervised = frozen(ready(PseudoLabel, threshold=1.000001)), frozen(make(Supervised))
    assert same(gradients(algorithm, given(algorithm)), gradients(supervised, batch()))


def test_pseudo_label_without_threshold_is_cross_entropy_with_the_own_prediction():
    algorithm = frozen(ready(PseudoLabel, threshold=0.0, weight=3.0))  # Lee's original
    one = given(algorithm)
    found = gradients(algorithm, one)
    algorithm.zero_grad()
    logits_x, logits_u = (algorithm.network(algorithm.normalize(v)) for v in (one.x["weak"], one.u["weak"]))
    (F.cross_entropy(logits_x, one.y) + 3 * F.cross_entropy(logits_u, logits_u.detach().argmax(-1))).backward()
    assert same(found, {name: p.grad for name, p in algorithm.named_parameters()})


def test_pseudo_label_loss_falls_as_confidence_grows_and_masked_samples_add_nothing():
    algorithm = PseudoLabel(PseudoLabel.Config(threshold=0.9, ramp=0.0), Logits, info(classes=3)).double()
    x = {"weak": colors(torch.zeros(6, 3))}
    y = torch.zeros(6, dtype=torch.int64)
    losses = []
    for margin in (1.0, 3.0, 4.0, 6.0, 9.0):  # confidence .58, .91, .96, .995, .9998
        rows = torch.tensor([[margin, 0, 0], [0.1, 0, 0]], dtype=torch.float64)  # the second never passes
        output = algorithm.loss(batch(x=x, y=y, u={"weak": colors(rows)}, u_true=torch.tensor([0, 1])))
        losses.append(output.metrics["loss_unlabeled"].item())
        kept = 0.5 * float(rows[0].softmax(-1)[0] >= 0.9)
        assert output.metrics["coverage"] == output.metrics["pseudo_label_correct"] == kept
        assert losses[-1] == pytest.approx(-kept * rows[0].log_softmax(-1)[0].item())
    assert losses[0] == 0 and losses[1:] == sorted(losses[1:], reverse=True) and losses[-1] > 0
