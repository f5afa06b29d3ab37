"""Runs that are started, killed and started again: what they train, and the processes that they are.

Processes are forked from one that has imported everything, for the sake of time.
"""

import json
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
from PIL import Image

from semisonic import faults
from tests.support.processes import free_port

STEPS = 18
COMMON = ("--device", "cpu", "--threads", "1", "--batch.labeled", "8", "--no-baseline", "--model", "wrn-10-1",
          "--optim.lr", "0.01", "--checkpoint.every", "4", "--eval.every", "6", "--eval.batch", "400",
          "--log.every", "3", "--log.trackers", "none")  # fmt: skip
ALGORITHMS = {
    # A constant rate, so that a run that goes on for longer is the same run; a table of labeled images at its end, and
    # snapshots at steps 14 and 18.
    "fixmatch": ("--algorithm.threshold", "0.16", "--optim.schedule", "constant", "--addons.aum.record", "on",
                 "--data.held-out", "20", "--batch.unlabeled-ratio", "2", "--checkpoint.snapshots", "2"),
    # Images in files, of which the pool is gone through several times.
    "flexmatch": ("--algorithm.threshold", "0.3", "--algorithm.warm-up", "false", "--data", "folder", "--data.size", "16",
                  "--data.labels", "6", "--data.held-out", "6", "--batch.unlabeled-ratio", "4"),
    "mpl": ("--algorithm.dropout", "0.2", "--algorithm.threshold", "0.25", "--algorithm.wait", "1",
            "--algorithm.warm-up", "0", "--algorithm.strong", "fixmatch", "--data.held-out", "20",
            "--batch.unlabeled-ratio", "2"),
    "remixmatch": ("--algorithm.block", "2", "--algorithm.ramp", "2", "--algorithm.window", "3", "--algorithm.strong",
                   "ctaugment", "--addons.ctaugment.lag", "4", "--data.held-out", "20", "--batch.unlabeled-ratio", "2"),
    # A pool of 137 images, of which 32 are taken in a step: its epochs end in the middle of a batch.
    "temporal-ensembling": ("--data.held-out", "1300", "--batch.unlabeled-ratio", "4"),
}  # fmt: skip
"""What is trained. Every 4 steps there is a checkpoint, and every 3 a line of metrics."""
PRELOAD = ["semisonic.cli", "semisonic.runs.run", "nvidia.dali.fn", "nvidia.dali.plugin.pytorch", "matplotlib.figure",
           "matplotlib.backends.backend_agg", "sklearn.datasets", "scipy.stats", "torch._dynamo", "pyarrow.parquet",
           "nvidia.nvimgcodec", "tests.dist.lives"]  # fmt: skip
LIMIT = 180.0
"""Seconds after which a process counts as hung."""
GRACE = 3.0
"""Seconds that the other ranks have once one is dead: launchers kill them as well."""


@dataclass(frozen=True)
class Job:
    """One process: `launch/train.py ARGS` as rank `rank` of `world`; its output goes to `log`."""

    args: tuple[str, ...]
    log: Path
    rank: int
    world: int
    port: int
    fault: str = ""
    """What SEMISONIC_FAULT says."""
    reached: Path | None = None
    """A file for how often the process has reached each point where none strikes."""


def train(job: Job) -> None:
    """The process's whole life."""
    log = os.open(job.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    sys.stdout = sys.stderr = os.fdopen(1, "w", buffering=1)
    os.environ.pop("SEMISONIC_FAULT", None)
    if job.world > 1:
        os.environ |= {
            "RANK": str(job.rank), "LOCAL_RANK": str(job.rank), "WORLD_SIZE": str(job.world),
            "LOCAL_WORLD_SIZE": str(job.world), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(job.port),
        }  # fmt: skip
    if job.fault:
        os.environ["SEMISONIC_FAULT"] = job.fault
    if job.reached:
        os.environ["SEMISONIC_FAULT"] = "step.kill:999999"
    from semisonic.cli import main

    code = main(job.args)
    if job.reached:
        job.reached.write_text(json.dumps(faults.reached()))
    sys.exit(code)


def write_images(folder: Path) -> None:
    """Images of three classes in folders, 20 for training and 8 for testing of each."""
    rng = np.random.default_rng(0)
    for part, count in (("train", 20), ("test", 8)):
        for name in [f"{part}/{label}/{i}.png" for label in "abc" for i in range(count)]:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 256, (20, 20, 3), dtype=np.uint8)).save(folder / name)


