"""One optimiser step over the ranks: compiled, wrapped, replayed; from a batch to the algorithm's new state."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor

from semisonic.algorithms.base import Algorithm
from semisonic.algorithms.ctaugment import CTAugmentRates
from semisonic.config import RunConfig
from semisonic.contract import Batch, StepOutput, cut
from semisonic.data.draws import sample_keys
from semisonic.data.feedback import Feedback
from semisonic.metrics import Meter
from semisonic.models.blocks import use_blocks
from semisonic.optim import OptimConfig, build_optimizer, set_learning_rate
from semisonic.parallel import Engine, ZeroEngine, offloads_optimizer, read_deepspeed, set_role
from semisonic.replay import WARM_UP_DDP, CudaGraph, Replay
from semisonic_kernels.fuse import Kernels, set_kernels


class Stepper:
    """Steps an algorithm; the implementation of `contract.Runner`.

    `step` counts finished optimiser steps. Everything else that changes is in the algorithm's buffers, the optimisers
    and the gradient scalers.
    """

    def __init__(self, cfg: RunConfig, algorithm: Algorithm, accelerator: Accelerator):
        self.cfg, self.accelerator, self.device = cfg, accelerator, accelerator.device
        self.rank, self.world_size = accelerator.process_index, accelerator.num_processes
        self.algorithm = algorithm.to(self.device)
        if not cfg.zero_stage:  # DeepSpeed lays all parameters out one after the other, and takes contiguous ones only
            self.algorithm.to(memory_format=torch.channels_last)
        self.step = 0
        self.first_bad_step = torch.full((), -1, dtype=torch.int64, device=self.device)
        self.meter = Meter()
        self.names: dict[Tensor, str] = {parameter: name for name, parameter in algorithm.named_parameters()}
        self.kernels: Kernels = "reference" if cfg.kernels == "reference" else "fused" if cfg.compiled else "eager"
        self.averages_parameters = True
        """Whether the EMA moves the averages of parameters, or an optimiser does in its own step."""
        rates = getattr(self.algorithm, "augment", None)
        self.feedback = Feedback(rates) if isinstance(rates, CTAugmentRates) else None
        self.replay = cfg.replayed
        recorder = CudaGraph() if self.replay != "off" else None
        if cfg.recompute or cfg.graphs == "blocks":
            use_blocks(algorithm, cfg.recompute, cfg.graphs == "blocks")
        self.engines: dict[str, Engine] = {}
        self.optims = {role: algorithm.role_optim(role, cfg.optim) for role in algorithm.roles}
        for role in algorithm.roles:
            module = algorithm.role_module(role)
            if cfg.graphs == "whole":
                # True: under DDP the compiler cuts the graph where the buckets of gradients end.
                torch._dynamo.config.optimize_ddp = not algorithm.inner_gradients
                # The bound method, not the module: keys stay clean, and DDP and DeepSpeed wrap it from outside.
                module.forward = torch.compile(module.forward, fullgraph=True, dynamic=False)
            prepare = partial(self.prepare, module, self.optims[role])
            # DDP makes nodes of the autograd graph, which stay on the stream that they were made on.
            self.engines[role] = recorder.warm_up(prepare) if recorder else prepare()
        self.partitioned = any(engine.partitioned for engine in self.engines.values())
        self.advance: Callable[[Batch], StepOutput] = self.body
        self.gradients: Callable[[Batch], StepOutput] = self.compute_gradients
        if recorder and self.replay == "step":
            self.advance = Replay(self.body, recorder)
        elif recorder:
            self.gradients = Replay(self.compute_gradients, recorder, WARM_UP_DDP)

    def prepare(self, module: torch.nn.Module, optim: OptimConfig) -> Engine:
        """A role's module and its optimiser, wrapped for the ranks."""
        cfg, zero, accelerator = self.cfg, read_deepspeed(self.cfg.parallel), self.accelerator
        if zero is not None:
            if self.engines:
                accelerator = Accelerator()  # it takes over all settings; one holds one engine of DeepSpeed's
            share = (cfg.batch.labelled + cfg.batch.unlabelled) // (self.world_size * cfg.batch.micro)
            set_role(accelerator, optim.clip, cfg.batch.micro, share)
        averaged = zero is None and self.averaged_by_optimizer(module, optim)
        averages = self.algorithm.averaged_parameters() if averaged else None
        self.averages_parameters &= not averaged
        optimizer = build_optimizer(
            module, optim, averages, self.algorithm.ema_weight, self.replay == "step", offloads_optimizer(zero)
        )
        scaler = torch.amp.GradScaler(self.device.type, enabled=cfg.precision == "fp16")
        kind = Engine if zero is None else ZeroEngine
        return kind(accelerator, module, optimizer, scaler, optim.clip, self.names)

    def train_step(self, batch: Batch) -> StepOutput:
        """One optimiser step on the rank's share of a global batch; moves everything that a step moves.

        Where the step is replayed, the output's tensors are overwritten by the next one.
        """
        set_kernels(self.kernels)
        # Only dropout-like layers draw in a step; seeded here, they need no state in the checkpoint.
        torch.manual_seed(int(sample_keys(self.cfg.seed, f"step/{self.rank}", np.array([self.step]))[0]))
        output = self.advance(batch)
        self.step += 1
        if self.feedback:
            self.feedback.send(self.step)
        return output

    def body(self, batch: Batch) -> StepOutput:
        """All that a step does on the device, from tensors on the device alone, so that it can be replayed."""
        self.algorithm.train()
        for role, engine in self.engines.items():
            set_learning_rate(engine.param_groups, self.optims[role], self.algorithm.step, self.cfg.steps)
        output = self.gradients(batch)
        if self.replay == "backward":
            self.engines["network"].step()
        bad = ~torch.isfinite(output.loss.detach())
        if any(engine.overflowed() for engine in self.engines.values()):
            bad = torch.ones_like(bad)
        first = torch.where(bad & (self.first_bad_step < 0), self.algorithm.step, self.first_bad_step)
        self.first_bad_step.copy_(first)
        if not any(engine.skipped for engine in self.engines.values()):
            self.update(output.observed)
        self.algorithm.step += 1
        self.meter.add({"loss": output.loss, **output.metrics})
        return output

    @torch.no_grad()
    def update(self, observed: dict[str, Tensor]) -> None:
        """What follows an optimiser's step: the algorithm's own state, and the average of the network."""
        self.algorithm.update(self.gather(observed))
        with self.whole_parameters():
            self.algorithm.update_ema(self.averages_parameters)

    def compute_gradients(self, batch: Batch) -> StepOutput:
        """The algorithm's step; without the optimiser's where only forward and backward are replayed."""
        if self.replay == "backward":
            self.engines["network"].zero_grad()
        return self.algorithm.train_step(batch, self)

    def averaged_by_optimizer(self, module: torch.nn.Module, optim: OptimConfig) -> bool:
        """Whether the optimiser of a role's module moves the averages of the network's parameters in its own pass."""
        cfg, own = self.cfg, set(module.parameters())
        fits = optim.name == "sgd" and cfg.precision != "fp16" and cfg.kernels == "fused"
        return fits and self.device.type == "cuda" and own.issuperset(self.algorithm.averaged_parameters())

    def micro_batches(self, batch: Batch) -> list[Batch]:
        return cut(batch, self.cfg.batch.micro)

    def forward(self, role: str, *args: Any) -> Any:
        engine = self.engines[role]
        # DDP and DeepSpeed expect a backward after each forward; without gradients there is none.
        return engine(*args) if torch.is_grad_enabled() else engine.module(*args)

    def backward(self, role: str, loss: Tensor) -> None:
        self.engines[role].backward(loss)

    def accumulate(self, role: str, last: bool) -> AbstractContextManager[None]:
        return self.engines[role].accumulate(last)

    def optimizer_step(self, role: str) -> None:
        if self.replay != "backward":
            self.engines[role].step()
            self.engines[role].zero_grad()

    def mean(self, value: Tensor) -> Tensor:
        return self.accelerator.reduce(value.detach(), reduction="mean")

    def gather(self, observed: dict[str, Tensor]) -> dict[str, Tensor]:
        """Every rank's tensors in global-sample order: a step's micro-batches are cut before its ranks."""
        if self.world_size == 1:
            return observed
        gathered = {}
        for name, value in observed.items():
            everywhere = self.accelerator.gather(value)
            if value.ndim == 0:
                gathered[name] = everywhere.double().mean().to(value.dtype)
            else:
                parts = everywhere.unflatten(0, (self.world_size, self.cfg.batch.micro, -1))
                gathered[name] = parts.transpose(0, 1).flatten(0, 2)
        return gathered

    @contextmanager
    def whole_parameters(self, write: bool = False) -> Iterator[None]:
        """Inside, parameters that are spread over the ranks are whole; `write` keeps what rank 0 changes."""
        with ExitStack() as stack:
            for engine in self.engines.values():
                stack.enter_context(engine.whole_parameters(write))
            yield
