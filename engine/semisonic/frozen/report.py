"""The baselines on frozen features of a run, made by all its ranks: what summary.json says of them as `frozen`."""

import time
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from semisonic.algorithms.base import Algorithm
from semisonic.config.run_config import RunConfig
from semisonic.data.loading.image_source import source_of
from semisonic.data.sets.base import DataSet
from semisonic.data.sets.splits import Split
from semisonic.distributed.engine import Accelerator
from semisonic.frozen import kept
from semisonic.frozen.features import Rows, Work, extract
from semisonic.frozen.images import choose
from semisonic.frozen.learner import Learner, attempt
from semisonic.reporting.frozen_baselines import NAMES, line_of
from semisonic.schema import UserError
from semisonic.training.process import on_main


def baselines(
    cfg: RunConfig, data: DataSet, split: Split, accelerator: Accelerator, algorithm: Algorithm, work: Work
) -> dict[str, Any]:
    """All of them, the same on every rank; every rank must call it. algorithm: at the starting weights.

    A baseline that fails is told in a line, and has an `error` in place of accuracies. Raises `Halted` on all ranks
    where the run is to stop; what was made of the features is kept then.
    """
    begin, cpu = time.perf_counter(), time.process_time()
    chosen = choose(split, cfg.seed)
    for note in chosen.notes:
        work.say(note)
    makers = Makers(cfg, data, accelerator, algorithm, work)
    train, made = makers.rows("train", chosen.all)
    test, more = makers.rows("test", np.arange(data.test_count)) if data.test_count else (None, 0)
    result: dict[str, Any] = {
        "network": cfg.model.name,
        "weights": cfg.starting_weights or "random",
        "images": len(chosen.all) + data.test_count,
        "made": made + more,
        "features_seconds": round(time.perf_counter() - begin, 3),
        "features_cpu_seconds": round(time.process_time() - cpu, 3),
    }
    work.say(
        f"Frozen features of {result['images']:,} images by {result['network']} ({result['weights']}), "
        f"{result['made']:,} of them made now, in {result['features_seconds']:.0f} s"
    )

    @cache
    def learner() -> Learner:
        assert train is not None  # on the main process
        return Learner(data, chosen, train, test, cfg.seed, accelerator.device)

    for name in NAMES:  # one by one: the other ranks wait for each, and no longer
        found = on_main(accelerator, partial(attempt, learner, name))
        if found is not None:
            result[name] = found
            work.say(line_of(name, found))
    result |= {"seconds": round(time.perf_counter() - begin, 3)}
    return on_main(accelerator, lambda: result)  # the seconds are those of rank 0


class Makers:
    """How a run comes to the features of its images: what is kept, and all ranks for the rest."""

    def __init__(
        self, cfg: RunConfig, data: DataSet, accelerator: Accelerator, algorithm: Algorithm, work: Work
    ):  # fmt: skip
        self.cfg, self.data, self.accelerator, self.algorithm, self.work = cfg, data, accelerator, algorithm, work

    def rows(self, which: str, wanted: np.ndarray) -> tuple[Rows | None, int]:
        """(the features of "train" or "test" images, on rank 0 alone; how many of them were made now)."""
        path, found = None, None
        if self.work.rank.is_main:
            path = self._path(which)
            width = int(self.algorithm.network.feature_dim)  # type: ignore[arg-type]
            found = None if path is None else kept.read(path, self.work.say, width)
        missing = on_main(self.accelerator, lambda: wanted if found is None else wanted[found.places(wanted) < 0])
        if len(missing):
            source = source_of(self.data, self.work.placement.device, missing, test=which == "test")
            new = Collected(missing)
            try:
                for positions, values in extract(self.algorithm, source, self.work):
                    new.add(positions, values)
            finally:  # what is there when the run is stopped is kept, too
                if path is not None and new.count:
                    kept.keep(path, new.rows, self.work.say)
            found = new.rows if found is None else found.joined(new.rows)
        return (found if self.work.rank.is_main else None), len(missing)

    def _path(self, which: str) -> Path | None:
        if not kept.may_be_kept(self.cfg):
            return None
        try:
            return kept.file_of(kept.fingerprint(self.cfg, self.data, self.algorithm, which))
        except UserError as error:  # a user without a home folder
            self.work.say(f"frozen features cannot be kept: {error}")
            return None


class Collected:
    """Features as they come, in the order of their images."""

    def __init__(self, index: np.ndarray):
        self.index, self.count = index, 0
        self.values = np.empty((0, 0), np.float16)

    def add(self, positions: np.ndarray, values: np.ndarray) -> None:
        if not self.count:
            self.values = np.empty((len(self.index), values.shape[1]), np.float16)
        self.values[positions] = values
        self.count += len(positions)

    @property
    def rows(self) -> Rows:
        return Rows(self.index[: self.count], self.values[: self.count])
