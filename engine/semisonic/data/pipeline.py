"""From a data set and the views of an algorithm to batches on the device."""

import time
from collections import deque
from collections.abc import Iterator
from functools import partial

import numpy as np
import torch
from scipy.special import betaincinv
from torch import Tensor

from semisonic.contract import Batch, Views
from semisonic.data import draws
from semisonic.data.augment import Geometry
from semisonic.data.base import DataConfig, DataSet, Files, Images
from semisonic.data.feedback import CALLS_AHEAD, Feedback
from semisonic.data.resident import Pool, upload
from semisonic.data.sampler import Sampler
from semisonic.data.splits import Split
from semisonic.data.stream import Part, Stream

PIXELS_PER_CALL = 2**22
MOST_STEPS_PER_CALL = 8


def geometry_of(data: DataSet, device: torch.device) -> Geometry:
    red, green, blue = (round(255 * value) for value in data.mean)
    return Geometry(
        size=data.size,
        pad=0 if isinstance(data.train, Files) else data.pad,
        flip=data.flip,
        fill=(red, green, blue),
        encoded=isinstance(data.train, Files),
        device="gpu" if device.type == "cuda" else "cpu",
    )


def _rows(pool: np.ndarray, sampler: Sampler, step: int) -> np.ndarray:
    return pool[sampler.indices(step)]


