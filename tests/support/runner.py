"""One optimizer step of any algorithm in this process, through its `train_step`."""

from typing import Any

import torch
from torch import Tensor, nn

from semisonic import contract
from semisonic.algorithms.base import Algorithm
from semisonic.contract import Batch, StepOutput


class Engine(contract.BareEngine):
    """One role's module with plain SGD. `gradients` collects those of a step, by parameter name."""

    def __init__(self, module: nn.Module, lr: float, names: dict[Tensor, str], gradients: dict[str, Tensor]):
        super().__init__(module)
        self.optimizer = torch.optim.SGD(module.parameters(), lr=lr, momentum=0.9)
        self.names, self.gradients = names, gradients

    def step(self) -> None:
        for parameter in self.module.parameters():
            if parameter.grad is not None:
                self.gradients[self.names[parameter]] = parameter.grad.clone()
        self.optimizer.step()
        self.optimizer.zero_grad()


class Runner(contract.Runner):
    """What a step is taken with, and the step around it."""

    def __init__(self, algorithm: Algorithm, lr: float = 0.05, micro: int = 1):
        self.algorithm = algorithm
        self.gradients: dict[str, Tensor] = {}
        """Of the last step, by parameter name."""
        names = {parameter: name for name, parameter in algorithm.named_parameters()}
        modules = {role: algorithm.role_module(role) for role in algorithm.roles}
        super().__init__({r: Engine(module, lr, names, self.gradients) for r, module in modules.items()}, micro)
        self.optimizers = {role: engine.optimizer for role, engine in self.engines.items()}

    def step(self, batch: Batch, train: bool = True) -> StepOutput:
        """All that the trainer does for one batch. `train=False` leaves BatchNorm as it is."""
        if train:
            self.algorithm.train()
        self.gradients.clear()
        torch.manual_seed(int(self.algorithm.step))  # for dropout
        output = self.algorithm.train_step(batch, self)
        with torch.no_grad():
            self.algorithm.commit(output.observed)
            self.algorithm.update_ema()
        self.algorithm.step += 1
        return output

    def set_rate(self, rate: float) -> None:
        for optimizer in self.optimizers.values():
            for group in optimizer.param_groups:
                group["lr"] = rate

    def state(self) -> dict[str, Any]:
        return {"algorithm": self.algorithm.state_dict()} | {r: o.state_dict() for r, o in self.optimizers.items()}

    def load(self, state: dict[str, Any]) -> None:
        self.algorithm.load_state_dict(state["algorithm"])
        for role, optimizer in self.optimizers.items():
            optimizer.load_state_dict(state[role])
