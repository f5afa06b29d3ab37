"""One optimiser step of any algorithm in this process, through its `train_step`."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from semisonic.algorithms.base import Algorithm
from semisonic.contract import Batch, StepOutput, cut


class Runner:
    """What the trainer offers to `Algorithm.train_step`, with plain SGD for each role, and the step around it."""

    def __init__(self, algorithm: Algorithm, lr: float = 0.05, micro: int = 1):
        self.algorithm, self.micro = algorithm, micro
        self.modules = {role: algorithm.role_module(role) for role in algorithm.roles}
        self.optimizers = {
            role: torch.optim.SGD(module.parameters(), lr=lr, momentum=0.9) for role, module in self.modules.items()
        }
        self.gradients: dict[str, Tensor] = {}
        """Of the last step, by parameter name."""

    def step(self, batch: Batch, train: bool = True) -> StepOutput:
        """All that the trainer does for one batch. `train=False` leaves BatchNorm as it is."""
        if train:
            self.algorithm.train()
        self.gradients = {}
        torch.manual_seed(int(self.algorithm.step))  # for dropout
        output = self.algorithm.train_step(batch, self)
        with torch.no_grad():
            self.algorithm.update(output.observed)
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

    # `contract.Runner`

    def micro_batches(self, batch: Batch) -> list[Batch]:
        return cut(batch, self.micro)

    def forward(self, role: str, *args: Any) -> Any:
        return self.modules[role](*args)

    def backward(self, role: str, loss: Tensor) -> None:
        loss.backward()

    @contextmanager
    def accumulate(self, role: str, last: bool) -> Iterator[None]:
        yield

    def mean(self, value: Tensor) -> Tensor:
        return value.detach()

    def optimizer_step(self, role: str) -> None:
        names = {parameter: name for name, parameter in self.algorithm.named_parameters()}
        for parameter in self.modules[role].parameters():
            if parameter.grad is not None:
                self.gradients[names[parameter]] = parameter.grad.clone()
        self.optimizers[role].step()
        self.optimizers[role].zero_grad()