class Lives:
    """Starts and ends the processes of runs of one algorithm on so many ranks, in folders below `root`."""

    def __init__(self, root: Path, algorithm: str, world: int):
        self.root, self.algorithm, self.world = root, algorithm, world
        self.fields = ("--algorithm", algorithm, *COMMON, *ALGORITHMS[algorithm])
        self.context = multiprocessing.get_context("forkserver")
        self.context.set_forkserver_preload(PRELOAD)
        root.mkdir(parents=True, exist_ok=True)

    def warm_up(self) -> None:
        """Waits for the imports, which the first process would wait for."""
        process = self.context.Process(target=free_port)
        process.start()
        process.join()

    def log(self, folder: Path, rank: int = 0) -> Path:
        return self.root / (f"{folder.name}.log" if rank == 0 else f"{folder.name}.{rank}")

    def arguments(self, folder: Path, keep: int, steps: int) -> tuple[str, ...]:
        """Of a run in a folder, which is resumed where there is one. Images of its own are beside it."""
        args = (*self.fields, "--steps", str(steps), "--checkpoint.keep", str(keep), "--out", str(folder))
        if "folder" in self.fields:
            images = self.root / f"{folder.name}.images"
            if not images.exists():
                write_images(images)
            args += ("--data.root", str(images))
        return (*args, "--resume") if (folder / "config.yaml").exists() else args

    def start(
        self, folder: Path, keep: int = 2, fault: str = "", steps: int = STEPS, reached: Path | None = None,
        more: Sequence[str] = (),
    ) -> list[BaseProcess]:  # fmt: skip
        """Starts all ranks. fault: what SEMISONIC_FAULT says. reached: see `Job`. more: further arguments."""
        args, port = (*self.arguments(folder, keep, steps), *more), free_port()
        started = []
        for rank in range(self.world):
            counted = reached if rank == 0 else None
            job = Job(args, self.log(folder, rank), rank, self.world, port, fault, counted)
            started.append(self.context.Process(target=train, args=(job,)))
            started[-1].start()
        return started

    def wait(self, started: Sequence[BaseProcess], limit: float = LIMIT) -> bool:
        """Whether all have ended in time."""
        deadline = time.monotonic() + limit
        for process in started:
            process.join(max(0.0, deadline - time.monotonic()))
        return all(process.exitcode is not None for process in started)

    def end(self, started: Sequence[BaseProcess]) -> None:
        for process in started:
            process.kill()
            process.join()

    def settled(self, started: Sequence[BaseProcess]) -> bool:
        """Waits until all have ended; once a rank is dead, the others are killed after a while, as launchers do.

        False where one hangs although none has died.
        """
        deadline, dead = time.monotonic() + LIMIT, False
        while time.monotonic() < deadline and not all(process.exitcode is not None for process in started):
            if not dead and any(process.exitcode == -signal.SIGKILL for process in started):
                deadline, dead = time.monotonic() + GRACE, True
            time.sleep(0.01)
        ended = dead or all(process.exitcode is not None for process in started)
        self.end(started)
        return ended

    def run_to_end(self, folder: Path, keep: int = 2, steps: int = STEPS, reached: Path | None = None) -> float:
        """The seconds that it takes. Raises `RuntimeError` where the run fails."""
        begin, started = time.monotonic(), self.start(folder, keep, steps=steps, reached=reached)
        if not self.wait(started) or any(process.exitcode for process in started):
            codes = [process.exitcode for process in started]
            self.end(started)
            raise RuntimeError(f"{folder} ends with {codes}:\n{self.log(folder).read_text()[-1500:]}")
        return time.monotonic() - begin
