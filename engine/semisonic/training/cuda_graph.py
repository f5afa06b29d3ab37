"""A step recorded once as a CUDA graph and replayed: no kernel is launched by the host any more, only the graph.

Where the batch grows over the run, every size is recorded once, as its steps begin; the graph of the size before is
given up then, with the memory that it holds.

What is recorded must work on tensors with fixed addresses, in place, and must not read the device. The first calls
run as usual, so that everything is compiled, tuned and allocated before it is recorded.
"""

from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

from semisonic.schema import UserError
from semisonic.training.fixed_batch import FixedBatch
from semisonic_kernels.multi_tensor import finish_capture

WARM_UP = 3
WARM_UP_DDP = 11
"""DDP rebuilds its buckets and reads its counters in its first steps; torch's notes on CUDA graphs ask for 11."""

Result = TypeVar("Result")


class Recorder(Protocol):
    def warm_up(self, action: Callable[[], Any]) -> Any:
        """Runs the action."""
        ...

    def capture(self, action: Callable[[], Any]) -> Any:
        """Records what the action does to the device, without doing it; returns what the action returns."""
        ...

    def replay(self) -> None:
        """Does what was recorded."""
        ...

    def release(self) -> None:
        """Gives up what was recorded, with the memory that it holds."""
        ...


class CudaGraph:
    """A `Recorder` on the current device. Warm-up and capture share a stream of their own, as autograd asks for.

    Random numbers: torch registers the device's generator with a graph that is captured. Each replay first copies the
    generator's seed and offset of that moment to the device, where the recorded kernels read them, and then moves the
    offset on. So seeding the generator before a replay gives the numbers that the same step gives without one, on each
    rank its own.
    """

    def __init__(self) -> None:
        self.graph: torch.cuda.CUDAGraph | None = None
        self.stream = torch.cuda.Stream()

    def warm_up(self, action: Callable[[], Any]) -> Any:
        """Also for what must be made on the stream of the capture, such as DDP's nodes of the autograd graph."""
        self.stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self.stream):
            result = action()
        torch.cuda.current_stream().wait_stream(self.stream)
        return result

    def capture(self, action: Callable[[], Any]) -> Any:
        succeeded = False
        self.graph = torch.cuda.CUDAGraph()
        try:
            # "thread_local": the threads of DALI may call CUDA meanwhile.
            with torch.cuda.graph(self.graph, stream=self.stream, capture_error_mode="thread_local"):
                result = action()
            succeeded = True
        finally:
            finish_capture(succeeded)
        return result

    def replay(self) -> None:
        assert self.graph is not None, "nothing was captured"
        self.graph.replay()

    def release(self) -> None:
        torch.cuda.synchronize()  # the last replay may be under way
        self.graph = None


class GraphedFunction(Generic[Result]):
    """Calls `action(batch)`; after `warm_up` calls by copying the batch into fixed tensors and replaying a graph.

    batch: a nested structure of tensors, of at most `sizes` shapes, one after the other: with each all begins anew,
    without what the last one's graph holds. The result's tensors are detached and, once replayed, the same ones every
    time: read them before the next call. Raises UserError where the action cannot be recorded.
    """

    def __init__(self, action: Callable[[Any], Result], recorder: Recorder, warm_up: int = WARM_UP, sizes: int = 1):
        self.action, self.recorder, self.warm_up, self.sizes = action, recorder, warm_up, sizes
        self.calls = 0
        self.seen: list[list[torch.Size]] = []
        """Shapes of the batches so far, size after size."""
        self.fixed: FixedBatch | None = None
        self.result: Any = None

    def __call__(self, batch: Any) -> Result:
        shapes = [value.shape for value in tree_leaves(batch)]
        if self.seen[-1:] != [shapes] and len(self.seen) < self.sizes:
            if self.seen:
                self.recorder.release()  # before the first steps of the next size, which need more memory than a graph
            self.seen.append(shapes)
            self.calls, self.fixed, self.result = 0, None, None
        self.calls += 1
        if self.calls <= self.warm_up:
            return self.recorder.warm_up(lambda: self.action(batch))
        if self.result is None:
            self._capture(batch)
        assert self.fixed is not None
        self.fixed.fill(batch)
        self.recorder.replay()
        return self.result

    def _capture(self, batch: Any) -> None:
        self.fixed = fixed = FixedBatch(batch)
        try:
            result = self.recorder.capture(lambda: self.action(fixed.batch))
        except (RuntimeError, torch.AcceleratorError) as error:
            # Ending a capture that failed raises an error of its own, which hides the first.
            cause = error.__context__ or error
            raise UserError(
                f"replay: this step cannot be recorded as a CUDA graph; use --replay off ({cause})"
            ) from error
        self.result = tree_map(lambda value: value.detach() if isinstance(value, Tensor) else value, result)
