"""The augmented views of some images: a DALI pipeline that is fed by callables of the call's number.

DALI draws nothing itself (`draws.py` does), so the state of the pipeline is the step alone. One call of DALI makes the
images of several steps, which are sliced afterwards: its cost per operator and batch is nearly constant.

Who works when: `Pipeline.run` feeds the next call and then hands over the one that it fed before, so DALI's own threads
(and on a GPU its own streams) work a call ahead, and a thread prepares what the call after that is fed. On the CPU
another thread takes over what DALI made and finishes it, a call ahead of the step. On a GPU the step's thread does,
for it only puts work into the queue of the step's stream.
"""

from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np
import nvidia.dali
import torch
from nvidia.dali import fn, pipeline_def
from torch import Tensor

from semisonic.data.loading.calls import EVERY_STEP, PREFETCH, Placement, StepRange
from semisonic.data.loading.damage import name_undecodable
from semisonic.data.loading.draws import Draws
from semisonic.data.loading.image_source import ImageSource
from semisonic.data.loading.resident import ResidentImages, upload
from semisonic.data.loading.sampler import Sampler
from semisonic.data.sets.base import ImageFiles, Images
from semisonic.data.views.applied import Applied
from semisonic.data.views.registry import build_view
from semisonic.data.views.view import Geometry, View
from semisonic_kernels.noise import normal_noise


def gaussian_noise(images: Tensor, keys: Tensor, deviation: Tensor) -> Tensor:
    """Adds N(0, deviation [1, 3, 1, 1]), hashed from the keys [N], to uint8 images [N, 3, H, W]; rounded, clipped."""
    noise = normal_noise(keys, tuple(images.shape[1:]))
    return (images.float() + deviation * noise).round().clamp(0, 255).to(torch.uint8)


def _one_core_thread() -> ThreadPoolExecutor:
    """A thread whose torch operations run in it alone, so that they need not wait for cores that the step occupies."""
    own = torch.get_num_threads()

    def use_one() -> None:
        torch.get_num_threads()  # a thread takes over the common number the first time it needs it: let that be over
        torch.set_num_threads(1)

    executor = ThreadPoolExecutor(1)
    executor.submit(use_one).result()
    torch.set_num_threads(own)  # what a thread sets for itself also becomes the number for those that start later
    return executor


class StreamBatch(NamedTuple):
    """What one step reads of a stream, on the device; N samples."""

    views: dict[str, Tensor]
    """uint8 [N, 3, H, W], channels_last."""
    columns: dict[str, Tensor]
    """What `Extras.columns` gave for these samples, each [N, ...]."""
    params: dict[str, dict[str, Tensor]]
    """The augmentation parameters of the views that were asked for, each [N, ...]."""


class Call(NamedTuple):
    """What the host prepares for one call of DALI: the samples of several steps, one after the other."""

    rows: np.ndarray
    images: Any
    """What DALI is fed: pixels uint8 [N, H, W, 3], or a list of encoded files; None where the GPU gathers them."""
    params: dict[str, dict[str, np.ndarray]]
    """view -> name -> [N, ...]."""
    arrays: dict[tuple[str, str, str], np.ndarray]
    """What goes to the device beside DALI: ("column", "", name), ("param", view, name) or ("noise", view, "keys")."""


class Received(NamedTuple):
    """A finished call on the device."""

    views: dict[str, Tensor]
    """uint8 [N, 3, H, W], channels_last."""
    arrays: dict[tuple[str, str, str], Tensor]
    """Those of the `Call`."""


def dali_version() -> str:
    return nvidia.dali.__version__


@pipeline_def(enable_conditionals=True)
def view_graphs(
    images: Callable[[int], Any],
    images_options: dict[str, Any],
    params: Callable[[int], tuple[np.ndarray, ...]],
    count: int,
    views: list[tuple[View, list[str]]],
):
    """A stream's pipeline, one output a view. `images_options`: of `feeding`.

    `params` gives `count` arrays in all, those that the views name (by `fed_params`), in their order.
    """
    source = fn.external_source(source=images, batch=True, **images_options)
    rest = list(fn.external_source(source=params, num_outputs=count, batch=True)) if count else []
    outputs = []
    for view, names in views:
        outputs.append(view.graph(source, {name: rest.pop(0) for name in names}))
    return tuple(outputs)


