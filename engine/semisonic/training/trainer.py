"""The training loop. It knows no algorithm by name: it feeds batches, evaluates, and keeps what a run is."""

import time
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

from semisonic import start_up
from semisonic.algorithms.base import Algorithm
from semisonic.checkpoint import format as checkpoints
from semisonic.checkpoint import snapshots
from semisonic.checkpoint.async_writer import CheckpointWriter
from semisonic.config.dump import SCHEMA
from semisonic.config.migrations import present_tensors
from semisonic.config.run_config import RunConfig
from semisonic.data.loading.calls import Placement
from semisonic.data.loading.image_source import source_of
from semisonic.data.loading.loader import Loader, Sampling, evaluation_slices
from semisonic.data.sets.base import DataSet
from semisonic.data.sets.shown import preprocess
from semisonic.data.sets.splits import Split
from semisonic.distributed.consistency import check_equal, check_finite, equal_tensors
from semisonic.distributed.engine import Accelerator
from semisonic.distributed.heartbeat import Activity, Phase
from semisonic.distributed.watchdog import collective_timeout
from semisonic.faults import reach
from semisonic.models.outline import fill
from semisonic.reporting.console import IMAGES, Console, network_of, save_confusion
from semisonic.reporting.label_tables import write_label_table
from semisonic.reporting.metrics_file import EVAL, TRAIN, current
from semisonic.reporting.pseudo_labels import PseudoLabelMonitor
from semisonic.reporting.reporters import CONSOLE, Reporters
from semisonic.reporting.trackers import Tracker
from semisonic.schema import UserError
from semisonic.training.class_groups import by_class
from semisonic.training.layer_rates import learning_rates
from semisonic.training.metrics import Evaluation, Throughput, Watcher, evaluate, evaluation_mode, or_null
from semisonic.training.mistakes import Mistake, Mistakes
from semisonic.training.process import on_main
from semisonic.training.step import TrainingStep
from semisonic.training.stop_vote import StopVote
from semisonic.training.stragglers import Stragglers
from semisonic.version import __version__

WEIGHTS = {"ema": "ema", "raw": "network"}
"""The weights that are evaluated and kept, and the module of the algorithm that holds them."""

Listener = Callable[[dict[str, Any]], object]
"""Called with what an evaluation adds to the history."""


