"""Run by the tests on one or several ranks: trains a network with dropout, its forward and backward replayed, and writes
what each rank drew in each step beside what it should have drawn.

    draws.py OUT FIELDS

OUT.RANK.pt holds `found` and `expected` [steps, images, features], true where a feature was kept, and `state`, the
algorithm's. On the CPU, where there are no CUDA graphs, the recorder is one that runs the action again.
"""

import os
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._pytree import tree_leaves, tree_map

from semisonic.config.command_line import resolve
from semisonic.data.loading.draws import sample_keys
from semisonic.training import step as training_step
from semisonic.training.build import build_trainer
from semisonic.training.cuda_graph import WARM_UP_DDP
from semisonic.training.trainer import Trainer
from tests.support.trainers import FIELDS

RATE = 0.5
HOST_WARM_UP = 2
HOST_STEPS = 6
GPU_STEPS = WARM_UP_DDP + 5


class HostGraph:
    """A recorder without a device: a replay runs the action and leaves its results in the tensors of the recording."""

    def warm_up(self, action: Callable[[], Any]) -> Any:
        result = action()
        self.results = tree_map(lambda value: value.detach().clone() if isinstance(value, Tensor) else value, result)
        return result

    def capture(self, action: Callable[[], Any]) -> Any:
        self.action = action
        return self.results

    def replay(self) -> None:
        for fixed, value in zip(tree_leaves(self.results), tree_leaves(self.action()), strict=True):
            if isinstance(value, Tensor):
                fixed.copy_(value.detach())


class Draws:
    """Draws numbers for dropout in every training forward of a layer, before the layer's own, and keeps them."""

    def __init__(self, layer: nn.Module):
        self.kept: Tensor | None = None
        layer.register_forward_pre_hook(self)

    def __call__(self, layer: nn.Module, given: tuple[Tensor, ...]) -> None:
        if layer.training:
            drawn = draw(given[0].detach())
            if self.kept is None:
                self.kept = torch.zeros_like(drawn)
            self.kept.copy_(drawn)  # in place: a replay writes to the same tensor


def draw(like: Tensor) -> Tensor:
    return F.dropout(torch.ones_like(like), RATE, True) > 0


def train(trainer: Trainer, steps: int) -> dict[str, Any]:
    draws, found = Draws(trainer.algorithm.network.head), []
    loader = trainer.loader()
    for _ in range(steps):
        trainer.training_step(next(loader))
        assert draws.kept is not None
        found.append(draws.kept.clone())
    expected = []
    for step in range(steps):
        # A rank's numbers of a step, from its key alone, with nothing drawn before in the step.
        torch.manual_seed(int(sample_keys(trainer.cfg.seed, f"step/{trainer.rank.rank}", np.array([step]))[0]))
        expected.append(draw(found[step].float()))
    own = {name: value.cpu() for name, value in trainer.algorithm.state_dict().items()}
    return {"found": torch.stack(found).cpu(), "expected": torch.stack(expected).cpu(), "state": own}


def main(out: str, *fields: str) -> None:
    cfg, steps = resolve([*FIELDS, "--out", out, "--model.dropout", str(RATE), *fields])[1], GPU_STEPS
    if cfg.torch_device == "cpu":
        training_step.CudaGraph, training_step.WARM_UP_DDP = HostGraph, HOST_WARM_UP
        cfg, steps = cfg.model_copy(update={"replay": "backward"}), HOST_STEPS  # the command line refuses it on a CPU
    torch.save(train(build_trainer(cfg), steps), f"{out}.{os.environ.get('RANK', '0')}.pt")
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:])
