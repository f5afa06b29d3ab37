"""torch's optimizers without its compiler: the same steps and states, and nothing of it imported."""

import subprocess
import sys

import pytest
import torch

from semisonic.optim import without_compiler
from semisonic.optim.optimizer import OptimConfig, build_optimizer, set_learning_rate

ALONE = """
import sys, torch
from semisonic.optim.optimizer import OptimConfig, build_optimizer
for name in ("sgd", "adamw", "lars"):
    module = torch.nn.Linear(2, 2)
    optimizer = build_optimizer(module, OptimConfig(name=name))
    module(torch.ones(2, 2)).sum().backward()
    optimizer.step()
    optimizer.load_state_dict(optimizer.state_dict())
    optimizer.zero_grad()
    assert all(parameter.grad is None for parameter in module.parameters())
print([name for name in ("torch._dynamo", "torch._inductor", "sympy") if name in sys.modules])
"""


def test_none_imports_the_compiler():
    done = subprocess.run([sys.executable, "-c", ALONE], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr[-500:]


@pytest.mark.parametrize(("name", "plain"), [("sgd", torch.optim.SGD), ("adamw", torch.optim.AdamW)])
def test_steps_are_torch_s_own_bit_for_bit(name: str, plain: type[torch.optim.Optimizer]):
    torch.manual_seed(0)
    cfg = OptimConfig(name=name, weight_decay=0.1)
    modules = [torch.nn.Linear(3, 4) for _ in range(2)]
    modules[1].load_state_dict(modules[0].state_dict())
    own = build_optimizer(modules[0], cfg)
    assert type(own) is getattr(without_compiler, plain.__name__) and isinstance(own, plain)
    groups = [{k: v for k, v in group.items() if k != "params"} for group in own.param_groups]
    weights = [[parameter for parameter in modules[1].parameters() if (parameter.ndim > 1) == (place == 0)]
               for place in range(2)]  # fmt: skip
    torch_s = plain([{**group, "params": part} for group, part in zip(groups, weights, strict=True)])
    for step in range(3):
        set_learning_rate(own.param_groups, cfg, torch.tensor(step), 3)
        x = torch.randn(5, 3)
        for module, optimizer in zip(modules, (own, torch_s), strict=True):
            module(x).square().sum().backward()
            optimizer.step()
            optimizer.zero_grad()
    assert all(torch.equal(a, b) for a, b in zip(modules[0].parameters(), modules[1].parameters(), strict=True))
    assert all(parameter.requires_grad and parameter.grad is None for parameter in modules[0].parameters())
    states = own.state_dict()["state"], torch_s.state_dict()["state"]
    assert states[0].keys() == states[1].keys() and len(states[0]) == 2
