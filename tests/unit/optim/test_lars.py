"""LARS against its equations, one parameter after the other."""

import pytest
import torch
from torch import Tensor, nn

from semisonic.optim.lars import LARS, TRUST
from semisonic.optim.optimizer import LayerRates, OptimConfig, build_optimizer, set_learning_rate

CFG = OptimConfig(name="lars", lr=2.0, weight_decay=0.01, momentum=0.8, schedule="cosine", warm_up=2)


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4 * 36, 5)).double()


def train(module: nn.Module, optimizer: torch.optim.Optimizer, steps: int = 6) -> None:
    bits = torch.Generator().manual_seed(1)
    for step in range(steps):
        set_learning_rate(optimizer.param_groups, CFG, torch.tensor(step), steps)
        images = torch.randn(4, 3, 8, 8, generator=bits).double()
        optimizer.zero_grad()
        module(images).square().mean().backward()
        optimizer.step()


class Plain:
    """The equations, without groups."""

    def __init__(self, module: nn.Module, cfg: OptimConfig):
        self.module, self.cfg, self.v = module, cfg, {p: torch.zeros_like(p) for p in module.parameters()}
        self.param_groups = [{"lr": torch.tensor(0.0, dtype=torch.float64), "lr_scale": 1.0}]

    def zero_grad(self) -> None:
        self.module.zero_grad()

    @torch.no_grad()
    def step(self) -> None:
        for p in self.module.parameters():
            g, ratio = p.grad, 1.0
            if p.ndim > 1:
                g = g + self.cfg.weight_decay * p
                if p.norm() > 0 and g.norm() > 0:
                    ratio = 0.001 * p.norm() / g.norm()
            self.v[p] = self.cfg.momentum * self.v[p] + self.param_groups[0]["lr"] * ratio * g
            p -= self.v[p]


@pytest.mark.parametrize("zero", [False, True])
def test_it_trains_as_its_equations(zero: bool):
    """Also a layer that starts at 0, which has no rate of its own yet."""
    ours, theirs = network(), network()
    if zero:
        for module in (ours, theirs):
            nn.init.zeros_(module[3].weight), nn.init.ones_(module[3].bias)
    optimizer = build_optimizer(ours, CFG)
    assert isinstance(optimizer, LARS)
    train(ours, optimizer), train(theirs, Plain(theirs, CFG))  # type: ignore[arg-type]
    start = dict(network().named_parameters())
    for (name, found), (_, wanted) in zip(ours.named_parameters(), theirs.named_parameters(), strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-15)
        assert not torch.equal(found, start[name]), name


def one_step(parameter: Tensor, **fields: object) -> Tensor:
    """How a parameter changes by a gradient of ones at a rate of 1."""
    module = nn.Module()
    module.weight = nn.Parameter(parameter.clone())
    optimizer = build_optimizer(module, OptimConfig(name="lars", **{"weight_decay": 0.0, **fields}))
    module.weight.grad = torch.ones_like(parameter)
    optimizer.step()
    return module.weight.detach() - parameter


def test_a_step_is_a_share_of_the_weight_s_norm_and_never_of_a_bias_s():
    weight, bias = torch.full((3, 4), 2.0).double(), torch.full((4,), 2.0).double()
    assert float(one_step(weight).norm()) == pytest.approx(TRUST * float(weight.norm()), rel=1e-12)
    assert (one_step(bias) == -1).all() and (one_step(0 * weight) == -1).all()
    # Decay of everything does not make a rate of its own of everything.
    assert (one_step(bias, decay_all=True, weight_decay=0.5) == -2).all()
    module = nn.Linear(3, 4)
    rates = LayerRates(undecayed=frozenset({module.weight}))
    assert not any(g["adapted"] for g in build_optimizer(module, CFG, rates=rates).param_groups)


def test_parameters_without_a_gradient_stay_and_share_no_state():
    module = network()
    optimizer = build_optimizer(module, CFG)
    module[3].weight.grad = torch.ones_like(module[3].weight)
    before = {name: p.detach().clone() for name, p in module.named_parameters()}
    optimizer.step()
    moved = {name for name, p in module.named_parameters() if not torch.equal(p, before[name])}
    assert moved == {"3.weight"} and list(optimizer.state) == [module[3].weight]


def test_a_step_reads_nothing_on_the_host():
    module = network().to("meta")  # whose values cannot be read
    optimizer = build_optimizer(module, CFG)
    for parameter in module.parameters():
        parameter.grad = torch.empty_like(parameter)
    optimizer.step()
    assert len(optimizer.state) == 6
