"""From a data set and the views of an algorithm to batches on the device: one DALI pipeline per stream, with one branch
per view.

DALI is fed by callables of the iteration number and draws nothing itself (`draws.py` does), so the state of the
pipeline is the step alone.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
import torch
from nvidia.dali import fn, pipeline_def
from torch import Tensor

from semisonic.algorithms.base import Batch, Views
from semisonic.data import draws
from semisonic.data.augment import Geometry, View, build_view
from semisonic.data.base import DataConfig, DataSet, Files, Images
from semisonic.data.sampler import Sampler
from semisonic.data.splits import Split
from semisonic_kernels.noise import normal_noise

PREFETCH = 2


def reflect_pad(images: np.ndarray, pad: int) -> np.ndarray:
    """uint8 [N, H, W, 3] -> [N, H+2p, W+2p, 3], mirrored without repeating the border pixel; pad < H and W."""
    if pad == 0:
        return images
    n, height, width, channels = images.shape
    out = np.empty((n, height + 2 * pad, width + 2 * pad, channels), dtype=images.dtype)
    middle = out[:, pad:-pad]
    middle[:, :, pad:-pad] = images
    middle[:, :, :pad] = images[:, :, pad:0:-1]
    middle[:, :, -pad:] = images[:, :, -2 : -pad - 2 : -1]
    out[:, :pad] = out[:, 2 * pad : pad : -1]
    out[:, -pad:] = out[:, -pad - 2 : -2 * pad - 2 : -1]
    return out


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


def to_device(array: np.ndarray, device: torch.device) -> Tensor:
    """A tensor on the device; the host does not wait for the copy."""
    tensor = torch.from_numpy(np.ascontiguousarray(array))
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor


def gaussian_noise(images: Tensor, keys: Tensor, deviation: Tensor) -> Tensor:
    """Adds N(0, deviation [1, 3, 1, 1]), hashed from the keys [N], to uint8 images [N, 3, H, W]; rounded, clipped."""
    noise = normal_noise(keys, tuple(images.shape[1:]))
    return (images.float() + deviation * noise).round().clamp(0, 255).to(torch.uint8)


@pipeline_def(enable_conditionals=True)
def _graph(source: Callable, encoded: bool, views: list[View], names: list[list[str]]):
    layouts = ["" if encoded else "HWC"] + [""] * sum(map(len, names))
    nodes = fn.external_source(source=source, num_outputs=len(layouts), layout=layouts, batch=True)
    images, rest = nodes[0], list(nodes[1:])
    outputs = []
    for position in range(len(views)):
        params = {name: rest.pop(0) for name in names[position]}
        outputs.append(views[position].graph(images, params))
    return tuple(outputs)


class Stream:
    """The augmented views of one pool of images, step by step.

    `order(step)` gives the rows of `images` that a step reads (always equally many) and `numbers(step)` the global
    numbers of these samples, which key their random numbers.
    """

    def __init__(
        self,
        name: str,
        images: Images | Files,
        views: Mapping[str, str],
        geometry: Geometry,
        order: Callable[[int], np.ndarray],
        numbers: Callable[[int], np.ndarray],
        seed: int,
        std: tuple[float, float, float],
        start: int = 0,
        threads: int = 2,
        equalize: str = "dali",
        device: torch.device | None = None,
    ):
        self.name, self.images, self.order, self.numbers = name, images, order, numbers
        self.geometry, self.seed, self.start = geometry, seed, start
        self.device = device or torch.device("cpu")
        self._std = torch.tensor(std, device=self.device).view(1, 3, 1, 1)
        self.views = {view: build_view(recipe, geometry, equalize=equalize) for view, recipe in views.items()}
        self.step = start
        self._readers = ThreadPoolExecutor(threads)  # idle, and threadless, for resident images
        self._names = {view: sorted(self.params(view, start)) for view in self.views}
        self._pipeline = _graph(
            self._source,
            geometry.encoded,
            list(self.views.values()),
            list(self._names.values()),
            batch_size=len(order(start)),
            num_threads=threads,
            device_id=(self.device.index or 0) if self.device.type == "cuda" else None,
            prefetch_queue_depth=PREFETCH,
        )
        self._pipeline.build()

    def params(self, view: str, step: int) -> dict[str, np.ndarray]:
        """The augmentation parameters of a view at a step, per sample: name -> array [N, ...]."""
        recipe, purpose = self.views[view], f"view/{self.name}/{view}"
        uniforms_NK = draws.uniforms(self.seed, purpose, self.numbers(step), recipe.uniforms)
        shapes_N2 = self.images.shapes[self.order(step)] if isinstance(self.images, Files) else None
        return recipe.params(uniforms_NK, shapes_N2)

    def _source(self, iteration: int):
        step = self.start + iteration
        rows = self.order(step)
        if isinstance(self.images, Images):
            images: Any = reflect_pad(self.images.pixels[rows], self.geometry.pad)
        else:
            images = list(self._readers.map(self.images.read, rows))
        params = {view: self.params(view, step) for view in self.views}
        return (images, *(params[view][name] for view, names in self._names.items() for name in names))

    def __next__(self) -> dict[str, Tensor]:
        """The views of the next step: name -> uint8 [N, 3, H, W] on the device, channels_last."""
        # On torch's stream, so that neither side reads or reuses a buffer before the other is done with it.
        on_gpu = self.device.type == "cuda"
        outputs = self._pipeline.run(torch.cuda.current_stream(self.device) if on_gpu else None)
        batch = {}
        for (name, view), output in zip(self.views.items(), outputs, strict=True):
            tensor = torch.from_dlpack(output.as_tensor()).permute(0, 3, 1, 2)
            if view.noise_std:
                keys = draws.sample_keys(self.seed, f"noise/{self.name}/{name}", self.numbers(self.step))
                deviation = 255 * view.noise_std * self._std
                tensor = gaussian_noise(tensor, to_device(keys, self.device), deviation)
            batch[name] = tensor
        self.step += 1
        return batch


def _rows(pool: np.ndarray, sampler: Sampler, step: int) -> np.ndarray:
    return pool[sampler.indices(step)]


class Loader:
    """Batches of both streams from `start` on, and how long the caller waited for them."""

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
    ):
        self.device, self.views, self.seed, self.step = device, views, seed, start
        self.labels = data.train.labels
        self.wait_seconds = 0.0
        geometry = geometry_of(data, device)
        pools = {"labelled": split.labelled, "unlabelled": split.unlabelled}
        sizes = {"labelled": labelled_batch, "unlabelled": unlabelled_batch}
        wanted = {"labelled": views.labelled, "unlabelled": views.unlabelled}
        self.pools = pools
        self.samplers: dict[str, Sampler] = {}
        self.streams: dict[str, Stream] = {}
        for name, recipes in wanted.items():
            if not recipes:
                continue
            sampler = Sampler(seed, name, len(pools[name]), sizes[name], rank, world_size, micro)
            self.samplers[name] = sampler
            self.streams[name] = Stream(
                name,
                data.train,
                recipes,
                geometry,
                order=partial(_rows, pools[name], sampler),
                numbers=sampler.numbers,
                seed=seed,
                std=data.std,
                start=start,
                threads=threads,
                equalize=cfg.equalize,
                device=device,
            )

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        begin = time.perf_counter()
        images = {name: next(stream) for name, stream in self.streams.items()}
        index = {name: sampler.indices(self.step) for name, sampler in self.samplers.items()}
        labels = {name: self.labels[self.pools[name][rows]] for name, rows in index.items()}
        batch = Batch(
            x=images.get("labelled", {}),
            y=self._tensor(labels.get("labelled")),
            x_index=self._tensor(index.get("labelled")),
            u=images.get("unlabelled", {}),
            u_index=self._tensor(index.get("unlabelled")),
            u_true=self._tensor(labels.get("unlabelled")),
            u_key=self._tensor(self._keys()),
            draws=self._draws(),
            params=self._params(),
        )
        self.wait_seconds += time.perf_counter() - begin
        self.step += 1
        return batch

    def _params(self) -> dict[str, dict[str, Tensor]]:
        streams = {view: stream for stream in self.streams.values() for view in stream.views}
        return {
            view: {name: self._tensor(array) for name, array in streams[view].params(view, self.step).items()}
            for view in self.views.params
        }

    def _keys(self) -> np.ndarray | None:
        sampler = self.samplers.get("unlabelled")
        return draws.sample_keys(self.seed, "key", sampler.numbers(self.step)) if sampler else None

    def _tensor(self, array: np.ndarray | None) -> Tensor:
        if array is None:
            array = np.empty(0, dtype=np.int64)
        return to_device(array, self.device)

    def _draws(self) -> dict[str, Tensor]:
        result = {}
        for stream, wanted in (("labelled", self.views.labelled_draws), ("unlabelled", self.views.draws)):
            for name, width in wanted.items():
                numbers_N = self.samplers[stream].numbers(self.step)
                uniforms_NK = draws.uniforms(self.seed, f"draw/{stream}/{name}", numbers_N, -(-width // 4) * 4)
                # The nearest float32 below 1, so that rounding keeps [0, 1) half open.
                result[name] = self._tensor(np.minimum(uniforms_NK[:, :width], 1 - 2.0**-24).astype(np.float32))
        return result


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
                yield torch.from_numpy(images.pixels[order(step)]).permute(0, 3, 1, 2).to(device)
            return
        geometry = geometry_of(data, device)
        # The pipeline prefetches past the last slice, where `order` repeats the last row.
        stream = Stream(
            "evaluation", images, {"plain": "plain"}, geometry, order, numbers, 0, data.std,
            threads=threads, device=device,
        )  # fmt: skip
        for _ in range(count):
            yield next(stream)["plain"]

    for step, pixels in enumerate(plain()):
        labels = torch.from_numpy(images.labels[order(step)]).to(device)
        yield pixels, labels, torch.from_numpy(numbers(step) < len(rows)).to(device)