def steps_per_call(cfg: DataConfig, batch: int, size: int, device: torch.device) -> int:
    """Steps whose images one DALI call makes, for `batch` samples a step on this rank."""
    if cfg.steps_per_call:
        return cfg.steps_per_call
    if device.type != "cuda":
        return 1
    return min(MOST_STEPS_PER_CALL, max(1, PIXELS_PER_CALL // (batch * size**2)))


class Wait:
    """How long the steps waited for data, the time spent inside the `with`, in seconds.

    On a GPU it is the time that passed on the device's stream between the two ends, which its own work in the queue
    hides from the host: if the host was late or DALI was, the stream stood still. Read without waiting for the device,
    so what the device has not reached yet is missing.
    """

    def __init__(self, device: torch.device):
        self.device = device
        self.total, self._begin = 0.0, 0.0
        self._free: list[tuple[torch.cuda.Event, torch.cuda.Event]] = []
        self._pending: deque[tuple[torch.cuda.Event, torch.cuda.Event]] = deque()

    def __enter__(self) -> None:
        if self.device.type == "cuda":
            self.seconds()
            if not self._free:
                self._free.append((torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)))
            self._pending.append(self._free.pop())
            self._pending[-1][0].record(torch.cuda.current_stream(self.device))
        self._begin = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        if self.device.type == "cuda":
            self._pending[-1][1].record(torch.cuda.current_stream(self.device))
        else:
            self.total += time.perf_counter() - self._begin

    def seconds(self) -> float:
        while self._pending and self._pending[0][1].query():
            first, last = self._pending.popleft()
            self.total += first.elapsed_time(last) / 1000
            self._free.append((first, last))
        return self.total


class Loader:
    """Batches of both streams from `start` on, and how long the caller waited for them.

    With `feedback`, each batch must be followed by its training step, which sends what later ones are drawn by.
    """

    def __init__(
        self,
        data: DataSet,
        split: Split,
        views: Views,
        cfg: DataConfig,
        seed: int,
        labelled_batch: int,
        unlabelled_batch: int,
        device: torch.device,
        rank: int = 0,
        world_size: int = 1,
        start: int = 0,
        threads: int = 2,
        micro: int = 1,
        feedback: Feedback | None = None,
    ):
        self.device, self.views, self.seed = device, views, seed
        self.labels = data.train.labels
        self.operations = cfg.operations
        self._wait = Wait(device)
        geometry = geometry_of(data, device)
        self.pools = {"labelled": split.labelled, "unlabelled": split.unlabelled}
        sizes = {"labelled": labelled_batch, "unlabelled": unlabelled_batch}
        recipes = {"labelled": views.labelled, "unlabelled": views.unlabelled}
        recipes = {name: wanted for name, wanted in recipes.items() if wanted}
        self.resident = Pool(data.train, geometry.pad, device) if isinstance(data.train, Images) else None
        self.samplers = {
            name: Sampler(seed, name, len(self.pools[name]), sizes[name], rank, world_size, micro) for name in recipes
        }
        largest = max((sampler.share for sampler in self.samplers.values()), default=1)
        self.steps_per_call = steps_per_call(cfg, largest, data.size, device)
        if feedback and feedback.lag < CALLS_AHEAD * self.steps_per_call:
            raise ValueError(f"a lag of {feedback.lag} steps for calls of {self.steps_per_call}")
        self.streams = {
            name: Stream(
                name,
                data.train,
                wanted,
                geometry,
                order=partial(_rows, self.pools[name], self.samplers[name]),
                numbers=self.samplers[name].numbers,
                seed=seed,
                std=data.std,
                start=start,
                threads=threads,
                equalize=cfg.equalize,
                device=device,
                operations=self.operations,
                steps_per_call=self.steps_per_call,
                pool=self.resident,
                columns=partial(self._columns, name),
                wanted=views.params,
                tables=feedback.table if feedback else None,
            )
            for name, wanted in recipes.items()
        }
        self._none = torch.empty(0, dtype=torch.int64, device=device)

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        with self._wait:
            parts = {name: stream.take() for name, stream in self.streams.items()}
            x, u = (parts.get(name, Part({}, {}, {})) for name in ("labelled", "unlabelled"))
            return Batch(
                x=x.views,
                y=x.columns.get("label", self._none),
                x_index=x.columns.get("index", self._none),
                u=u.views,
                u_index=u.columns.get("index", self._none),
                u_true=u.columns.get("label", self._none),
                u_key=u.columns.get("key", self._none),
                draws={name: u.columns[f"draw/{name}"] for name in self.views.draws}
                | {name: x.columns[f"draw/{name}"] for name in self.views.labelled_draws},
                params={view: (u.params | x.params)[view] for view in self.views.params},
            )

    @property
    def wait_seconds(self) -> float:
        """Time that the steps have waited for their batches, in all."""
        return self._wait.seconds()

    def describe(self) -> str:
        """Where the images come from and what makes them, in one line."""
        source = f"images {self.resident.describe()}" if self.resident else "images decoded from their files"
        where = "DALI" if self.operations == "dali" else "the fused kernel"
        steps = f"{self.steps_per_call} steps" if self.steps_per_call > 1 else "1 step"
        return f"{source}; RandAugment's operations by {where}; {steps} a DALI call"

    def _columns(self, name: str, steps: range) -> dict[str, np.ndarray]:
        """What the batch says about the samples of some steps: index, label, and the random numbers asked for."""
        sampler, unlabelled = self.samplers[name], name == "unlabelled"
        numbers_N = sampler.numbers(steps.start, len(steps))
        index_N = sampler.indices(steps.start, len(steps))
        columns = {"index": index_N, "label": self.labels[self.pools[name][index_N]]}
        if unlabelled:
            columns["key"] = draws.sample_keys(self.seed, draws.purpose("key"), numbers_N)
        for draw, width in (self.views.draws if unlabelled else self.views.labelled_draws).items():
            drawn = draws.purpose("draw", name, draw)
            uniforms_NK = draws.uniforms(self.seed, drawn, numbers_N, -(-width // 4) * 4)
            if draw in self.views.betas:
                uniforms_NK = betaincinv(self.views.betas[draw], self.views.betas[draw], uniforms_NK)
            # The nearest float32 below 1, so that rounding keeps [0, 1) half open.
            columns[f"draw/{draw}"] = np.minimum(uniforms_NK[:, :width], 1 - 2.0**-24).astype(np.float32)
        return columns


def evaluation_slices(
    data: DataSet,
    images: Images | Files,
    rows: np.ndarray,
    batch: int,
    cfg: DataConfig,
    device: torch.device,
    rank: int = 0,
    world_size: int = 1,
    threads: int = 2,
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """The rank's fixed-size slices of the given rows, un-augmented: images uint8 [batch, 3, H, W], labels [batch] and
    validity bool [batch]; the last slice repeats the last row, marked invalid.
    """
    count = -(-len(rows) // (batch * world_size))

    def numbers(step: int) -> np.ndarray:
        return (step * world_size + rank) * batch + np.arange(batch)

    def order(step: int) -> np.ndarray:
        return rows[np.minimum(numbers(step), len(rows) - 1)]

    def plain() -> Iterator[Tensor]:
        if not isinstance(images, Files):
            for step in range(count):
                yield upload({"images": images.pixels[order(step)]}, device)["images"].permute(0, 3, 1, 2)
            return
        geometry = geometry_of(data, device)
        # The pipeline prefetches past the last slice, where `order` repeats the last row.
        stream = Stream(
            "evaluation", images, {"plain": "plain"}, geometry, order, numbers, 0, data.std,
            threads=threads, device=device, stop=count,
        )  # fmt: skip
        for _ in range(count):
            yield next(stream)["plain"]

    for step, pixels in enumerate(plain()):
        rest = upload({"labels": images.labels[order(step)], "valid": numbers(step) < len(rows)}, device)
        yield pixels, rest["labels"], rest["valid"]