def feeding(geometry: Geometry, stream: Any) -> dict[str, Any]:
    """How DALI is fed images. stream: the CUDA stream of images that are on the GPU; None: they are not there."""
    options: dict[str, Any] = {} if geometry.encoded else {"layout": "HWC"}
    # DALI copies what it is fed, in the order of this stream, and its own stream waits for that copy: so the
    # gathered rows may be freed, and their memory used again on this stream, as soon as they are fed.
    return options if stream is None else options | {"device": "gpu", "cuda_stream": stream}


def fed_params(view: View, params: Collection[str]) -> list[str]:
    """Those of a view's parameters that its graph reads."""
    return sorted({*params} - {*view.kernel_params, *view.loss_params})


@dataclass(frozen=True)
class Extras:
    """What a stream gives and takes beside images."""

    columns: Callable[[range], Mapping[str, np.ndarray]] | None = None
    """Further arrays of the samples of some steps, [N, ...] each; they go to the device along with the images."""
    params: Collection[str] = ()
    """Views whose augmentation parameters go to the device too."""
    tables: Callable[[int], np.ndarray] | None = None
    """What the adaptive views of a step draw by; None: their first table."""
    run: int | None = None
    """Steps of the whole run, over which growing views grow; None: they stay as they begin."""

    def view_of(self, view: View, step: int) -> View:
        """A view as a step draws it."""
        if view.adaptive and self.tables is not None:
            return view.with_table(self.tables(step))
        return view.at(min(1.0, step / max(1, self.run - 1))) if view.grows and self.run is not None else view


NOTHING_MORE = Extras()


def _view(spec: str | View, geometry: Geometry, placement: Placement) -> View:
    if isinstance(spec, View):
        return spec
    return build_view(spec, geometry, placement.equalize, placement.operations)


