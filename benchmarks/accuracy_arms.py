"""What time_to_accuracy.py compares: the engine, the conventional loop and a plain loop over tensors, each of which
trains FixMatch by a configuration and hands out the weights of its EMA.
"""

import time
from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor, nn

Weights = dict[str, Tensor]


class Arm(Protocol):
    """A training under way on one thread."""

    def begin(self) -> None:
        """Makes what loads data: a part of the training's time."""

    def step(self) -> None: ...

    def weights(self) -> Weights:
        """Those of the EMA network now, copied."""
        ...

    def errors(self, weights: Weights, most: int | None) -> tuple[int, int]:
        """Wrong ones among the test images, or the first `most`, of the EMA network with these weights; how many."""
        ...

    def end(self) -> None: ...


class Engine:
    """The engine's trainer with its loader."""

    def __init__(self, cfg: Any):
        from semisonic.training.build import build_trainer

        self.trainer = build_trainer(cfg)

    def begin(self) -> None:
        self.loader = self.trainer.loader().__enter__()

    def step(self) -> None:
        self.trainer.training_step(next(self.loader))

    def weights(self) -> Weights:
        return _copied(self.trainer.algorithm.ema)

    def errors(self, weights: Weights, most: int | None) -> tuple[int, int]:
        self.trainer.algorithm.ema.load_state_dict(weights)
        right, count = self.trainer.evaluate("ema", "test", most).counts
        return int(count - right), int(count)

    def end(self) -> None:
        self.loader.__exit__(None, None, None)


class _OfLayers:
    """A loop with torch's own layers."""

    average: nn.Module

    def __init__(self, cfg: Any):
        from semisonic.training.build import draw_split, load_data_set

        self.cfg, self.data = cfg, load_data_set(cfg.data)
        self.split = draw_split(cfg, self.data)
        torch.manual_seed(cfg.seed)

    def weights(self) -> Weights:
        return _copied(self.average)

    def errors(self, weights: Weights, most: int | None) -> tuple[int, int]:
        from tensor_loop import predictions

        self.average.load_state_dict(weights)
        pixels, labels = self.data.test.pixels[:most], torch.from_numpy(self.data.test.labels[:most])
        return int((predictions(self.average, self.data, pixels) != labels).sum()), len(labels)

    def end(self) -> None: ...


class Conventional(_OfLayers):
    """The conventional loop, which makes its batches itself: with one core, workers would take it from the step."""

    def begin(self) -> None:
        from conventional import Loop
        from conventional_data import PilViews, make_loader

        data, batch, seed = self.data, self.cfg.batch, self.cfg.seed

        def batches(rows: Any, mode: Any, size: int, seed: int) -> Any:
            views = PilViews(data.train.pixels, data.train.labels, rows, mode, data.flip, data.pad, data.mean, data.std)
            return iter(make_loader(views, size, 0, seed))

        labeled = batches(self.split.labeled, "labeled", batch.labeled, seed)
        pairs = batches(self.split.unlabeled, "unlabeled", batch.unlabeled, seed + 1)
        streams = labeled, (views for views, _ in pairs)
        self.loop = Loop(self.cfg, len(data.classes), data.size, torch.device("cpu"), "fp32", *streams)
        self.average = self.loop.average.network

    def step(self) -> None:
        self.loop.step(self.loop.next_batch())


class Tensors(_OfLayers):
    """The plain loop over tensors."""

    def begin(self) -> None:
        from tensor_loop import TensorLoop

        self.loop = TensorLoop(self.cfg, self.data, self.split)
        self.average = self.loop.average

    def step(self) -> None:
        self.loop.step()


ARMS: dict[str, Callable[[Any], Arm]] = {"engine": Engine, "conventional": Conventional, "tensors": Tensors}


def _copied(module: nn.Module) -> Weights:
    return {name: value.detach().clone() for name, value in module.state_dict().items()}


def run(name: str, cfg: Any, evaluations: int, most: int | None) -> dict[str, Any]:
    """One training: at each of `evaluations` moments its step, the seconds and CPU seconds so far, the EMA's errors.

    The clock stands while weights are copied, and all networks are evaluated once the training is over: what loads
    data beside it has no time that does not count. A short training comes before, whose seconds are those of the start.
    """
    torch.set_num_threads(1)
    begin = time.perf_counter()
    first = ARMS[name](cfg)
    first.begin()
    for _ in range(2):
        first.step()
    first.end()
    start_up = time.perf_counter() - begin
    arm = ARMS[name](cfg)
    found: dict[str, Any] = {"start_up": start_up, "steps": [], "seconds": [], "cpu_seconds": []}
    kept, due = [], {round(cfg.steps * (number + 1) / evaluations) for number in range(evaluations)}
    wall, cpu = -time.perf_counter(), -time.process_time()
    arm.begin()
    for step in range(1, cfg.steps + 1):
        arm.step()
        if step in due:
            wall, cpu = wall + time.perf_counter(), cpu + time.process_time()
            kept.append(arm.weights())
            for key, value in (("steps", step), ("seconds", wall), ("cpu_seconds", cpu)):
                found[key].append(value)
            wall, cpu = wall - time.perf_counter(), cpu - time.process_time()
    counted = [arm.errors(weights, most) for weights in kept]
    arm.end()
    return found | {"errors": [wrong for wrong, _ in counted], "images": counted[0][1]}
