"""The training loop. It knows no algorithm by name: it feeds batches, steps optimisers and keeps what a run is."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from accelerate import Accelerator
from torch import Tensor
from torch.utils._pytree import tree_map

from semisonic import __version__, state
from semisonic.algorithms.base import Algorithm, Batch, StepOutput
from semisonic.config import RunConfig
from semisonic.data.base import DataSet, Files
from semisonic.data.draws import sample_keys
from semisonic.data.pipeline import Loader, evaluation_slices
from semisonic.data.splits import Split
from semisonic.metrics import Evaluation, Meter, Throughput, evaluate
from semisonic.optim import build_optimizer, load_optimizer_state, optimizer_state, set_learning_rate
from semisonic.replay import WARM_UP_DDP, CudaGraph, Replay
from semisonic.report import Console, save_confusion
from semisonic.runtime import thread_count
from semisonic.schema import UserError
from semisonic.trackers import Tracker
from semisonic.writer import Writer
from semisonic_kernels.fuse import Kernels, set_kernels

AGREE_EVERY = 1.0
"""Seconds, about, between the moments at which several ranks agree on stopping."""


NETS = {"ema": "ema", "raw": "network"}
"""What is evaluated, and its name in the algorithm."""


class Diverged(UserError):
    """A loss was not finite."""


class Trainer:
    """Trains one algorithm on one data set; the implementation of `algorithms.base.Runner`.

    `step` counts finished optimiser steps. Everything else that changes is in the algorithm's buffers, the
    optimisers, the gradient scaler and `history`, and all of it is in every checkpoint.
    """

    def __init__(self, cfg: RunConfig, algorithm: Algorithm, data: DataSet, split: Split, accelerator: Accelerator):
        self.cfg, self.data, self.split, self.accelerator = cfg, data, split, accelerator
        self.device, self.folder = accelerator.device, cfg.folder
        self.rank, self.world_size = accelerator.process_index, accelerator.num_processes
        self.algorithm = algorithm.to(self.device)
        self.algorithm.to(memory_format=torch.channels_last)
        self.step, self.elapsed = 0, 0.0
        # The ranks agree on stopping over the host, where asking costs no wait for the device.
        self.next_vote, self.last_vote, self.voted_at = 0, 0, time.monotonic()
        self.host_group: Any = dist.new_group(backend="gloo") if self.world_size > 1 else None
        self.writer = Writer(self.folder / "checkpoints", cfg.checkpoint.keep, self.host_group)
        self.history: list[dict[str, float]] = []
        self.first_bad_step = torch.full((), -1, dtype=torch.int64, device=self.device)
        half = cfg.precision == "fp16"
        self.scalers = {role: torch.amp.GradScaler(self.device.type, enabled=half) for role in algorithm.roles}
        self.meter = Meter()
        self.names: dict[Tensor, str] = {parameter: name for name, parameter in algorithm.named_parameters()}
        self.kernels: Kernels = "reference" if cfg.kernels == "reference" else "fused" if cfg.compiled else "eager"
        self.engines: dict[str, torch.nn.Module] = {}
        self.optimizers: dict[str, Any] = {}
        self.averages_parameters = True
        """Whether the EMA moves the averages of parameters, or an optimiser does in its own step."""
        self.replay = cfg.replayed
        recorder = CudaGraph() if self.replay != "off" else None
        for role in algorithm.roles:
            module = algorithm.role_module(role)
            if cfg.compiled:
                # The bound method, not the module: keys stay clean, and DDP and DeepSpeed wrap it from outside.
                module.forward = torch.compile(module.forward, fullgraph=True, dynamic=False)
            averaged = self.averaged_by_optimizer(module)
            averages = algorithm.averaged_parameters() if averaged else None
            self.averages_parameters &= not averaged
            optimizer = build_optimizer(module, cfg.optim, averages, algorithm.ema_weight, self.replay == "step")
            prepare = partial(accelerator.prepare, module, optimizer)
            # DDP makes nodes of the autograd graph, which stay on the stream that they were made on.
            self.engines[role], self.optimizers[role] = recorder.warm_up(prepare) if recorder else prepare()
        self.advance: Callable[[Batch], StepOutput] = self.body
        self.gradients: Callable[[Batch], StepOutput] = self.compute_gradients
        if recorder and self.replay == "step":
            self.advance = Replay(self.body, recorder)
        elif recorder:
            self.gradients = Replay(self.compute_gradients, recorder, WARM_UP_DDP)

    # One step.

    def train_step(self, batch: Batch) -> StepOutput:
        """One optimiser step on the rank's share of a global batch; moves everything that a step moves.

        Where the step is replayed, the output's tensors are overwritten by the next one.
        """
        set_kernels(self.kernels)
        # Only dropout-like layers draw in a step; seeded here, they need no state in the checkpoint.
        torch.manual_seed(int(sample_keys(self.cfg.seed, f"step/{self.rank}", np.array([self.step]))[0]))
        output = self.advance(batch)
        self.step += 1
        return output

    def body(self, batch: Batch) -> StepOutput:
        """All that a step does on the device, from tensors on the device alone, so that it can be replayed."""
        self.algorithm.train()
        for optimizer in self.optimizers.values():
            set_learning_rate(optimizer, self.cfg.optim, self.algorithm.step, self.cfg.steps)
        scales = [scaler.get_scale() for scaler in self.scalers.values()]
        output = self.gradients(batch)
        if self.replay == "backward":
            self.take_step("network")
        bad = ~torch.isfinite(output.loss.detach()) & (self.first_bad_step < 0)
        self.first_bad_step.copy_(torch.where(bad, self.algorithm.step, self.first_bad_step))
        skipped = any(s.get_scale() < before for s, before in zip(self.scalers.values(), scales, strict=True))
        if not skipped:
            with torch.no_grad():
                self.algorithm.update(self.gather(output.observed))
                self.algorithm.update_ema(self.averages_parameters)
        self.algorithm.step += 1
        self.meter.add({"loss": output.loss, **output.metrics})
        return output

    def compute_gradients(self, batch: Batch) -> StepOutput:
        """The algorithm's step; without the optimiser's where only forward and backward are replayed."""
        if self.replay == "backward":
            self.optimizers["network"].zero_grad()
        return self.algorithm.train_step(batch, self)

    def averaged_by_optimizer(self, module: torch.nn.Module) -> bool:
        """Whether the optimiser of a role's module moves the averages of the network's parameters in its own pass."""
        cfg, own = self.cfg, set(module.parameters())
        fits = cfg.optim.name == "sgd" and cfg.precision != "fp16" and cfg.kernels == "fused"
        return fits and self.device.type == "cuda" and own.issuperset(self.algorithm.averaged_parameters())

    def micro_batches(self, batch: Batch) -> list[Batch]:
        count = self.cfg.batch.micro
        if count == 1:
            return [batch]
        return [tree_map(lambda value, k=k: value.tensor_split(count)[k], batch) for k in range(count)]

    def forward(self, role: str, *args: Any) -> Any:
        return self.engines[role](*args)

    def backward(self, role: str, loss: Tensor) -> None:
        # Not Accelerate's, which divides by a number of accumulation steps from the environment.
        self.scalers[role].scale(loss).backward()

    def accumulate(self, role: str, last: bool) -> AbstractContextManager[None]:
        return nullcontext() if last else self.accelerator.no_sync(self.engines[role])

    def optimizer_step(self, role: str) -> None:
        if self.replay != "backward":
            self.take_step(role)
            self.optimizers[role].zero_grad()

    def take_step(self, role: str) -> None:
        optimizer, scaler = self.optimizers[role], self.scalers[role]
        if self.cfg.optim.clip is not None:
            scaler.unscale_(optimizer)
            torch.nn.utils.clip_grad_norm_(self.engines[role].parameters(), self.cfg.optim.clip)
        scaler.step(optimizer)
        scaler.update()

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

    # The loop.

    def fit(self, console: Console, stop: Callable[[], str | None]) -> str | None:
        """Trains to the last step. Returns why `stop` had it end early, or None at the end."""
        cfg = self.cfg
        begin, before = time.perf_counter(), self.elapsed
        loader, throughput = self.loader(), Throughput(self.images_per_step)
        tracker = Tracker(self.accelerator, cfg, self.folder, self.step)
        if tracker.discarded:
            console.print(f"{tracker.discarded} lines, later or damaged, moved to metrics.discarded.jsonl")
        self.writer.say = console.print
        console.print(f"Batches: {loader.describe()}")
        reason = None
        with console.progress(cfg.steps, self.step) as progress:
            while self.step < cfg.steps and reason is None:
                self.train_step(next(loader))
                throughput.steps += 1
                progress.stepped(self.step)
                self.elapsed = before + time.perf_counter() - begin
                last = self.step == cfg.steps
                logged = last or self.step % cfg.log.every == 0
                if logged:
                    figures = self.read() | throughput.read(loader.wait_seconds)
                    self.log(tracker, figures)
                with throughput.paused():
                    if last or self.step % cfg.eval.every == 0:
                        self.log(tracker, self.evaluate_all())
                        progress.evaluated(self.history[-1])
                    if logged:
                        progress.trained(self.step, figures)
                    reason = self.agree(stop())
                    if last or reason or self.step % cfg.checkpoint.every == 0 or self.best_step == self.step:
                        self.save()
                    if last or reason:
                        self.writer.finish()
                    for written in self.writer.written():
                        progress.saved(written)
        tracker.close()
        return reason if self.step < cfg.steps else None

    def log(self, tracker: Tracker, figures: dict[str, Any]) -> None:
        with self.writer.guard(tracker.path):
            tracker.log(self.step, figures)

    @property
    def images_per_step(self) -> int:
        views, batch = self.algorithm.views(self.cfg.algorithm), self.cfg.batch
        return (batch.labelled if views.labelled else 0) + (batch.unlabelled if views.unlabelled else 0)

    def loader(self) -> Loader:
        cfg = self.cfg
        return Loader(
            self.data, self.split, self.algorithm.views(cfg.algorithm), cfg.loading, cfg.seed, cfg.batch.labelled,
            cfg.batch.unlabelled, self.device, self.rank, self.world_size, self.step, thread_count(cfg),
            cfg.batch.micro,
        )  # fmt: skip

    def read(self) -> dict[str, float]:
        """The training figures since the last reading; waits for the device."""
        figures = {f"train/{name}": value for name, value in self.meter.read().items()}
        self.check_finite()
        optimizer = next(iter(self.optimizers.values()))
        return figures | {"lr": float(optimizer.param_groups[0]["lr"])}

    def agree(self, reason: str | None) -> str | None:
        """Why to stop now, the same on every rank; several ranks ask each other every few steps only."""
        if self.host_group is None:
            if self.writer.failed:
                self.writer.finish()
            return reason
        if self.step < self.next_vote:
            return None
        codes = [None, "max_hours", *(number.name for number in state.Preemption.SIGNALS)]
        now = time.monotonic()
        vote = torch.tensor([codes.index(reason), now - self.voted_at, self.writer.failed], dtype=torch.float64)
        dist.all_reduce(vote, dist.ReduceOp.MAX, group=self.host_group)
        code, seconds, failed = vote.tolist()
        if failed:
            self.writer.finish()
        # The next vote is due after as many steps as take about a second: the same number on every rank.
        pace = seconds / max(1, self.step - self.last_vote)
        self.last_vote, self.voted_at = self.step, now
        self.next_vote = self.step + max(1, min(100, int(AGREE_EVERY / pace)))
        return codes[int(code)]

    def check_finite(self) -> None:
        bad = self.first_bad_step.clone()
        if self.world_size > 1:
            bad = torch.where(bad < 0, torch.iinfo(torch.int64).max, bad)
            dist.all_reduce(bad, dist.ReduceOp.MIN)
            bad = torch.where(bad == torch.iinfo(torch.int64).max, -1, bad)
        if int(bad) >= 0:
            self.writer.settle()
            good = state.latest(self.folder / "checkpoints")
            raise Diverged(
                f"the loss or the weights were not finite at step {int(bad)}; nothing was saved since. "
                + (f"{good} is good: --resume replays from it" if good else "There is no checkpoint before it")
                + "; if it happens again, lower optim.lr, set optim.clip or use precision fp32"
            )

    # Evaluation.

    def evaluate(self, net: str, which: str) -> Evaluation:
        """Evaluates `net` ("raw" or "ema") on the "test" or "held_out" images."""
        images, rows = self.data.test, np.arange(len(self.data.test.labels))
        if which == "held_out":
            images, rows = self.data.train, self.split.held_out
        slices = evaluation_slices(
            self.data, images, rows, self.cfg.eval.batch, self.cfg.data, self.device, self.rank, self.world_size,
            thread_count(self.cfg),
        )  # fmt: skip
        self.algorithm.eval()
        return evaluate(lambda x: self.algorithm.infer(x, NETS[net]), slices, len(self.data.classes))

    def evaluate_all(self) -> dict[str, Any]:
        """Evaluates both networks, extends the history and returns what is logged."""
        figures: dict[str, Any] = {}
        for which in ("test", "held_out")[: 2 if len(self.split.held_out) else 1]:
            prefix = "eval" if which == "test" else which
            for net in NETS:
                result = self.evaluate(net, which)
                name = prefix if net == "ema" else f"{prefix}_raw"
                figures |= {f"{name}/{key}": value for key, value in result.scalars().items()}
                if which == "test" and net == "ema":
                    figures["eval/per_class"] = result.per_class
                    if self.accelerator.is_main_process and self.step == self.cfg.steps:
                        picture = self.folder / "confusion.png"
                        with self.writer.guard(picture):
                            save_confusion(picture, result.confusion, self.data.classes)
        scalars = {key: value for key, value in figures.items() if not isinstance(value, list)}
        self.history.append({"step": self.step, **scalars})
        return figures

    @property
    def best_step(self) -> int | None:
        """The first evaluation with the best accuracy on the held-out images; its checkpoint is kept."""
        if not self.history or not len(self.split.held_out):
            return None
        return int(max(self.history, key=lambda entry: entry["held_out/top1"])["step"])

    # Checkpoints.

    def save(self) -> None:
        """Has a checkpoint of this moment written while the training goes on; `writer.finish` waits for it."""
        # A finite loss can have had gradients that were not: the weights of the last step decide.
        finite = torch.stack([parameter.isfinite().all() for parameter in self.algorithm.parameters()]).all()
        bad = ~finite & (self.first_bad_step < 0)
        self.first_bad_step.copy_(torch.where(bad, self.step - 1, self.first_bad_step))
        self.check_finite()
        # No barrier: every rank is past this step, and rank 0 holds all that is written. Its last write is waited for.
        self.writer.finish()
        if self.accelerator.is_main_process:
            optimizer: dict[str, Tensor] = {}
            for role, prepared in self.optimizers.items():
                tensors = optimizer_state(prepared, self.names)
                optimizer |= {f"{role}/{name}": value for name, value in tensors.items()}
            checkpoint = state.Checkpoint(self.algorithm.state_dict(), optimizer, self.description(), self.cfg.dump())
            self.writer.submit(self.step, checkpoint, self.best_step)

    def description(self) -> dict[str, Any]:
        """state.json: where the run stands, and what `semisonic.load` needs to use the network without the data set."""
        return {
            "version": __version__,
            "step": self.step,
            "elapsed": self.elapsed,
            "world_size": self.world_size,
            "split": self.split.hash,
            "history": self.history,
            "scaler": {role: scaler.state_dict() for role, scaler in self.scalers.items()},
            "classes": list(self.data.classes),
            "image_size": self.data.size,
            "preprocess": {
                "view": "plain" if isinstance(self.data.train, Files) else "whole",
                "border": self.data.border,
            },
            "mean": list(self.data.mean),
            "std": list(self.data.std),
            "algorithm": self.cfg.algorithm.name,
            "model": self.cfg.model.model_dump(mode="json"),
        }

    def restore(self, checkpoint: state.Checkpoint) -> None:
        """Continues from a checkpoint, which may come from another world size."""
        if checkpoint.state["split"] != self.split.hash:
            raise UserError("data: the split differs from the checkpoint's; resume with the same data and split")
        self.algorithm.load_state_dict(checkpoint.model)
        for role, optimizer in self.optimizers.items():
            own = {k.removeprefix(f"{role}/"): v for k, v in checkpoint.optimizer.items() if k.startswith(f"{role}/")}
            load_optimizer_state(optimizer, self.names, own)
        for role, scaler in self.scalers.items():
            scaler.load_state_dict(checkpoint.state["scaler"][role])
        self.step, self.elapsed = checkpoint.state["step"], checkpoint.state["elapsed"]
        self.history = checkpoint.state["history"]
