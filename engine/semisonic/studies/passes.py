"""How many images a step sends through networks, counted in one step of a tiny network with the run's own batch.

    image passes = images forwarded + 2 * those of them that are forwarded with a gradient

since a backward costs about two forwards. All networks of a method count, its average and its teacher too; the
evaluation does not.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from semisonic.algorithms.registry import ALGORITHMS
from semisonic.check.tiny import Runner, TinyNetwork, batch_for, info
from semisonic.config.run_config import RunConfig
from semisonic_kernels.fuse import use_kernels

BACKWARD = 2
"""What a backward costs, in forwards."""


def passes_of_step(cfg: RunConfig) -> int:
    """Image passes of a step of a run with this configuration, at its whole batch."""
    return _counted(cfg.algorithm, cfg.batch.labeled, cfg.batch.labeled * cfg.batch.unlabeled_ratio)


def passes_of_run(cfg: RunConfig) -> int:
    """Image passes of all steps of a run."""
    return cfg.steps * passes_of_step(cfg)


@contextmanager
def _with_table(cfg: Any, pool: int, classes: int) -> Iterator[Any]:
    """An algorithm's configuration, with predictions on such a pool in place of those that it names: they may be yet to
    come, and are of another one."""
    if getattr(cfg, "predictions", None) is None:
        yield cfg
        return
    with TemporaryDirectory() as folder:
        path = Path(folder) / "table.npy"
        np.save(path, np.full((pool, classes), 1 / classes, np.float32))
        yield cfg.model_copy(update={"predictions": path})


@cache
def _counted(cfg: Any, labeled: int, unlabeled: int) -> int:
    total = 0

    def count(layer: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal total
        total += len(given[0]) * (1 + BACKWARD * output.requires_grad)

    def build() -> nn.Module:
        network = TinyNetwork()
        network.conv.register_forward_hook(count)  # a copy of the network, such as its average, has it too
        return network

    pool = max(unlabeled, labeled)
    own = info(labeled=labeled, unlabeled=pool, labeled_batch=labeled, unlabeled_batch=unlabeled)
    with (
        torch.random.fork_rng(devices=[]),
        use_kernels("reference"),  # nothing is compiled for one step
        _with_table(cfg, pool, own.classes) as whole,
    ):
        algorithm = ALGORITHMS[cfg.name](whole, build, own)
        Runner(algorithm).step(batch_for(algorithm, size_x=labeled, size_u=unlabeled))
    return total
