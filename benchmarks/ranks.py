"""Groups of processes that train together, for scaling.py: each waits in its process group while others measure."""

import contextlib
import socket
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import wait
from typing import Any

import torch
import torch.distributed as dist

import measure
from communication import count_step
from measure import Reading
from variants import Engine, Plan

LEAST = 2
"""Steps of a window, at least."""
WHOLE = "share 1/1"
"""Key of the share that is the whole batch."""


class Rank(Engine):
    """One rank of the engine. Every rank of its group must be asked for the same windows.

    `step` on a resident batch, `end_to_end` with its loader, `count` what a step communicates, `all_reduce` by size.
    """

    def __init__(self, plan: Plan):
        super().__init__(plan)
        trainer = self.trainer
        self.pace = {"step": 0.0, "end_to_end": 0.0}
        """Seconds a step took last."""
        self.info |= {
            "environment": measure.environment(self.device),
            "rank": trainer.rank.rank,
            "ranks": trainer.rank.world_size,
            "threads": torch.get_num_threads(),
            "backend": dist.get_backend() if dist.is_initialized() else None,
            "replayed": trainer.cfg.replayed,
            "gpus": torch.cuda.device_count(),
        }

    def measure(self, what: str, seconds: float) -> Reading:
        if what == "count":
            return {"count": count_step(self.trainer, self.batch) | {"images_per_step": self.trainer.images.largest}}
        if what == "all_reduce":
            return {"all_reduce": self.all_reduce_times(seconds)}
        action = self.step if what == "step" else self.end_to_end
        if not self.pace[what]:
            elapsed, steps = self.window(action, LEAST)
            self.pace[what] = self.slowest(elapsed / steps)
        if self.loader is not None and what == "end_to_end":
            self.window(action, self.ahead)  # uses up what the loader prepared while it was idle
            waited = self.loader.wait_seconds
        elapsed, steps = self.window(action, max(LEAST, round(seconds / self.pace[what])))
        self.pace[what] = self.slowest(elapsed / steps)
        reading: Reading = {"seconds": elapsed, "steps": steps}
        if self.loader is not None and what == "end_to_end":
            reading["data_wait"] = (self.loader.wait_seconds - waited) / elapsed
        return reading

    def window(self, action: Any, steps: int) -> tuple[float, int]:
        """Seconds of so many steps, which all ranks begin together, after an untimed one; and their number."""
        action()
        if dist.is_initialized():
            dist.barrier()
        return measure.timed(action, self.device, 0.0, warm_up=0, least=steps)

    def slowest(self, value: float) -> float:
        """The largest value of any rank, so that all take the same number of steps."""
        if not dist.is_initialized():
            return value
        largest = torch.tensor(value, dtype=torch.float64)
        dist.all_reduce(largest, dist.ReduceOp.MAX, group=self.trainer.host_group)
        return float(largest)

    def all_reduce_times(self, seconds: float) -> list[dict[str, float]]:
        """[{bytes, seconds, min, max}] of one float32 all-reduce by size; about `seconds` for each size."""
        found = []
        for size in sizes(self.device):
            message = torch.zeros(size // 4, device=self.device)
            elapsed, calls = measure.timed(lambda m=message: dist.all_reduce(m), self.device, 0.0, 2, 3)
            per_window = max(1, int(seconds / 5 / self.slowest(elapsed / calls)))
            times = []
            for _ in range(5):
                dist.barrier()
                elapsed, calls = measure.timed(lambda m=message: dist.all_reduce(m), self.device, 0.0, 0, per_window)
                times.append(self.slowest(elapsed / calls))
            found.append({"bytes": size, "seconds": statistics.median(times), "min": min(times), "max": max(times)})
        return found


def sizes(device: torch.device) -> list[int]:
    """Bytes of the messages that are timed, from 512 B to 64 MiB."""
    return [2**power for power in (range(9, 27) if device.type == "cuda" else (9, 12, 15, 18, 21, 24, 26))]


@dataclass(frozen=True)
class Work:
    """What one group of processes does."""

    key: str
    mode: str
    """"strong" (the global batch stays), "weak" (it grows with the ranks), or "share" (one rank's part, alone)."""
    ranks: int
    labeled: int
    """Labeled images of a step, over all ranks."""
    plan: Plan

    def measures(self, item: str) -> bool:
        """Of parts of the batch only the step is wanted."""
        return item == "step" or self.mode != "share" or self.key == WHOLE


class Group:
    """The processes of a `Work`, as their parent sees them."""

    def __init__(self, work: Work):
        """Returns once all are built and idle."""
        self.work = work
        shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": str(work.ranks)}
        shared["LOCAL_WORLD_SIZE"] = shared["WORLD_SIZE"]
        self.workers: list[measure.Worker] = []
        try:
            for rank in range(work.ranks):
                own = {"RANK": str(rank), "LOCAL_RANK": str(rank)} | shared if work.ranks > 1 else {}
                name = f"{work.key}, rank {rank}"
                self.workers.append(measure.Worker(name, Rank, work.plan, own, wait=False))
            self.info = self.answers()[0]
        except BaseException:
            self.close()
            raise

    def measure(self, what: str, seconds: float) -> Reading:
        """One window of all ranks: that of the slowest, and whether all were idle after it."""
        for worker in self.workers:
            worker.ask(what, seconds)
        readings = self.answers()
        if what in ("count", "all_reduce"):
            return readings[0]
        slowest = max(readings, key=lambda reading: reading["seconds"])
        peak = max(reading["peak_bytes"] for reading in readings)
        return slowest | {"peak_bytes": peak, "idle": all(reading["idle"] for reading in readings)}

    def answers(self) -> list[dict[str, Any]]:
        """One of each rank. The first that fails is reported, since its peers' errors only follow from its own."""
        found: dict[int, dict[str, Any]] = {}
        while len(found) < len(self.workers):
            pending = {worker.connection: k for k, worker in enumerate(self.workers) if k not in found}
            for connection in wait(list(pending)):
                rank = pending[connection]  # type: ignore[index]
                found[rank] = self.workers[rank].answer()
        return [found[rank] for rank in range(len(self.workers))]

    def close(self) -> None:
        close_all([self])


def close_all(groups: Sequence[Group]) -> None:
    """Ends every process; those that hang in a collective operation whose peers are gone are killed after 10 s."""
    measure.close_all([worker for group in groups for worker in group.workers], seconds=10)


def free_port() -> int:
    with contextlib.closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
