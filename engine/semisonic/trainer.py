"""The training loop. It knows no algorithm by name: it feeds batches, steps optimisers and keeps what a run is."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from datetime import timedelta
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
from semisonic.divergence import check_equal, check_finite, equal_tensors
from semisonic.health import DATA, EVALUATING, FIGURES, FINISHING, SAVING, STEP, Pulse, patience
from semisonic.metrics import Evaluation, Meter, Throughput, evaluate
from semisonic.models.blocks import use_blocks
from semisonic.optim import build_optimizer, set_learning_rate
from semisonic.parallel import Engine, ZeroEngine, offloads_optimizer, read_deepspeed, set_batch
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


class Trainer:
    """Trains one algorithm on one data set; the implementation of `algorithms.base.Runner`.

    `step` counts finished optimiser steps. Everything else that changes is in the algorithm's buffers, the
    optimisers, the gradient scaler and `history`, and all of it is in every checkpoint.
    """

    def __init__(
        self,
        cfg: RunConfig,
        algorithm: Algorithm,
        data: DataSet,
        split: Split,
        accelerator: Accelerator,
        pulse: Pulse | None = None,
    ):
        self.cfg, self.data, self.split, self.accelerator = cfg, data, split, accelerator
        self.device, self.folder = accelerator.device, cfg.folder
        self.rank, self.world_size = accelerator.process_index, accelerator.num_processes
        self.algorithm = algorithm.to(self.device)
        if not cfg.zero_stage:  # DeepSpeed lays all parameters out one after the other, and takes contiguous ones only
            self.algorithm.to(memory_format=torch.channels_last)
        self.step, self.elapsed = 0, 0.0
        self.pulse = pulse or Pulse()
        # The ranks agree on stopping over the host, where asking costs no wait for the device.
        self.next_vote, self.last_vote, self.voted_at = 0, 0, time.monotonic()
        self.host_group: Any = None
        if self.world_size > 1:
            self.host_group = dist.new_group(backend="gloo", timeout=timedelta(seconds=patience(cfg.health)))
        self.writer = Writer(self.folder / "checkpoints", cfg.checkpoint.keep, self.host_group)
        self.history: list[dict[str, float]] = []
        self.first_bad_step = torch.full((), -1, dtype=torch.int64, device=self.device)
        self.meter = Meter()
        self.names: dict[Tensor, str] = {parameter: name for name, parameter in algorithm.named_parameters()}
        self.kernels: Kernels = "reference" if cfg.kernels == "reference" else "fused" if cfg.compiled else "eager"
        self.engines: dict[str, Engine] = {}
        self.averages_parameters = True
        """Whether the EMA moves the averages of parameters, or an optimiser does in its own step."""
        self.replay = cfg.replayed
        recorder = CudaGraph() if self.replay != "off" else None
        if cfg.recompute or cfg.graphs == "blocks":
            use_blocks(algorithm, cfg.recompute, cfg.graphs == "blocks")
        for role in algorithm.roles:
            module = algorithm.role_module(role)
            if cfg.graphs == "whole":
                # The bound method, not the module: keys stay clean, and DDP and DeepSpeed wrap it from outside.
                module.forward = torch.compile(module.forward, fullgraph=True, dynamic=False)
            prepare = partial(self.prepare, module)
            # DDP makes nodes of the autograd graph, which stay on the stream that they were made on.
            self.engines[role] = recorder.warm_up(prepare) if recorder else prepare()
        self.partitioned = any(engine.partitioned for engine in self.engines.values())
        self.advance: Callable[[Batch], StepOutput] = self.body
        self.gradients: Callable[[Batch], StepOutput] = self.compute_gradients
        if recorder and self.replay == "step":
            self.advance = Replay(self.body, recorder)
        elif recorder:
            self.gradients = Replay(self.compute_gradients, recorder, WARM_UP_DDP)

    def prepare(self, module: torch.nn.Module) -> Engine:
        """A role's module and its optimiser, wrapped for the ranks."""
        cfg, zero = self.cfg, read_deepspeed(self.cfg.parallel)
        if zero is not None:
            share = (cfg.batch.labelled + cfg.batch.unlabelled) // (self.world_size * cfg.batch.micro)
            set_batch(self.accelerator, cfg.batch.micro, share)
        averaged = zero is None and self.averaged_by_optimizer(module)
        averages = self.algorithm.averaged_parameters() if averaged else None
        self.averages_parameters &= not averaged
        optimizer = build_optimizer(
            module, cfg.optim, averages, self.algorithm.ema_weight, self.replay == "step", offloads_optimizer(zero)
        )
        scaler = torch.amp.GradScaler(self.device.type, enabled=cfg.precision == "fp16")
        kind = Engine if zero is None else ZeroEngine
        return kind(self.accelerator, module, optimizer, scaler, cfg.optim.clip, self.names)

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
        for engine in self.engines.values():
            set_learning_rate(engine.param_groups, self.cfg.optim, self.algorithm.step, self.cfg.steps)
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
                self.pulse.at(DATA, self.step)
                batch = next(loader)
                self.pulse.at(STEP)
                self.train_step(batch)
                throughput.steps += 1
                progress.stepped(self.step)
                self.elapsed = before + time.perf_counter() - begin
                last = self.step == cfg.steps
                logged = last or self.step % cfg.log.every == 0
                if logged:
                    self.pulse.at(FIGURES)
                    figures = self.read() | throughput.read(loader.wait_seconds)
                    self.log(tracker, figures)
                with throughput.paused():
                    if last or self.step % cfg.eval.every == 0:
                        self.log(tracker, self.evaluate_all())
                        progress.evaluated(self.history[-1])
                    if logged:
                        progress.trained(self.step, figures)
                    reason = self.agree(stop())
                    if self.step % cfg.health.compare_every == 0:
                        self.compare_ranks()
                    if last or reason or self.step % cfg.checkpoint.every == 0 or self.best_step == self.step:
                        self.save()
                    if last or reason:
                        self.pulse.at(SAVING, self.step)
                        self.writer.finish()
                    for written in self.writer.written():
                        progress.saved(written)
        self.pulse.at(FINISHING, self.step)
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
        engine = next(iter(self.engines.values()))
        return figures | {"lr": float(engine.param_groups[0]["lr"])}

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
        check_finite(self.first_bad_step, self.last_good)

    def compare_ranks(self) -> None:
        """Raises `RanksDiffer` where the ranks no longer hold the same parameters and state; waits for the device."""
        check_equal(equal_tensors(self.algorithm, parameters=not self.partitioned), self.step, self.last_good)

    def last_good(self) -> str:
        self.writer.settle()
        good = state.latest(self.folder / "checkpoints")
        return f"{good} is good: --resume replays from it" if good else "There is no checkpoint before it"

    # Evaluation.

    def evaluate(self, net: str, which: str, most: int | None = None) -> Evaluation:
        """Evaluates `net` ("raw" or "ema") on the "test" or "held_out" images, or on the first `most` of them."""
        images, rows = self.data.test, np.arange(len(self.data.test.labels))
        if which == "held_out":
            images, rows = self.data.train, self.split.held_out
        slices = evaluation_slices(
            self.data, images, rows[:most], self.cfg.eval.batch, self.cfg.data, self.device, self.rank, self.world_size,
            thread_count(self.cfg),
        )  # fmt: skip
        self.algorithm.eval()
        slices = self.pulse.each(EVALUATING, slices)
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
        """Has a checkpoint of this moment written while the training goes on; `writer.finish` waits for it.

        All ranks must call it.
        """
        self.pulse.at(SAVING, self.step)
        # No barrier: every rank is past this step, and rank 0 holds all that is written. Its last write is waited for.
        self.writer.finish()
        with self.whole_parameters():
            # A finite loss can have had gradients that were not: the weights of the last step decide.
            finite = torch.stack([parameter.isfinite().all() for parameter in self.algorithm.parameters()]).all()
            bad = ~finite & (self.first_bad_step < 0)
            self.first_bad_step.copy_(torch.where(bad, self.step - 1, self.first_bad_step))
            self.check_finite()
            self.compare_ranks()
            optimizer: dict[str, Tensor] = {}
            for role, engine in self.engines.items():
                optimizer |= {f"{role}/{name}": value for name, value in engine.state().items()}
            if self.accelerator.is_main_process:
                checkpoint = state.Checkpoint(
                    self.algorithm.state_dict(), optimizer, self.description(), self.cfg.dump()
                )
                self.writer.submit(self.step, checkpoint, self.best_step)

    @contextmanager
    def whole_parameters(self, write: bool = False) -> Iterator[None]:
        """Inside, parameters that are spread over the ranks are whole; `write` keeps what rank 0 changes."""
        with ExitStack() as stack:
            for engine in self.engines.values():
                stack.enter_context(engine.whole_parameters(write))
            yield

    def description(self) -> dict[str, Any]:
        """state.json: where the run stands, and what `semisonic.load` needs to use the network without the data set."""
        return {
            "version": __version__,
            "step": self.step,
            "elapsed": self.elapsed,
            "world_size": self.world_size,
            "split": self.split.hash,
            "history": self.history,
            "scaler": {role: engine.scaler.state_dict() for role, engine in self.engines.items()},
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
        with self.whole_parameters(write=True):
            self.algorithm.load_state_dict(checkpoint.model)
        for role, engine in self.engines.items():
            own = {k.removeprefix(f"{role}/"): v for k, v in checkpoint.optimizer.items() if k.startswith(f"{role}/")}
            engine.load_state(own)
            engine.scaler.load_state_dict(checkpoint.state["scaler"][role])
        self.step, self.elapsed = checkpoint.state["step"], checkpoint.state["elapsed"]
        self.history = checkpoint.state["history"]
