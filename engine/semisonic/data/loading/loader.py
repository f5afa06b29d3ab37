"""From a data set and the views of an algorithm to batches on the device."""

import time
from collections import deque
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from typing import Self

import numpy as np
import torch
from torch import Tensor

from semisonic.contract import ALONE, Batch, OwnStream, Rank, Samples, Views
from semisonic.data.loading.calls import CALLS_AHEAD, Placement, StepRange, steps_per_call
from semisonic.data.loading.draws import Draws, purpose, sample_keys
from semisonic.data.loading.feedback import Feedback
from semisonic.data.loading.image_source import ImageSource, geometry_of, source_of
from semisonic.data.loading.resident import ResidentImages, upload
from semisonic.data.loading.sampler import BalancedSampler, EvaluationSampler, TrainingSampler
from semisonic.data.loading.sizes import Sizes
from semisonic.data.loading.stream import Extras, Stream, StreamBatch
from semisonic.data.sets.base import DataSet, Images
from semisonic.data.sets.splits import Split
from semisonic.faults import reach


class Wait:
    """How long the steps waited for data, the time spent inside the `with`, in seconds.

    On a GPU it is the time that passed on the device's stream between the two ends, which its own work in the queue
    hides from the host: if the host was late or DALI was, the stream stood still. Read without waiting for the device,
    so what the device has not reached yet is missing.
    """

    def __init__(self, device: torch.device):
        self.device = device
        self.total, self._begin = 0.0, 0.0
        self.busy, self._busy = 0.0, 0.0
        """Seconds of it in which this thread computed, on the CPU."""
        self._free: list[tuple[torch.cuda.Event, torch.cuda.Event]] = []
        self._pending: deque[tuple[torch.cuda.Event, torch.cuda.Event]] = deque()

    def __enter__(self) -> None:
        if self.device.type == "cuda":
            self.seconds()
            if not self._free:
                self._free.append((torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)))
            self._pending.append(self._free.pop())
            self._pending[-1][0].record(torch.cuda.current_stream(self.device))
        self._begin, self._busy = time.perf_counter(), time.thread_time()

    def __exit__(self, *_: object) -> None:
        if self.device.type == "cuda":
            self._pending[-1][1].record(torch.cuda.current_stream(self.device))
        else:
            self.total += time.perf_counter() - self._begin
            self.busy += time.thread_time() - self._busy

    def seconds(self) -> float:
        while self._pending and self._pending[0][1].query():
            first, last = self._pending.popleft()
            self.total += first.elapsed_time(last) / 1000
            self._free.append((first, last))
        return self.total


@dataclass(frozen=True)
class Sampling:
    """Which samples the steps of a process read: from step `start` on, its share of every batch."""

    seed: int
    labeled: int
    """Labeled images of a step, over all ranks together."""
    unlabeled: int
    """Unlabeled images of a step, over all ranks together; of a batch that grows the most."""
    micro: int = 1
    """Micro-batches of a step."""
    rank: Rank = ALONE
    start: int = 0
    balanced: bool = False
    """Whether the labeled images are drawn by class, every one equally often."""
    steps: int | None = None
    """Of the whole run, over which growing views grow; None: they stay as they begin."""
    sizes: Sizes | None = None
    """Unlabeled images by step, where their number grows."""


@dataclass(frozen=True)
class Plan:
    """What a stream reads in every step."""

    views: Mapping[str, str]
    draws: Mapping[str, int]
    indices: np.ndarray
    """Of its images among the training images, int64."""
    batch: int
    """Samples of a step, over all ranks together; at most."""
    balanced: bool = False
    sizes: Sizes | None = None
    """By step, where their number grows."""


def plans_of(views: Views, split: Split, sampling: Sampling) -> dict[str, Plan]:
    """Every stream that has a view, by its name."""
    plans = {
        "labeled": Plan(views.labeled, views.labeled_draws, split.labeled, sampling.labeled, sampling.balanced),
        "unlabeled": Plan(views.unlabeled, views.draws, split.unlabeled, sampling.unlabeled, sizes=sampling.sizes),
    }
    for name, own in views.streams.items():
        indices = split.labeled if own.pool == "labeled" else split.unlabeled
        plans[name] = Plan(own.views, own.draws, indices, own.size(sampling.labeled), own.balanced)
    return {name: plan for name, plan in plans.items() if plan.views}


def _samples(part: StreamBatch, stream: OwnStream) -> Samples:
    columns = part.columns
    draws = {name: columns[f"draw/{name}"] for name in stream.draws}
    return Samples(part.views, columns["label"], columns["index"], draws)


