"""The properties that VAT's paper and its numerics promise."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from semisonic.algorithms import vat
from semisonic.algorithms.base import Algorithm
from semisonic.algorithms.vat import VAT, unit
from semisonic.contract import Batch
from semisonic_kernels.losses import kl_divergence
from semisonic_kernels.noise import normal_noise
from tests.support.algorithms import CLASSES, SIZE, batch, frozen, gradients, images, info, make, same, tiny_network
from tests.support.trainers import make_trainer


def ready(**fields: object) -> Algorithm:
    algorithm = make(VAT, **fields)
    algorithm.step.fill_(50)
    return algorithm


def given(count: int = 12, **changes: object) -> Batch:
    return batch(u={"weak": images(count, 20)}, u_key=torch.arange(count) * 977 + 5, **changes)


def perturbation(algorithm: Algorithm, one: Batch) -> Tensor:
    x, u = algorithm.normalize(one.x["weak"]), algorithm.normalize(one.u["weak"])
    clean_UC = algorithm.perturbed(x, u, autocast=False).detach()
    return algorithm.perturbation(x, u, clean_UC, one.u_key)


def norms(r: Tensor) -> Tensor:
    return r.flatten(1).norm(dim=1)


@pytest.mark.parametrize("statistics", ["all", "labeled"])
@pytest.mark.parametrize("power", [1, 3])
def test_every_perturbation_has_the_length_eps(power: int, statistics: str):
    for algorithm in (ready(power=power, eps=2.5, statistics=statistics), ready(power=power, eps=2.5).float()):
        r = perturbation(algorithm, given())
        assert not r.requires_grad
        torch.testing.assert_close(norms(r), torch.full((12,), 2.5, dtype=r.dtype), rtol=0, atol=1e-4)


def test_unit_keeps_the_smallest_and_largest_values_and_zeros():
    rows = torch.randn(4, 3, 5, 5, generator=torch.Generator().manual_seed(0))
    scaled = torch.stack([rows[0] * 1e-30, rows[1] * 1e30, rows[2] * 0, rows[3]])
    found = unit(scaled)
    assert norms(found).tolist() == pytest.approx([1, 1, 0, 1], abs=1e-6)
    torch.testing.assert_close(found[0], rows[0] / rows[0].norm())


def test_the_power_iteration_touches_no_gradient_and_no_statistics():
    """Gradients that micro-batches have gathered so far stay, and no hook of DDP or DeepSpeed fires."""
    algorithm, fired = ready(power=2), []
    for parameter in algorithm.parameters():
        parameter.grad = torch.full_like(parameter, 7)
        parameter.register_post_accumulate_grad_hook(lambda _: fired.append(1))
    before = copy.deepcopy(algorithm.state_dict())
    perturbation(algorithm, given())
    assert not fired and all((parameter.grad == 7).all() for parameter in algorithm.parameters())
    assert all(torch.equal(value, before[name]) for name, value in algorithm.state_dict().items())
    algorithm.loss(given())
    assert not fired and all((parameter.grad == 7).all() for parameter in algorithm.parameters())


def trained(fields: dict) -> tuple[Algorithm, Batch]:
    """On images whose class is their brightest quarter: a network of some depth, whose Jacobian is not the same for
    all directions."""
    torch.manual_seed(0)

    def build() -> nn.Module:
        layers = [nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3, 2, 1), nn.ReLU()]
        return Headed(nn.Sequential(*layers, nn.Flatten()), nn.Linear(16 * 16, CLASSES))

    algorithm = VAT(VAT.Config(**fields), build, info(image_size=8))
    algorithm.step.fill_(50)
    y = torch.arange(64) % CLASSES
    x = torch.randn(64, 3, 8, 8)
    for k in range(CLASSES):
        x[y == k, :, 4 * (k // 2) : 4 * (k // 2) + 4, 4 * (k % 2) : 4 * (k % 2) + 4] += 0.7
    optimizer = torch.optim.SGD(algorithm.network.parameters(), lr=0.05, momentum=0.9)
    for _ in range(40):
        optimizer.zero_grad()
        F.cross_entropy(algorithm.network(x), y, label_smoothing=0.2).backward()  # unsure enough to have a gradient
        optimizer.step()
    return algorithm, batch(x={"weak": x}, y=y, u={"weak": x}, u_key=torch.arange(64))


def divergence(algorithm: Algorithm, u: Tensor, r: Tensor) -> Tensor:
    with torch.no_grad():
        return kl_divergence(algorithm.network(u), algorithm.network(u + r))


def test_the_perturbation_is_adversarial():
    algorithm, one = trained({"eps": 0.5})
    u = one.u["weak"]
    r = perturbation(algorithm, one)
    random = 0.5 * unit(torch.randn(u.shape, generator=torch.Generator().manual_seed(1)))
    assert divergence(algorithm, u, r).mean() >= 10 * divergence(algorithm, u, random).mean()
    assert algorithm.loss(one).metrics["loss_unlabeled"].item() == pytest.approx(
        divergence(algorithm, u, r).mean().item()
    )


def cosines(a: Tensor, b: Tensor) -> Tensor:
    return F.cosine_similarity(a.flatten(1).double(), b.flatten(1).double())


def test_the_default_xi_finds_the_direction_in_float32():
    """The paper's xi of 1e-6 is rounded away; in float64 it is exact."""
    algorithm, one = trained({})
    exact = perturbation(copy.deepcopy(with_fields(algorithm, xi=1e-6)).double(), widened(one))
    default = VAT.Config().xi
    found = {xi: cosines(perturbation(with_fields(algorithm, xi=xi), one), exact).mean() for xi in (default, 1e-6)}
    assert found[default] > 0.99 and found[1e-6] < 0.9


