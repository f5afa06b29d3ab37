"""The properties that ICT's equations promise."""

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from semisonic.algorithms import ict as module
from semisonic.algorithms.base import Algorithm
from semisonic.algorithms.ict import ICT
from semisonic.contract import Batch
from tests.support.algorithms import CLASSES, SIZE, batch, frozen, gradients, images, info, make, same


def mixing_batch(lam: float | None = None, seed: int = 0) -> Batch:
    bits = torch.Generator().manual_seed(seed)
    draws = {
        "lam": torch.rand(12, 1, generator=bits), "partner": torch.rand(12, 1, generator=bits),
        "labeled_lam": torch.rand(6, 1, generator=bits), "labeled_partner": torch.rand(6, 1, generator=bits),
    }  # fmt: skip
    if lam is not None:
        draws |= {name: torch.full_like(draws[name], lam) for name in ("lam", "labeled_lam")}
    return batch(u={"weak": images(12, 2)}, draws=draws)


def ict(**fields: object) -> Algorithm:
    """At half of a ramp over 60 steps, in blocks of 3 labeled images; the EMA is another network."""
    algorithm = make(ICT, **({"block": 3, "ramp": 60.0, "shape": "linear"} | fields))
    algorithm.step += 30
    for value in dict(algorithm.ema.named_buffers()).values():
        if value.is_floating_point():
            value += 0.3 * torch.rand(value.shape, generator=torch.Generator().manual_seed(1)).to(value.dtype)
    return algorithm


def partners(key_N1: Tensor) -> list[int]:
    """Of each image, in two blocks."""
    half = len(key_N1) // 2
    order = [sorted(range(b * half, (b + 1) * half), key=lambda i: key_N1[i].item()) for b in (0, 1)]
    return order[0] + order[1]


def by_hand(algorithm: Algorithm, given: Batch) -> Tensor:
    """The loss for BatchNorm in evaluation mode, with the labeled term as the paper writes it."""
    cfg, d = algorithm.cfg, given.draws
    lam_x, lam_u = d["labeled_lam"].double().flatten(), d["lam"].double().flatten()
    if cfg.dominant:
        lam_x, lam_u = torch.maximum(lam_x, 1 - lam_x), torch.maximum(lam_u, 1 - lam_u)
    at_x, at_u = partners(d["labeled_partner"]), partners(d["partner"])
    x, u = algorithm.normalize(given.x["weak"]), algorithm.normalize(given.u["weak"])
    losses = []
    for i, lam in enumerate(lam_x):
        if cfg.mix_labeled:
            log_p = algorithm.network((lam * x[i] + (1 - lam) * x[at_x[i]])[None]).log_softmax(-1)[0]
            losses.append(-lam * log_p[given.y[i]] - (1 - lam) * log_p[given.y[at_x[i]]])
        else:
            losses.append(F.cross_entropy(algorithm.network(x[i][None]), given.y[i][None]))
    labeled, errors = torch.stack(losses).mean(), []
    with torch.no_grad():
        teacher = algorithm.ema(u)
        teacher = teacher.softmax(-1) if cfg.targets == "probabilities" else teacher
    for i, lam in enumerate(lam_u):
        log_p = algorithm.network((lam * u[i] + (1 - lam) * u[at_u[i]])[None]).log_softmax(-1)[0]
        q = lam * teacher[i] + (1 - lam) * teacher[at_u[i]]
        q = q if cfg.targets == "probabilities" else q.softmax(-1)
        errors.append((log_p.exp() - q).square().mean() if cfg.loss == "mse" else -(q * log_p).sum())
    return labeled + 100 * 0.5 * torch.stack(errors).mean()


@pytest.mark.parametrize("fields", [{}, {"mix_labeled": False}, {"targets": "logits"}], ids=str)
def test_all_pixels_are_mixed_by_one_call(fields: dict, monkeypatch: pytest.MonkeyPatch):
    """Of both streams, none of which meets the other, and labeled images that are not to be mixed stay."""
    calls, mixup = [], module.mixup
    monkeypatch.setattr(module, "mixup", lambda *given, **how: calls.append(given) or mixup(*given, **how))
    algorithm, given = ict(**fields), mixing_batch()
    algorithm.loss(given)
    ((images, targets_NC, partner_N, lam_N, *_),) = calls
    assert torch.equal(images, torch.cat([given.x["weak"], given.u["weak"]])) and len(targets_NC) == 18
    assert sorted(partner_N[:6].tolist()) == list(range(6)) and sorted(partner_N[6:].tolist()) == list(range(6, 18))
    drawn = torch.cat([given.draws["labeled_lam"][:, 0], given.draws["lam"][:, 0]])
    drawn[:6] = drawn[:6] if algorithm.cfg.mix_labeled else 1
    assert torch.equal(lam_N, drawn)


