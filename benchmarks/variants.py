"""What throughput.py compares: the bare passes, the engine and the conventional loop, each built from a Plan."""

import gc
import itertools
import os
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile
from torch.utils._pytree import tree_map

from measure import Reading, environment, most_allocated, peak_memory, timed, window
from without_dali import do_without_dali


@dataclass(frozen=True)
class Plan:
    """What all variants work on. It travels to their processes."""

    fields: tuple[str, ...]
    """Command line of `launch/train.py` that resolves to the configuration."""
    image_size: int
    classes: int
    images: int
    """Training images of the synthetic data set; 0 = the configured one."""
    workers: int
    """DataLoader workers of the conventional loop."""
    with_data: bool
    """Whether batches are loaded; otherwise every step works on one random batch."""
    precision: str = ""
    """Of the conventional loop."""
    profile: Path = Path("trace.json")
    """Where the engine writes its trace, if it is asked for one."""


def configuration(plan: Plan) -> Any:
    if not plan.with_data:
        do_without_dali()
    from semisonic.config.command_line import resolve

    return resolve(plan.fields)[1]


def data_set(plan: Plan, cfg: Any) -> tuple[Any, Any]:
    """(DataSet, Split) that every variant reads."""
    from semisonic.data.sets.registry import load_data_set
    from semisonic.data.sets.splits import make_split
    from synthetic import synthetic

    data = synthetic(plan.images, plan.image_size, plan.classes, cfg.seed) if plan.images else load_data_set(cfg.data)
    return data, make_split(cfg.data, data.train.labels, len(data.classes), cfg.seed)


def views_of(cfg: Any) -> Any:
    return cfg.views


def images_per_step(cfg: Any) -> int:
    """Labeled and unlabeled images of a step, each counted once whatever the number of its views."""
    views = views_of(cfg)
    return (cfg.batch.labeled if views.labeled else 0) + (cfg.batch.unlabeled if views.unlabeled else 0)


def rows_per_step(cfg: Any) -> int:
    """Images that go through the network in a step: every view of both streams."""
    views = views_of(cfg)
    return cfg.batch.labeled * len(views.labeled) + cfg.batch.unlabeled * len(views.unlabeled)


def describe_work(plan: Plan, cfg: Any) -> dict[str, Any]:
    """What was measured: what two results must share to be compared."""
    separate = getattr(cfg.algorithm, "weak_pass", "joint") != "joint"
    return {
        "algorithm": cfg.algorithm.name,
        "model": cfg.model.name,
        "image_size": plan.image_size,
        "classes": plan.classes,
        "labeled": cfg.batch.labeled,
        "unlabeled_ratio": cfg.batch.unlabeled_ratio,
        "rows": rows_per_step(cfg),
        "precision": cfg.arithmetic.name,
        "compiled": cfg.compiled,
        "replayed": cfg.replayed,
        "deterministic": cfg.deterministic,
        "data": "none" if not plan.with_data else cfg.data.name if not plan.images else "synthetic",
        "workers": plan.workers,
        "seed": cfg.seed,
        **({"weak_pass": "separate"} if separate else {}),
    }


class Bare:
    """The forward and backward passes that a step needs, on resident random inputs, and nothing else: the ceiling.

    They are counted in one eager step of the algorithm; for most methods they are one pass of all views.
    """

    def __init__(self, plan: Plan):
        cfg = configuration(plan)
        from passes import Passes
        from semisonic.models.blocks import counting, use_blocks
        from semisonic.training.compile_options import compile_options
        from semisonic.training.cuda_graph import CudaGraph

        algorithm, found, self.device = counted_passes(plan, cfg)
        options = compile_options() if cfg.compiled else None  # as the engine's, or it would be no ceiling
        if cfg.recompute or cfg.graphs == "blocks":
            use_blocks(algorithm, cfg.recompute, cfg.graphs == "blocks", options)
        run = Passes(algorithm, found, cfg.autocast, self.device)
        if cfg.graphs == "whole":
            compiled = torch.compile(run.objective, fullgraph=True, dynamic=False, options=options)
            run.objective = counting(compiled, cfg.recompute)
        self.run: Callable[[], None] = run
        if cfg.replayed == "step":
            graph = CudaGraph()
            for _ in range(3):
                graph.warm_up(run)
            graph.capture(run)
            self.run = graph.replay
        timed(self.run, self.device, 0.0)
        described = [one.describe() for one in found if one.images]
        self.info: dict[str, Any] = {"environment": environment(self.device), "passes": described}

    def measure(self, what: str, seconds: float) -> Reading:
        return window(self.run, self.device, seconds)


