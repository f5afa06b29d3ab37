"""Optimizers: one that averages trains as torch's own with the EMA after it, and rates are tensors."""

from pathlib import Path

import pytest
import torch

from semisonic.optim.optimizer import (
    KEPT,
    AveragingSGD,
    OptimConfig,
    build_optimizer,
    load_optimizer_state,
    optimizer_state,
)
from semisonic.schema import UserError
from semisonic.training.layer_rates import layer_rates
from tests.support.trainers import make_trainer


@pytest.mark.parametrize("rates", [(), ("--optim.backbone-lr", "0.1")], ids=["one rate", "two rates"])
def test_the_averaging_optimizer_trains_as_torch_s_and_the_ema_do(rates: tuple[str, ...], tmp_path: Path):
    """On the CPU with the kernel interpreted; on CUDA the trainer chooses it by itself."""
    threshold = ("--algorithm.threshold", "0.12")
    plain, fused = (make_trainer(tmp_path / name, *threshold, *rates) for name in ("plain", "fused"))
    algorithm, optim = fused.algorithm, fused.cfg.optim
    options = (algorithm.averaged_parameters(), algorithm.ema_weight)
    optimizer = build_optimizer(algorithm, optim, *options, rates=layer_rates(algorithm, optim))
    assert isinstance(optimizer, AveragingSGD)
    step = fused.training_step
    step.engines["network"].optimizer, step.averages_parameters = fused.accelerator.prepare(optimizer), False
    for trainer in (plain, fused):
        loader = trainer.loader()
        for _ in range(4):
            trainer.training_step(next(loader))
    torch.testing.assert_close(algorithm.state_dict(), plain.algorithm.state_dict(), rtol=1e-4, atol=1e-6)
    moved = algorithm.averaged_parameters()
    assert all(not torch.equal(parameter, average) for parameter, average in moved.items())


def test_adamw_reads_its_rate_from_a_tensor():
    layer = torch.nn.Linear(3, 2)
    optimizer = build_optimizer(layer, OptimConfig(name="adamw"))
    assert all(torch.is_tensor(group["lr"]) for group in optimizer.param_groups)


@pytest.mark.parametrize("name", KEPT)
def test_state_is_that_of_the_optimizer_and_its_parameters(name: str):
    layer = torch.nn.Linear(3, 2)
    names = {parameter: path for path, parameter in layer.named_parameters()}
    first = build_optimizer(layer, OptimConfig(name=name))
    layer(torch.ones(1, 3)).sum().backward()
    first.step()
    tensors = optimizer_state(first, names)
    keys = KEPT[name]
    assert {path.rpartition("/")[2] for path in tensors} == set(keys)

    def load(**change: torch.Tensor) -> None:
        load_optimizer_state(build_optimizer(layer, OptimConfig(name=name)), names, {**tensors, **change}, keys)

    load()
    for change, message in {
        f"other/{keys[0]}": "other/.* is of no parameter",
        "bias/other": f"bias/other is of another optimizer; this run's has {keys[0]}",
        f"bias/{keys[-1]}": r"bias/.* is torch.float32 \[5\]; this run's is torch.float32 \[2\]",
    }.items():
        with pytest.raises(UserError, match=f"^optimizer.safetensors: {message}"):
            load(**{change: torch.zeros(5)})
    with pytest.raises(UserError, match=r"is torch.float16 \[2\]"):
        load(**{f"bias/{keys[-1]}": torch.zeros(2, dtype=torch.float16)})
    if len(keys) > 1:
        del tensors[f"bias/{keys[0]}"]
        with pytest.raises(UserError, match=f"^optimizer.safetensors: bias/{keys[0]} is missing"):
            load()