class Stream:
    """The augmented views of an `ImageSource`, step by step; a view is given as a spec or ready-made.

    To be closed, by `with` or `close`: threads and DALI's pipeline do not end by themselves.
    """

    def __init__(
        self,
        draws: Draws,
        source: ImageSource,
        views: Mapping[str, str | View],
        sampler: Sampler,
        placement: Placement,
        steps: StepRange = EVERY_STEP,
        extras: Extras = NOTHING_MORE,
    ):
        self.draws, self.source, self.sampler, self.steps, self.extras = draws, source, sampler, steps, extras
        self.step, self.device = steps.start, placement.device
        self.steps_per_call = placement.steps_per_call or 1
        images, geometry = source.images, source.geometry
        self.resident = source.resident
        if self.resident is None and isinstance(images, Images):
            self.resident = ResidentImages(images, geometry.pad, self.device, keep=False)
        self.views = {name: _view(spec, geometry, placement) for name, spec in views.items()}
        unit = 255 * torch.tensor(source.std, device=self.device).view(1, 3, 1, 1)
        self._deviation = {name: view.noise_std * unit for name, view in self.views.items() if view.noise_std}
        self._readers = ThreadPoolExecutor(placement.threads)  # idle, and threadless, for resident images
        self._worker = ThreadPoolExecutor(1)
        self._calls: dict[int, Future[Call]] = {}
        self._receiver = _one_core_thread() if self.device.type == "cpu" else None
        self._coming: dict[int, Future[Received]] = {}
        self._received: Received | None = None
        self._fed: dict[str, list[str]] = {}
        self.pipeline: Any = None
        self.closed = False
        try:
            self.pipeline = self._build(placement.threads)
        except BaseException:
            self.close()
            raise

    def _build(self, threads: int) -> Any:
        """DALI's pipeline, for the parameters that the first call's views have."""
        for name, params in self._call(0).params.items():
            self._fed[name] = fed_params(self.views[name], params)
        pipeline = view_graphs(
            self.feed_images,
            feeding(self.source.geometry, self.resident.stream if self.resident is not None else None),
            self.feed_params,
            sum(map(len, self._fed.values())),
            [(view, self._fed[name]) for name, view in self.views.items()],
            batch_size=self.sampler.share * self.steps_per_call,
            num_threads=threads,
            device_id=(self.device.index or 0) if self.device.type == "cuda" else None,
            prefetch_queue_depth=PREFETCH,
        )
        pipeline.build()
        return pipeline

    def close(self) -> None:
        """Ends the threads, which may finish the call that they are at, and releases DALI's pipeline.

        What was handed out stays valid. Closing again does nothing.
        """
        self.closed = True
        # In this order, for each waits for what the next one makes.
        for executor in (self._receiver, self._worker, self._readers):
            if executor is not None:
                executor.shutdown(wait=True, cancel_futures=True)
        self._calls.clear()
        self._coming.clear()
        self._received = None
        pipeline, self.pipeline = self.pipeline, None
        if pipeline is not None and self.device.type == "cuda":
            with suppress(RuntimeError):  # a device that has failed says so where it is used
                torch.cuda.current_stream(self.device).synchronize()  # it may still read what DALI made
        # The traceback of an error may keep the pipeline, and with it DALI's threads, for longer.
        if shut_down := getattr(pipeline, "_shutdown", None):
            shut_down()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # On the host, ahead of the step.

    def prepare(self, number: int) -> Call:
        """All that the host computes for a call: a function of its number alone."""
        first, count = self.steps.start + number * self.steps_per_call, self.steps_per_call
        steps = range(first, first + count)
        rows, numbers = self.source.rows(self.sampler.indices(first, count)), self.sampler.numbers(first, count)
        shapes_N2, images = self._shapes(rows), self._pixels(rows)
        columns = self.extras.columns(steps) if self.extras.columns else {}
        arrays, params = {("column", "", name): array for name, array in columns.items()}, {}
        for name, view in self.views.items():
            params[name] = self._params(view, steps, self._uniforms(name, numbers), shapes_N2)
            for param, array in params[name].items():
                if name in self.extras.params or param in view.kernel_params:
                    arrays["param", name, param] = array
            if view.noise_std:
                arrays["noise", name, "keys"] = self.draws.sample_keys("noise", name, numbers)
        return Call(rows, images, params, arrays)

    def applied(self, step: int) -> dict[str, list[list[Applied]]]:
        """By view, what it does to each sample of a step: of the same draws as the images of that step."""
        rows, numbers = self.source.rows(self.sampler.indices(step)), self.sampler.numbers(step)
        shapes_N2 = self._shapes(rows)
        return {
            name: self.extras.view_of(view, step).applied(self._uniforms(name, numbers), shapes_N2)
            for name, view in self.views.items()
        }

    def _uniforms(self, view: str, numbers_N: np.ndarray) -> np.ndarray:
        """What a view draws for these samples, [N, K]."""
        return self.draws.uniforms("view", view, numbers_N, self.views[view].uniforms)

    def _shapes(self, rows: np.ndarray) -> np.ndarray | None:
        """Heights and widths of encoded images, [N, 2]."""
        return self.source.images.shapes[rows] if isinstance(self.source.images, ImageFiles) else None

    def _pixels(self, rows: np.ndarray) -> Any:
        """What DALI is fed of these images by the host; None where the GPU gathers them."""
        images = self.source.images
        if isinstance(images, ImageFiles):
            try:
                return list(self._readers.map(images.read, rows))
            except Exception as error:  # Pillow's own errors are of a dozen types
                raise name_undecodable(error, images, rows) from error
        assert self.resident is not None
        return None if self.resident.on_gpu else self.resident.gather(rows)

    def _params(
        self, view: View, steps: range, uniforms_NK: np.ndarray, shapes_N2: np.ndarray | None
    ) -> dict[str, np.ndarray]:
        extras = self.extras
        if not (view.adaptive and extras.tables is not None) and not (view.grows and extras.run is not None):
            return view.params(uniforms_NK, shapes_N2)
        cuts = np.cumsum(self.sampler.shares(steps.start, len(steps)))[:-1]
        shapes = [None] * len(steps) if shapes_N2 is None else np.split(shapes_N2, cuts)
        parts = [
            extras.view_of(view, step).params(uniforms, own)
            for step, uniforms, own in zip(steps, np.split(uniforms_NK, cuts), shapes, strict=True)
        ]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _call(self, number: int) -> Call:
        """What was prepared for a call; the next one is begun meanwhile."""
        for wanted in (number, number + 1):
            if wanted not in self._calls and (wanted == number or self._needed(wanted)):
                self._calls[wanted] = self._worker.submit(self.prepare, wanted)
        return self._calls[number].result()

    def feed_images(self, number: int) -> Any:
        """What DALI reads of a call: encoded files or pixels, on the GPU where the images are there."""
        call = self._call(number)
        if self.resident is not None and self.resident.on_gpu:
            return self.resident.gather_on_gpu(call.rows)
        return call.images

    def feed_params(self, number: int) -> tuple[np.ndarray, ...]:
        """The views' parameters that DALI reads, in the order of its inputs."""
        params = self._call(number).params
        return tuple(params[view][name] for view, names in self._fed.items() for name in names)

    # On the device.

    def _receive(self, number: int) -> Received:
        """Takes over the images of a call and finishes them."""
        # On torch's stream, so that neither side reads or reuses a buffer before the other is done with it.
        on_gpu = self.device.type == "cuda"
        try:
            outputs = self.pipeline.run(torch.cuda.current_stream(self.device) if on_gpu else None)
        except RuntimeError as error:
            raise self._explained(error) from error
        arrays = upload(self._calls.pop(number).result().arrays, self.device)
        views = {}
        for (name, view), output in zip(self.views.items(), outputs, strict=True):
            images_NHWC = torch.from_dlpack(output.as_tensor())
            if view.kernel_params:
                needed = {param: arrays["param", name, param] for param in view.kernel_params}
                images_NHWC = view.apply_kernel(images_NHWC, needed)
            views[name] = images_NHWC.permute(0, 3, 1, 2)
            if view.noise_std:
                # Step by step, for the sake of memory: noise is made as floats from 64-bit integers.
                shares = self._shares(number)
                keys = arrays["noise", name, "keys"].split(shares)
                for part, keys_N in zip(views[name].split(shares), keys, strict=True):
                    part.copy_(gaussian_noise(part, keys_N, self._deviation[name]))
        return Received(views, arrays)

    def _explained(self, error: Exception) -> Exception:
        """DALI's error by the names of the files that it was fed and cannot decode."""
        if not isinstance(self.source.images, ImageFiles):
            return error
        fed = [call.result().rows for call in self._calls.values() if call.done() and not call.exception()]
        return name_undecodable(error, self.source.images, np.concatenate(fed))

    def _shares(self, number: int) -> list[int]:
        """Samples of each step of a call."""
        return self.sampler.shares(self.steps.start + number * self.steps_per_call, self.steps_per_call)

    def _next_call(self, number: int) -> Received:
        if self._receiver is None:
            return self._receive(number)
        for wanted in (number, number + 1):
            if wanted not in self._coming and (wanted == number or self._needed(wanted)):
                self._coming[wanted] = self._receiver.submit(self._receive, wanted)
        received = self._coming[number].result()
        del self._coming[number]  # only now: an error is raised again, should the step be asked for again
        return received

    def _needed(self, number: int) -> bool:
        steps = self.steps
        return steps.stop is None or steps.start + number * self.steps_per_call < steps.stop

    def take(self) -> StreamBatch:
        """What the next step reads."""
        if self.closed:
            raise RuntimeError(f"the stream of {self.draws.stream} images is closed")
        number, offset = divmod(self.step - self.steps.start, self.steps_per_call)
        if offset == 0 or self._received is None:
            self._received = self._next_call(number)
        shares = self._shares(number)
        first = sum(shares[:offset])
        rows = slice(first, first + shares[offset])
        part = StreamBatch({name: images[rows] for name, images in self._received.views.items()}, {}, {})
        for (kind, view, name), array in self._received.arrays.items():
            if kind == "column":
                part.columns[name] = array[rows]
            elif view in self.extras.params and kind == "param":
                part.params.setdefault(view, {})[name] = array[rows]
        if offset == self.steps_per_call - 1:
            self._received = None  # the steps' slices keep it as long as they need it
        self.step += 1
        return part

    def __next__(self) -> dict[str, Tensor]:
        """The views of the next step: name -> uint8 [N, 3, H, W] on the device, channels_last."""
        return self.take().views