class Loader:
    """Batches of all streams, and how long the caller waited for them. To be closed, by `with` or `close`.

    With `feedback`, each batch must be followed by its training step, which sends what later ones are drawn by.
    """

    def __init__(
        self,
        data: DataSet,
        split: Split,
        views: Views,
        sampling: Sampling,
        placement: Placement,
        feedback: Feedback | None = None,
    ):
        self.device, self.views, self.seed = placement.device, views, sampling.seed
        self.labels = data.train.labels
        self.operations = placement.operations
        self._wait = Wait(self.device)
        self.plans = plans_of(views, split, sampling)
        self.draws = {name: Draws(sampling.seed, name) for name in self.plans}
        self.samplers = {name: self._sampler(name, plan, sampling) for name, plan in self.plans.items()}
        largest = max((sampler.share for sampler in self.samplers.values()), default=1)
        self.steps_per_call = steps_per_call(placement.steps_per_call, largest, data.size, self.device)
        if feedback and feedback.lag < CALLS_AHEAD * self.steps_per_call:
            raise ValueError(f"a lag of {feedback.lag} steps for calls of {self.steps_per_call}")
        self.resident: ResidentImages | None = None
        if isinstance(data.train, Images):
            self.resident = ResidentImages(data.train, geometry_of(data, self.device).pad, self.device)
        placement = replace(placement, steps_per_call=self.steps_per_call)
        self.streams: dict[str, Stream] = {}
        try:
            for name, plan in self.plans.items():
                source = source_of(data, self.device, plan.indices, self.resident)
                tables = feedback.table if feedback else None
                extras = Extras(partial(self._columns, name), views.params, tables, sampling.steps)
                steps = StepRange(sampling.start)
                self.streams[name] = Stream(
                    self.draws[name], source, plan.views, self.samplers[name], placement, steps, extras
                )
        except BaseException:
            self.close()
            raise
        self._none = torch.empty(0, dtype=torch.int64, device=self.device)

    def _sampler(self, name: str, plan: "Plan", sampling: Sampling) -> TrainingSampler:
        arguments = (self.draws[name], len(plan.indices), plan.batch, sampling.rank, sampling.micro, plan.sizes)
        if not plan.balanced:
            return TrainingSampler(*arguments)
        return BalancedSampler(*arguments, labels=self.labels[plan.indices])

    def close(self) -> None:
        """Ends the streams; batches stay valid. Closing again does nothing."""
        for stream in self.streams.values():
            stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        reach("loader")
        with self._wait:
            parts = {name: stream.take() for name, stream in self.streams.items()}
            nothing = StreamBatch({}, {}, {})
            x, u = (parts.get(name, nothing) for name in ("labeled", "unlabeled"))
            return Batch(
                x=x.views,
                y=x.columns.get("label", self._none),
                x_index=x.columns.get("index", self._none),
                u=u.views,
                u_index=u.columns.get("index", self._none),
                u_true=u.columns.get("label", self._none),
                u_key=u.columns.get("key", self._none),
                draws={name: u.columns[f"draw/{name}"] for name in self.views.draws}
                | {name: x.columns[f"draw/{name}"] for name in self.views.labeled_draws},
                params={view: (u.params | x.params)[view] for view in self.views.params},
                streams={name: _samples(parts[name], stream) for name, stream in self.views.streams.items()},
            )

    @property
    def wait_seconds(self) -> float:
        """Time that the steps have waited for their batches, in all."""
        return self._wait.seconds()

    @property
    def busy_seconds(self) -> float:
        """That part of it in which the caller's thread computed, on the CPU."""
        return self._wait.busy

    def describe(self) -> str:
        """Where the images come from and what makes them, in one line."""
        source = f"images {self.resident.describe()}" if self.resident else "images decoded from their files"
        where = "DALI" if self.operations == "dali" else "the fused kernel"
        steps = f"{self.steps_per_call} steps" if self.steps_per_call > 1 else "1 step"
        return f"{source}; RandAugment's operations by {where}; {steps} a DALI call"

    def _columns(self, name: str, steps: range) -> dict[str, np.ndarray]:
        """What the batch says about the samples of some steps: index, label, and the random numbers asked for."""
        sampler, plan = self.samplers[name], self.plans[name]
        numbers_N = sampler.numbers(steps.start, len(steps))
        index_N = sampler.indices(steps.start, len(steps))
        columns = {"index": index_N, "label": self.labels[plan.indices[index_N]]}
        if name == "unlabeled":
            columns["key"] = sample_keys(self.seed, purpose("key"), numbers_N)
        for draw, width in plan.draws.items():
            uniforms_NK = self.draws[name].uniforms("draw", draw, numbers_N, -(-width // 4) * 4)
            if draw in self.views.betas and name not in self.views.streams:
                from scipy.special import betaincinv  # 0.1 s to import, for methods that mix images

                uniforms_NK = betaincinv(self.views.betas[draw], self.views.betas[draw], uniforms_NK)
            # The nearest float32 below 1, so that rounding keeps [0, 1) half open.
            columns[f"draw/{draw}"] = np.minimum(uniforms_NK[:, :width], 1 - 2.0**-24).astype(np.float32)
        return columns


def evaluation_slices(
    source: ImageSource, batch: int, placement: Placement, rank: Rank = ALONE
) -> Generator[tuple[Tensor, Tensor, Tensor], None, None]:
    """The rank's fixed-size slices of a source, un-augmented: images uint8 [batch, 3, H, W], labels [batch] and
    validity bool [batch]; the last slice repeats the last image, marked invalid.

    A generator that is not exhausted must be closed, which ends its threads (`contextlib.closing`).
    """
    sampler = EvaluationSampler(len(source), batch, rank)
    with closing(_plain(source, sampler, placement)) as slices:
        for step, pixels in enumerate(slices):
            labels = source.images.labels[source.rows(sampler.indices(step))]
            rest = upload({"labels": labels, "valid": sampler.valid(step)}, placement.device)
            yield pixels, rest["labels"], rest["valid"]


def _plain(source: ImageSource, sampler: EvaluationSampler, placement: Placement) -> Generator[Tensor, None, None]:
    """The un-augmented images of every step, uint8 [share, 3, H, W]."""
    images = source.images
    if isinstance(images, Images):
        for step in range(sampler.steps):
            pixels = images.pixels[source.rows(sampler.indices(step))]
            yield upload({"images": pixels}, placement.device)["images"].permute(0, 3, 1, 2)
        return
    # The pipeline prefetches past the last slice, where the sampler repeats the last image.
    steps = StepRange(stop=sampler.steps)
    with Stream(Draws(0, "evaluation"), source, {"plain": "plain"}, sampler, placement, steps) as stream:
        for _ in range(sampler.steps):
            yield next(stream)["plain"]