@pytest.mark.parametrize("lam", [0.1, 0.5, 0.9])
def test_a_number_stands_in_place_of_the_draws(lam: float):
    found, given = gradients(ict(lam=lam), mixing_batch()), mixing_batch(lam=lam)
    assert same(found, gradients(ict(), given), tolerance=0)
    assert lam == 0.5 or not same(found, gradients(ict(lam=1 - lam), given), tolerance=1e-6)  # it is not folded
    assert ICT.views(ICT.Config(lam=lam)).betas == {}


@pytest.mark.parametrize(
    "fields", [{}, {"targets": "logits"}, {"loss": "ce"}, {"dominant": True}, {"mix_labeled": False}], ids=str
)
def test_equals_its_equation(fields: dict):
    algorithm, given = frozen(ict(**fields)), mixing_batch()
    found = gradients(algorithm, given)
    torch.testing.assert_close(algorithm.loss(given).loss, by_hand(algorithm, given), rtol=1e-6, atol=0)
    algorithm.zero_grad()
    by_hand(algorithm, given).backward()
    assert same(found, {name: p.grad for name, p in algorithm.named_parameters()}, tolerance=1e-5)


def test_unmixed_it_is_mean_teacher_with_one_view():
    """In training mode: the teacher uses its own batch statistics, and moves none."""
    algorithm, given = ict(), mixing_batch(lam=1.0)
    plain = copy.deepcopy(algorithm)
    found = gradients(algorithm, given)
    with torch.no_grad():
        (q_UC,) = plain.classify(given.u["weak"], module="ema")
    logits_BC, logits_UC = plain.classify(given.x["weak"], given.u["weak"])
    consistency = (logits_UC.softmax(-1) - q_UC.softmax(-1)).square().mean()
    plain.zero_grad()
    (F.cross_entropy(logits_BC, given.y) + 50 * consistency).backward()
    assert consistency > 1e-4
    assert same(found, {name: p.grad for name, p in plain.named_parameters()})
    torch.testing.assert_close(algorithm.state_dict(), plain.state_dict())


class Linear(nn.Module):
    """Logits that are linear in the pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.head, self.feature_dim = nn.Linear(3 * SIZE * SIZE, CLASSES), 3 * SIZE * SIZE

    def features(self, images: Tensor) -> Tensor:
        return images.flatten(1)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.features(images))


@pytest.mark.parametrize("dominant", [False, True])
def test_a_linear_model_agrees_with_its_own_interpolation(dominant: bool):
    """For every lam, where logits are mixed; probabilities are not linear."""
    losses = []
    for targets in ("logits", "probabilities"):
        torch.manual_seed(0)
        cfg = ICT.Config(block=3, targets=targets, dominant=dominant)
        algorithm = ICT(cfg, Linear, info()).double()
        losses.append([algorithm.loss(mixing_batch(seed=s)).metrics["loss_unlabeled"].item() for s in range(3)])
    assert max(losses[0]) < 1e-12 and min(losses[1]) > 1e-4


def test_the_teacher_receives_no_gradient():
    algorithm = ict()
    for value in algorithm.ema.buffers():
        if value.is_floating_point():
            value.requires_grad_()
    algorithm.loss(mixing_batch()).loss.backward()
    assert all(value.grad is None for value in algorithm.ema.buffers())
    assert any(p.grad.abs().sum() > 0 for p in algorithm.network.parameters())


def test_true_labels_of_the_unlabeled_images_never_reach_the_loss():
    algorithm, given = ict(), mixing_batch()
    poisoned = given._replace(u_true=torch.full((12,), -1))
    assert same(gradients(copy.deepcopy(algorithm), given), gradients(algorithm, poisoned), tolerance=0)


def test_ramp_is_a_sigmoid_that_ends_at_a_quarter_of_the_run():
    def weight(step: int) -> float:
        algorithm = make(ICT, block=3)
        algorithm.step += step
        output = algorithm.loss(mixing_batch())
        terms = output.metrics["loss_labeled"], output.metrics["loss_unlabeled"]
        return ((output.loss - terms[0]) / terms[1]).item() / 100

    algorithm = make(ICT, block=3)
    algorithm.ema.head.weight += 0.5  # whatever the weight, the term is not 0
    assert algorithm.info.steps == 100
    expected = [torch.tensor(-5.0 * (1 - t / 25) ** 2).exp().item() for t in (0, 10, 25)]
    assert [weight(t) for t in (0, 10, 25)] == pytest.approx(expected, rel=1e-4) and weight(60) == pytest.approx(1)


def test_one_weight_for_a_block():
    given = mixing_batch()
    same_weight = given._replace(
        draws=given.draws
        | {
            "lam": given.draws["lam"][[0, 6]].repeat_interleave(6, 0),
            "labeled_lam": given.draws["labeled_lam"][[0, 3]].repeat_interleave(3, 0),
        }
    )
    by_block, by_sample = ict(lam="block"), ict()
    assert by_block.loss(given).loss == by_sample.loss(same_weight).loss
    assert ict().loss(given).loss != by_block.loss(given).loss


def test_blocks_must_divide_a_micro_batch():
    assert ICT.problems(ICT.Config(block=8), 4, 8)[0].startswith("algorithm.block: ")
    assert ICT.problems(ICT.Config(block=4), 4, 8) == []
