"""Optimizers: one that averages trains as torch's own with the EMA after it, and rates are tensors."""

from pathlib import Path

import torch

from semisonic.optim.optimizer import AveragingSGD, OptimConfig, build_optimizer
from tests.support.trainers import make_trainer


def test_the_averaging_optimizer_trains_as_torch_s_and_the_ema_do(tmp_path: Path):
    """On the CPU with the kernel interpreted; on CUDA the trainer chooses it by itself."""
    threshold = ("--algorithm.threshold", "0.12")
    plain, fused = (make_trainer(tmp_path / name, *threshold) for name in ("plain", "fused"))
    algorithm = fused.algorithm
    options = (algorithm.averaged_parameters(), algorithm.ema_weight)
    optimizer = build_optimizer(algorithm, fused.cfg.optim, *options)
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
