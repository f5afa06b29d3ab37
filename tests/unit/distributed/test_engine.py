"""An engine on one process: steps that overflow are skipped, and state goes under the names of parameters."""

import pytest
import torch
from accelerate import Accelerator
from torch import nn

from semisonic.distributed.engine import Engine
from semisonic.optim.optimizer import OptimConfig
from semisonic.schema import UserError


def engine(scale: float) -> Engine:
    module = nn.Linear(2, 1)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1, momentum=0.9)
    scaler = torch.amp.GradScaler("cpu", init_scale=scale)
    names = {parameter: name for name, parameter in module.named_parameters()}
    return Engine(Accelerator(cpu=True), module, optimizer, scaler, OptimConfig(), names)


def step(made: Engine, factor: float) -> None:
    made.backward(made(torch.ones(3, 2)).sum() * factor)
    made.step()


def test_fp16_skips_a_step_that_overflows_and_gives_up_where_no_scale_helps():
    made = engine(4.0)
    step(made, 1.0)
    assert not made.skipped and not made.overflowed
    before = made.module.weight.clone()
    step(made, float("inf"))
    assert made.skipped and not made.overflowed  # the scale is 2 now
    step(made, float("inf"))
    step(made, float("inf"))
    assert made.skipped and made.overflowed and torch.equal(made.module.weight, before)
    step(made, 1.0)
    assert not made.skipped and not made.overflowed


def test_state_goes_under_parameter_names():
    made, other = engine(1.0), engine(1.0)
    step(made, 1.0)
    tensors = dict(made.state())
    assert sorted(tensors) == ["bias/momentum_buffer", "weight/momentum_buffer"]
    other.load_state(tensors)
    assert all(torch.equal(value, tensors[name]) for name, value in other.state())


def test_a_loss_scale_is_taken_over_as_a_whole():
    made, other = engine(8.0), engine(1.0)
    saved = {"network": made.scaler.state_dict()}
    other.load_scaler(saved, "network")
    assert other.scaler.state_dict() == saved["network"]
    with pytest.raises(UserError, match=r"^state\.json: scaler\.network: scale, growth_factor, .* missing"):
        other.load_scaler({"network": {}}, "network")
    with pytest.raises(UserError, match=r"^state\.json: scaler\.teacher: scale"):
        other.load_scaler(saved, "teacher")
    other.scaler = torch.amp.GradScaler("cpu", enabled=False)
    other.load_scaler({}, "network")  # without fp16 nothing is read