def with_fields(algorithm: Algorithm, **fields: object) -> Algorithm:
    algorithm.cfg = VAT.Config(**fields)
    return algorithm


def widened(one: Batch) -> Batch:
    return one._replace(x={"weak": one.x["weak"].double()}, u={"weak": one.u["weak"].double()})


@pytest.mark.parametrize("statistics", ["all", "labeled"])
def test_the_perturbation_is_found_in_float32_under_autocast(statistics: str):
    torch.manual_seed(0)
    plain = VAT(VAT.Config(statistics=statistics), tiny_network, info())
    half = VAT(VAT.Config(statistics=statistics), tiny_network, info(), autocast=torch.bfloat16)
    half.load_state_dict(plain.state_dict())
    assert torch.equal(perturbation(plain, given()), perturbation(half, given()))
    seen = []
    half.network.conv.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    half.loss(given())
    expected = [torch.float32, torch.float32] if statistics == "all" else [torch.bfloat16, torch.float32, torch.float32]
    assert seen == [*expected, torch.bfloat16]  # labeled, clean, power iteration; then adversarial


class Headed(nn.Module):
    def __init__(self, body: nn.Module, head: nn.Linear) -> None:
        super().__init__()
        self.features, self.head = body, head

    def forward(self, given: Tensor) -> Tensor:
        return self.head(self.features(given))


class Constant(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(1, CLASSES)
        nn.init.zeros_(self.head.weight)

    def features(self, given: Tensor) -> Tensor:
        return given.sum((1, 2, 3))[:, None]

    def forward(self, given: Tensor) -> Tensor:
        return self.head(self.features(given))


def test_a_constant_classifier_has_no_adversarial_loss():
    algorithm = VAT(VAT.Config(ramp=0.0, entropy=0.0), Constant, info())
    output = algorithm.loss(given())
    assert output.metrics["loss_unlabeled"] == 0 and output.loss == output.metrics["loss_labeled"]
    assert not perturbation(algorithm, given()).any()
    output.loss.backward()
    assert algorithm.network.head.bias.grad.isfinite().all()


def test_vat_equals_its_equation():
    algorithm = frozen(ready(weight=0.7, entropy=0.2, eps=1.5, xi=1e-3, power=2))
    one = given()
    x, u = algorithm.normalize(one.x["weak"]), algorithm.normalize(one.u["weak"])
    q = algorithm.network(u).softmax(-1).detach()

    def kl(r: Tensor) -> Tensor:
        return (q * (q.log() - algorithm.network(u + r).log_softmax(-1))).sum(-1).mean()

    d = normal_noise(one.u_key, (3, SIZE, SIZE)).double()
    for _ in range(2):
        r = (1e-3 * d / norms(d).view(-1, 1, 1, 1)).requires_grad_()
        (d,) = torch.autograd.grad(kl(r), r)
    p = algorithm.network(u).softmax(-1)
    expected = F.cross_entropy(algorithm.network(x), one.y) + 0.7 * kl(1.5 * d / norms(d).view(-1, 1, 1, 1))
    expected = expected + 0.2 * -(p * p.log()).sum(-1).mean()
    found = gradients(algorithm, one)
    torch.testing.assert_close(algorithm.loss(one).loss, expected, rtol=1e-8, atol=0)
    algorithm.zero_grad()
    expected.backward()
    assert same(found, {name: parameter.grad for name, parameter in algorithm.named_parameters()}, tolerance=1e-7)


def test_clean_and_perturbed_images_have_statistics_of_the_same_kind():
    """Else the divergence would not be 0 without a perturbation, and its gradient there no adversarial direction."""
    for statistics in ("all", "labeled"):
        algorithm = ready(statistics=statistics, eps=1e-7, xi=1e-3)
        assert algorithm.loss(given()).metrics["loss_unlabeled"] < 1e-12
        assert algorithm.network.training


def test_noise_belongs_to_the_sample_and_draws_nothing(monkeypatch: pytest.MonkeyPatch):
    algorithm = frozen(ready())
    one = given()
    state = torch.get_rng_state()
    r = perturbation(algorithm, one)
    assert torch.equal(torch.get_rng_state(), state) and torch.equal(perturbation(algorithm, one), r)
    half = one._replace(u={"weak": one.u["weak"][6:]}, u_key=one.u_key[6:])
    torch.testing.assert_close(perturbation(algorithm, half), r[6:])
    monkeypatch.setattr(vat, "normal_noise", lambda keys, shape: torch.ones(len(keys), *shape))
    assert not torch.allclose(perturbation(algorithm, one), r)


@pytest.mark.parametrize(("name", "cut"), [("vat", False), ("fixmatch", True)])
def test_no_compiler_cuts_the_graph_inside_the_power_iteration(
    name: str, cut: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Under DDP it cuts the others' graphs where buckets of gradients end, which fails inside an inner gradient.

    It is told so for the calls of VAT's own graph: nothing is left behind for other graphs of the process.
    """
    told = []

    def compiler(function: Callable[..., Any], **options: object) -> Callable[..., Any]:
        def compiled(*args: Any) -> Any:
            told.append(torch._dynamo.config.optimize_ddp)
            return function(*args)

        return compiled

    monkeypatch.setattr(torch, "compile", compiler)
    trainer = make_trainer(tmp_path / name, "--algorithm", name, "--compile", "whole", "--kernels", "reference")
    trainer.training_step(next(trainer.loader()))
    assert told == [cut] and torch._dynamo.config.optimize_ddp is True