def counted_passes(plan: Plan, cfg: Any) -> tuple[Any, list[Any], torch.device]:
    """The algorithm, the passes of its step, and the device; everything else is gone."""
    from passes import record
    from semisonic.data.loading.synthetic import synthetic_batch
    from semisonic.training.build import build_trainer

    data, split = data_set(plan, cfg)
    eager = cfg.model_copy(update={"compile": "off", "replay": "off", "recompute": False})
    trainer = build_trainer(eager, data, split)
    algorithm, device, ranks = trainer.algorithm, trainer.device, trainer.rank.world_size
    if plan.with_data:
        sizes = cfg.batch.labeled // ranks, cfg.batch.unlabeled // ranks
        batch = synthetic_batch(data, split, views_of(cfg), cfg.loading, *sizes, device)
    else:
        batch = random_batch(cfg, plan, device)
    found = record(algorithm, partial(trainer.training_step, batch))
    del trainer, batch
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    return algorithm, found, device


class Engine:
    """The engine's own trainer: `step` on one resident batch, `end_to_end` with its loader."""

    def __init__(self, plan: Plan):
        cfg = configuration(plan)
        from semisonic.training.build import build_trainer

        data, split = data_set(plan, cfg)
        self.trainer = build_trainer(cfg, data, split)
        self.plan, self.device = plan, self.trainer.device
        self.loader = self.trainer.loader() if plan.with_data else None
        if self.loader is None:
            whole = random_batch(cfg, plan, self.device)
            own = self.trainer.rank
            self.batch = tree_map(lambda value: value.tensor_split(own.world_size)[own.rank], whole)
        else:
            self.batch = tree_map(Tensor.clone, next(self.loader))
        # Untimed steps of a window: as many as DALI holds in its queue and the loader in the call it is slicing.
        self.ahead = 3 * self.loader.steps_per_call if self.loader is not None else 0
        timed(self.step, self.device, 0.0, warm_up=8 if self.device.type == "cuda" else 2)
        if self.loader is not None:
            timed(self.end_to_end, self.device, 0.0)
        self.info: dict[str, Any] = {"data": f"{data.name}, {len(data.train):,} images"}

    def step(self) -> object:
        return self.trainer.training_step(self.batch)

    def end_to_end(self) -> object:
        assert self.loader is not None
        return self.trainer.training_step(next(self.loader))

    def measure(self, what: str, seconds: float) -> Reading:
        if what == "step":
            return window(self.step, self.device, seconds)
        if what == "end_to_end":
            assert self.loader is not None
            timed(self.end_to_end, self.device, 0.0, warm_up=0, least=self.ahead)
            waited = self.loader.wait_seconds
            found = window(self.end_to_end, self.device, seconds, warm_up=0)
            return found | {"data_wait": (self.loader.wait_seconds - waited) / found["seconds"]}
        return self.memory() if what == "memory" else self.profile()

    def memory(self) -> Reading:
        """The most bytes that torch's allocator has given out: on the CPU in a step, beside what was there before it;
        on the GPU since the process began, since a recorded graph keeps its own."""
        if self.device.type == "cuda":
            return {"step_bytes": peak_memory(self.device)}
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
            self.step()
        return {"step_bytes": most_allocated(recorded)}

    def profile(self) -> Reading:
        """Also writes a chrome trace."""
        self.plan.profile.parent.mkdir(parents=True, exist_ok=True)
        return profiled(self.step if self.loader is None else self.end_to_end, self.device, self.plan.profile)


def profiled(action: Callable[[], object], device: torch.device, trace: Path | None = None, steps: int = 5) -> Reading:
    """Milliseconds a step of each operator (CPU) or kernel (GPU), without those that it calls."""
    on_gpu = device.type == "cuda"
    timed(action, device, 0.0)
    with profile(activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]) as found:
        elapsed, done = timed(action, device, 0.0, warm_up=0, least=steps)
    if trace:
        found.export_chrome_trace(str(trace))
    spent = {
        event.key: (event.self_device_time_total if on_gpu else event.self_cpu_time_total) / 1000 / done
        for event in found.key_averages()
        if not on_gpu or event.device_type == torch.autograd.DeviceType.CUDA  # operators carry their kernels' time too
    }
    return {"seconds": elapsed, "steps": done, "operators": {name: ms for name, ms in spent.items() if ms > 0}}


def random_batch(cfg: Any, plan: Plan, device: torch.device) -> Any:
    """A batch of random uint8 images in every view, as the loader would hand it over."""
    from semisonic.contract import Batch
    from semisonic.schema import UserError

    views, size = views_of(cfg), plan.image_size
    if views.params:
        raise UserError(f"--no-data: {cfg.algorithm.name} reads augmentation parameters, which only the loader has")
    generator = torch.Generator(device=device).manual_seed(cfg.seed)

    def integers(high: int, *shape: int, dtype: torch.dtype = torch.int64) -> Tensor:
        return torch.randint(high, shape, dtype=dtype, device=device, generator=generator)

    def images(names: Any, count: int) -> dict[str, Tensor]:
        shape = (count, size, size, 3)
        return {name: integers(256, *shape, dtype=torch.uint8).permute(0, 3, 1, 2) for name in names}

    labeled = cfg.batch.labeled if views.labeled else 0
    unlabeled = cfg.batch.unlabeled if views.unlabeled else 0
    widths = {name: (unlabeled, n) for name, n in views.draws.items()}
    widths |= {name: (labeled, n) for name, n in views.labeled_draws.items()}
    return Batch(
        x=images(views.labeled, labeled),
        y=integers(plan.classes, labeled),
        x_index=torch.arange(labeled, device=device),
        u=images(views.unlabeled, unlabeled),
        u_index=torch.arange(unlabeled, device=device),
        u_true=integers(plan.classes, unlabeled),
        u_key=integers(2**62, unlabeled),
        draws={name: torch.rand(*shape, device=device, generator=generator) for name, shape in widths.items()},
        params={},
    )