class Trainer:
    """Trains one algorithm on one data set. All that changes is in every checkpoint, with the `history`."""

    def __init__(
        self,
        cfg: RunConfig,
        algorithm: Algorithm,
        data: DataSet,
        split: Split,
        accelerator: Accelerator,
        activity: Activity | None = None,
    ):
        self.training_step = TrainingStep(cfg, algorithm, accelerator)
        self.cfg, self.algorithm, self.data, self.split = cfg, algorithm, data, split
        self.accelerator, self.device, self.rank = accelerator, accelerator.device, self.training_step.rank
        self.run_folder, self.images = cfg.run_folder, cfg.image_sizes
        self.elapsed, self.activity = 0.0, activity or Activity()
        self.host_group: Any = None
        if self.rank.world_size > 1:
            self.host_group = dist.new_group(backend="gloo", timeout=timedelta(seconds=collective_timeout(cfg.health)))
        self.vote = StopVote(self.host_group)
        self.checkpoint_writer = CheckpointWriter(self.run_folder / "checkpoints", cfg.checkpoint.keep, self.host_group)
        self.snapshot_steps = frozenset(snapshots.due(cfg.steps, cfg.checkpoint.snapshots))
        self.weights: dict[str, str] | None = None  # what it started from, as `models.starting_weights` records it
        self.history: list[dict[str, float]] = []
        self.confusion: list[list[int]] | None = None
        """Of the EMA network on the test images, or else on those held out, as evaluated last in this process."""
        self.mistakes: list[Mistake] = []  # the surest ones of that evaluation, where it is of the last step
        self.unread = 0
        """Steps before a resumed run's first whose metrics are in no line yet."""

    @property
    def step(self) -> int:
        """Finished optimizer steps."""
        return self.training_step.number

    # The loop.

    def train(self, console: Console, stop: Callable[[], str | None], evaluated: Listener | None = None) -> str | None:
        """Trains to the last step; returns why `stop` had it end early, or None. `evaluated` hears of evaluations."""
        cfg = self.cfg
        begin, before = time.perf_counter(), self.elapsed
        self.vote.begin(self.step)
        throughput = Throughput()
        stragglers = Stragglers(self.rank, self.host_group, self.device, self.step)
        reporters = Reporters()
        tracker, pseudo_labels = self.observers(console, reporters)
        reason = None
        with closing(tracker), self.loader() as loader, console.progress(cfg.steps, self.step) as progress:
            console.print(f"Batches: {loader.describe()}")
            start_up.mark(start_up.PIPELINES)
            while self.step < cfg.steps and reason is None:
                self.activity.enter(Phase.DATA, self.step)
                batch = next(loader)
                start_up.mark(start_up.BATCH)
                self.activity.enter(Phase.STEP)
                reach("step")
                last = self.step + 1 == cfg.steps
                logged = last or (self.step + 1) % cfg.log.every == 0
                self.training_step.measured = logged
                self.training_step(batch)
                start_up.mark(start_up.STEP, last=True)
                throughput.images += self.images.of(self.step - 1)
                progress.stepped(self.step)
                self.elapsed = before + time.perf_counter() - begin
                if logged:
                    self.activity.enter(Phase.METRICS)
                    metrics, alarm = pseudo_labels.read(self.step, self.read())
                    metrics |= throughput.read(loader.wait_seconds)
                    slowest, named = stragglers.read(self.step, loader.wait_seconds, loader.busy_seconds)
                    self.log(tracker, TRAIN, metrics | slowest)
                    for line in filter(None, (alarm, named)):
                        reporters.later(CONSOLE, self.step, console.print, line)
                with throughput.paused():
                    if (last or self.step % cfg.eval.every == 0) and (found := self.evaluate_all()):
                        self.log(tracker, EVAL, found)
                        reporters.later(CONSOLE, self.step, progress.evaluated, self.history[-1])
                        if evaluated:
                            evaluated(dict(self.history[-1]))
                    if logged:
                        reporters.later(CONSOLE, self.step, progress.trained, self.step, metrics)
                    reason = self.agree(stop())
                    self.save_what_is_due(ended=last or reason is not None)
                    for written in self.checkpoint_writer.written():
                        reporters.later(CONSOLE, self.step, progress.saved, written)
                    reporters.report()
            self.activity.enter(Phase.FINISHING, self.step)
            reach("finish")
            if self.step == cfg.steps:
                self.draw(reporters, tracker)
            on_main(self.accelerator, self.write_label_tables)
        for line in reporters.summary():
            console.print(line)
        return reason if self.step < cfg.steps else None

    def observers(self, console: Console, reporters: Reporters) -> tuple[Tracker, PseudoLabelMonitor]:
        """What writes metrics down, and what looks at pseudo-labels; both go on from what is there."""
        cfg, classes = self.cfg, self.data.classes
        tracker = Tracker(self.accelerator, cfg, self.run_folder, self.step, classes, self.history, reporters)
        tracker.ours = self.checkpoint_writer.ours
        self.checkpoint_writer.say = console.print
        pseudo_labels = PseudoLabelMonitor(cfg, classes, self.algorithm.info.class_prior)
        if self.rank.is_main:
            pseudo_labels.restore(tracker.path, self.step, self.step - self.unread)
        for note in tracker.notes:
            console.print(note)
        return tracker, pseudo_labels

    def draw(self, reporters: Reporters, tracker: Tracker) -> None:
        """The picture of the last evaluation, which a run that was killed before it takes once more; by all ranks."""
        if not self.evaluated:
            return
        which = self.evaluated[0]
        confusion = self.confusion or self.evaluate_shown().confusion
        path = self.run_folder / "confusion.png"

        def save() -> None:
            self.checkpoint_writer.check()
            of = network_of(self.run_folder, "ema", self.step)
            save_confusion(path, confusion, self.data.classes, IMAGES[which], of)

        if self.rank.is_main and reporters.attempt_again(path.name, self.step, save):
            tracker.picture(f"{which}/confusion", path, self.step)

    def write_label_tables(self) -> None:
        """Writes what add-ons know of the labeled images. One process may call it."""
        self.checkpoint_writer.check()
        for name, columns in self.algorithm.labeled_tables().items():
            write_label_table(self.run_folder / "labels" / f"{name}.parquet", columns, self.data, self.split)

    def log(self, tracker: Tracker, kind: str, metrics: dict[str, Any]) -> None:
        with self.checkpoint_writer.guard(tracker.path) as allowed:
            if allowed:
                tracker.write(self.step, {"kind": kind, **metrics})
        if allowed:
            tracker.send(self.step, metrics)

    def loader(self) -> Loader:
        cfg, batch, feedback = self.cfg, self.cfg.batch, self.training_step.feedback
        if feedback:
            feedback.restart(self.step)
        sampling = Sampling(
            cfg.seed, batch.labeled, batch.unlabeled, batch.micro, self.rank, self.step, batch.balanced, cfg.steps,
            cfg.unlabeled_sizes,
        )  # fmt: skip
        return Loader(
            self.data, self.split, cfg.views, sampling,
            Placement.of(cfg.loading, self.device, cfg.execution.threads), feedback,
        )  # fmt: skip

    def read(self) -> dict[str, Any]:
        """The training metrics since the last reading; waits for the device."""
        metrics = {f"train/{name}": value for name, value in self.training_step.meter.read().items()}
        self.check_finite()
        engines = self.training_step.engines
        metrics |= learning_rates(engines)
        for number, (role, engine) in enumerate(engines.items()):
            if engine.gradient_norm is not None:
                name = "train/gradient_norm" + (f"/{role}" if number else "")
                metrics[name] = float(engine.gradient_norm)
        return metrics

    def agree(self, reason: str | None) -> str | None:
        """Why to stop now, the same on every rank; several ranks ask each other every few steps only."""
        reach("vote")
        reason, failed = self.vote.cast(self.step, reason, self.checkpoint_writer.failed)
        if failed:
            self.checkpoint_writer.finish()  # raises what went wrong
        return reason

    def check_finite(self) -> None:
        check_finite(self.training_step.first_bad_step, self.last_good)

    def compare_ranks(self) -> None:
        """Raises `RanksDiffer` where the ranks no longer hold the same parameters and state; waits for the device."""
        whole = not self.training_step.partitioned
        check_equal(equal_tensors(self.algorithm, parameters=whole), self.step, self.last_good)

    def last_good(self) -> str:
        self.checkpoint_writer.settle()
        good = checkpoints.latest(self.run_folder / "checkpoints")
        return f"{good} is good: --resume replays from it" if good else "There is no checkpoint before it"

    # Evaluation.

    @property
    def evaluated(self) -> list[str]:
        """The images that there are to evaluate on: "test", "held_out", both or none."""
        counts = {"test": self.data.test_count, "held_out": len(self.split.held_out)}
        return [which for which, count in counts.items() if count]

    def evaluate_shown(self) -> Evaluation:
        """The evaluation that is shown of single images and classes; at the last step with the surest mistakes."""
        mistakes = Mistakes(self.cfg.eval.batch, self.rank) if self.step == self.cfg.steps else None
        result = self.evaluate("ema", self.evaluated[0], seen=mistakes.add if mistakes else None)
        self.confusion, self.mistakes = result.confusion, mistakes.read() if mistakes else []
        return result

    def evaluate(self, weights: str, which: str, most: int | None = None, seen: Watcher | None = None) -> Evaluation:
        """Evaluates the "ema" or "raw" weights on the "test" or "held_out" images, or on the first `most` of them."""
        test = which == "test"
        indices = np.arange(self.data.test_count) if test else self.split.held_out
        source = source_of(self.data, self.device, indices[:most], test=test)
        placement = Placement(self.device, self.cfg.execution.threads)
        with (
            closing(evaluation_slices(source, self.cfg.eval.batch, placement, self.rank)) as slices,
            evaluation_mode(self.algorithm),
        ):
            own, classes = self.activity.each(Phase.EVALUATING, slices), len(self.data.classes)
            return evaluate(lambda x: self.algorithm.predict(x, WEIGHTS[weights]), own, classes, seen=seen)

    def evaluate_all(self) -> dict[str, Any]:
        """Evaluates the EMA and the raw weights, extends the history and returns what is logged; {} without images."""
        metrics: dict[str, Any] = {}
        for which in self.evaluated:
            for weights in WEIGHTS:
                shown = which == self.evaluated[0] and weights == "ema"
                result = self.evaluate_shown() if shown else self.evaluate(weights, which)
                name = which if weights == "ema" else f"{which}_raw"
                figures = result.scalars() | by_class(result, self.algorithm.info.class_counts)
                metrics |= {f"{name}/{key}": value for key, value in figures.items()}
                if which == "held_out" and weights == "ema":
                    self.algorithm.held_out_counts.copy_(torch.tensor(result.counts))
                if shown:
                    metrics[f"{which}/per_class"] = or_null(result.per_class)
        scalars = {key: value for key, value in metrics.items() if not isinstance(value, list)}
        if self.evaluated:
            self.history.append({"step": self.step, **scalars})
        return metrics

    @property
    def best_step(self) -> int | None:
        """The first evaluation with the best accuracy on the held-out images; its checkpoint is kept."""
        if not self.history or not len(self.split.held_out):
            return None
        return int(max(self.history, key=lambda entry: entry["held_out/top1"])["step"])

    # Checkpoints.

    def save_what_is_due(self, ended: bool) -> None:
        """After a step: its snapshot, and its checkpoint or a comparison of the ranks. ended: training stops here, so
        what is being written is waited for."""
        if self.step in self.snapshot_steps:
            self.save_snapshot()
        if ended or self.step % self.cfg.checkpoint.every == 0 or self.best_step == self.step:
            self.save()
        elif self.step % self.cfg.health.compare_every == 0:
            self.compare_ranks()
        if ended:
            self.activity.enter(Phase.SAVING, self.step)
            self.checkpoint_writer.finish()

    def save(self) -> None:
        """Has a checkpoint of this moment written while the training goes on; `checkpoint_writer.finish` waits for it.

        All ranks must call it.
        """
        self.activity.enter(Phase.SAVING, self.step)
        reach("save")
        # No barrier: every rank is past this step, and rank 0 holds all that is written. Its last write is waited for.
        self.checkpoint_writer.finish()
        step = self.training_step
        with step.whole_parameters():
            # A finite loss can have had gradients that were not: the weights of the last step decide.
            finite = torch.stack([parameter.isfinite().all() for parameter in self.algorithm.parameters()]).all()
            step.mark_bad(~finite, step.number - 1)
            self.check_finite()
            self.compare_ranks()
            optimizer = step.meter.state()
            for role, engine in step.engines.items():
                for name, value in engine.state():
                    if self.accelerator.is_main_process:
                        optimizer[f"{role}/{name}"] = value
            if self.accelerator.is_main_process:
                model, shared = checkpoints.without_shared(self.algorithm.state_dict())
                state = self.description() | ({"shared": shared} if shared else {})
                checkpoint = checkpoints.Checkpoint(model, optimizer, state, self.cfg.dump())
                self.checkpoint_writer.submit(self.step, checkpoint, self.best_step)

    def save_snapshot(self) -> None:
        """Has the averaged network of this moment written while the training goes on."""
        if not self.accelerator.is_main_process:
            return
        state = snapshots.alone(self.description())
        averaged = snapshots.averaged(self.algorithm.state_dict(), state["head"])
        self.checkpoint_writer.submit_snapshot(self.step, checkpoints.Checkpoint(averaged, {}, state, self.cfg.dump()))

    def description(self) -> dict[str, Any]:
        """state.json: where the run stands, and what `semisonic.load` needs to use the network without the data set."""
        return {
            "version": __version__,
            "schema": SCHEMA,
            "step": self.step,
            "elapsed": self.elapsed,
            "world_size": self.rank.world_size,
            "split": self.split.hash,
            "data": dict(self.data.fingerprint),
            "history": self.history,
            "scaler": {role: engine.scaler.state_dict() for role, engine in self.training_step.engines.items()},
            "meter": self.training_step.meter.sizes,
            "classes": list(self.data.classes),
            "labeled_counts": list(self.algorithm.info.class_counts),
            "image_size": self.data.size,
            "preprocess": preprocess(self.data),
            "mean": list(self.data.mean),
            "std": list(self.data.std),
            "algorithm": self.cfg.algorithm.name,
            "head": self.algorithm.exported_head(),
            "model": self.cfg.model.model_dump(mode="json"),
            "weights": self.weights,
        }

    def restore(self, checkpoint: checkpoints.Checkpoint) -> None:
        """Continues from a checkpoint, which may come from another world size."""
        if checkpoint.state["split"] != self.split.hash:
            raise UserError("data: the split differs from the checkpoint's; resume with the same data and split")
        schema = checkpoint.state.get("schema", 0)
        with self.training_step.whole_parameters(write=True):
            fill(self.algorithm, present_tensors(checkpoint.model, schema), "checkpoint: model.safetensors")
        optimizer = present_tensors(checkpoint.optimizer, schema, optimizer=True)
        for role, engine in self.training_step.engines.items():
            own = {k.removeprefix(f"{role}/"): v for k, v in optimizer.items() if k.startswith(f"{role}/")}
            engine.load_state(own)
            engine.load_scaler(checkpoint.state["scaler"], role)
        self.training_step.number, self.elapsed = checkpoint.state["step"], checkpoint.state["elapsed"]
        self.history = [current(entry) for entry in checkpoint.state["history"]]
        self.unread = self.training_step.meter.load_state(checkpoint.state.get("meter", {}), optimizer, self.rank)