class Conventional:
    """The conventional loop: `end_to_end`, its `step` on one host batch, its `data` alone, and `parts` of a step."""

    def __init__(self, plan: Plan):
        cfg = configuration(plan)
        from conventional import Loop

        self.device = torch.device(cfg.torch_device)
        # As such loops are started: nothing is set but what a user asked for, and cuDNN's choice by timing.
        if cfg.deterministic:
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
            torch.use_deterministic_algorithms(True)
        torch.backends.cudnn.benchmark = not cfg.deterministic
        torch.manual_seed(cfg.seed)
        streams = loaded_batches(plan, cfg) if plan.with_data else random_batches(plan, cfg)
        self.loop = loop = Loop(cfg, plan.classes, plan.image_size, self.device, plan.precision, *streams)
        self.batch = loop.next_batch()
        ahead = 2 * plan.workers + 2  # each worker prepares two batches in advance
        step_seconds, steps = timed(lambda: loop.step(self.batch), self.device, 0.0)
        data_seconds, batches = timed(loop.next_batch, self.device, 0.0, ahead)
        # Where data are scarce, what lies in the queue must be used up before a window; else it refills in each step.
        self.warm_up = ahead if 2 * data_seconds / batches > step_seconds / steps else 2
        self.ahead = ahead
        self.info: dict[str, Any] = {}

    def measure(self, what: str, seconds: float) -> Reading:
        loop = self.loop
        if what == "step":
            elapsed, steps = timed(lambda: loop.step(self.batch), self.device, seconds)
            return {"seconds": elapsed, "steps": steps}
        if what == "profile":
            return profiled(lambda: loop.step(loop.next_batch()), self.device)
        if what == "data":
            elapsed, steps = timed(loop.next_batch, self.device, seconds, self.ahead)
            return {"seconds": elapsed, "steps": steps}
        if what == "parts":
            begin, parts = time.perf_counter(), []
            while len(parts) < self.warm_up + 3 or time.perf_counter() - begin < seconds:
                parts.append(loop.parts_of_a_step())
            kept = parts[self.warm_up :]
            return {name: statistics.fmean(part[name] for part in kept) for name in kept[0]}
        waits: list[float] = []

        def end_to_end() -> None:
            begin = time.perf_counter()
            batch = loop.next_batch()
            waits.append(time.perf_counter() - begin)
            loop.step(batch)

        elapsed, steps = timed(end_to_end, self.device, seconds, self.warm_up)
        return {"seconds": elapsed, "steps": steps, "data_wait": sum(waits[-steps:]) / elapsed}


def loaded_batches(plan: Plan, cfg: Any) -> tuple[Iterator, Iterator | None]:
    """The conventional loop's two loaders: (images, labels), and weak and strong views."""
    from conventional_data import PilViews, make_loader
    from semisonic.data.sets.base import Images
    from semisonic.schema import UserError

    data, split = data_set(plan, cfg)
    if not isinstance(data.train, Images):
        raise UserError("data.name: the conventional loop reads resident images only; use --no-conventional")

    def batches(rows: Any, mode: Any, size: int, seed: int) -> Iterator:
        views = PilViews(data.train.pixels, data.train.labels, rows, mode, data.flip, data.pad, data.mean, data.std)
        return iter(make_loader(views, size, plan.workers, seed))

    labeled = batches(split.labeled, "labeled", cfg.batch.labeled, cfg.seed)
    if not views_of(cfg).unlabeled:
        return labeled, None
    unlabeled = batches(split.unlabeled, "unlabeled", cfg.batch.unlabeled, cfg.seed + 1)
    return labeled, (views for views, _ in unlabeled)


def random_batches(plan: Plan, cfg: Any) -> tuple[Iterator, Iterator | None]:
    """The same two streams, one random batch each, over and over."""
    generator, size = torch.Generator().manual_seed(cfg.seed), plan.image_size
    labeled, unlabeled = cfg.batch.labeled, cfg.batch.unlabeled

    def images(count: int) -> Tensor:
        tensor = torch.randn(count, 3, size, size, generator=generator)
        return tensor.pin_memory() if cfg.torch_device == "cuda" else tensor

    labels = torch.randint(plan.classes, (labeled,), generator=generator)
    semi = bool(views_of(cfg).unlabeled)
    pair = itertools.repeat((images(unlabeled), images(unlabeled))) if semi else None
    return itertools.repeat((images(labeled), labels)), pair
