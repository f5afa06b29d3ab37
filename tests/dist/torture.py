"""Kills training runs over and over and compares all that they leave with a run that nobody killed.

    python tests/dist/torture.py --kills 100 [--processes 2] [--jobs 2] [--seed 0] [--out FILE.json]

The real command line trains FixMatch on the digits, with a held-out set that chooses a checkpoint. It is killed N times
at points (see points.py; every point at least once if N allows) and N times at random moments. After each kill every
checkpoint is compared bit for bit with that of the unkilled run (model, optimizer, history, step), nothing that was
said to be written may be missing, and the run is resumed. At its end the metrics are compared as well. Exit code 1 if
anything was lost or damaged.
"""

import argparse
import multiprocessing
import os
import random
import re
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from semisonic.checkpoint import format as checkpoints  # noqa: E402
from semisonic.schema import UserError  # noqa: E402
from tests.dist.points import Job, Kill, train  # noqa: E402
from tests.dist.reference import Damaged, Lost, Reference, finished, metrics, result  # noqa: E402

STEPS = 18
FIELDS = ("--device", "cpu", "--threads", "1", "--batch.labeled", "8", "--batch.unlabeled-ratio", "2", "--no-baseline",
          "--model", "wrn-10-1", "--data.held-out", "20", "--optim.lr", "0.01", "--algorithm.threshold", "0.16", "--steps", str(STEPS),
          "--checkpoint.every", "4", "--eval.every", "6", "--eval.batch", "400", "--log.every", "2", "--log.trackers", "none")  # fmt: skip
PRELOAD = ["semisonic.cli", "semisonic.runs.run", "nvidia.dali.fn", "nvidia.dali.plugin.pytorch", "matplotlib.figure",
           "matplotlib.backends.backend_agg", "sklearn.datasets", "scipy.stats", "torch._dynamo", "tests.dist.points"]  # fmt: skip
BACK = 8
"""The step to which a copy of the finished run is set back, as one start for a life."""
KILLS = 6
"""Kills in a life at most, in turn at a point and at random."""
LIMIT = 180.0
"""Seconds after which a process counts as hung."""

GRACE = 3.0
"""Seconds that the other ranks have once one is dead."""
MISSES = 3
"""How often a run may end before a kill until that counts as a mistake of the test."""


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


# Kills.


@dataclass
class Tally:
    """What is still to be done, and what was found; used by several threads."""

    points: list[tuple[str, Kill]]
    """(start of the life, kill), those that come first being needed most."""
    random: int
    total: int
    hit: Counter[str] = field(default_factory=Counter)
    misses: Counter[tuple[str, Kill]] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, what: str) -> None:
        with self.lock:
            self.counts[what] += 1

    def next_point(self, first: bool) -> tuple[str, Kill] | None:
        """Takes a kill that is still to be done: for a life's first start, or for a later one.

        What a later start has missed is left for a first one, which passes all points of its kind.
        """
        with self.lock:
            for item in sorted(self.points, key=lambda item: -self.misses[item]):
                if first or (item[0] == "back" and not self.misses[item]):
                    self.points.remove(item)
                    return item
        return None

    def next_random(self) -> bool:
        with self.lock:
            self.random -= 1
            return self.random >= 0

    def give_back(self, what: str, item: tuple[str, Kill] | None = None) -> None:
        with self.lock:
            if item and self.misses[item] < MISSES:
                self.misses[item] += 1
                self.points.append(item)
            elif item:
                self.problems.append(f"never passed: {item}")
            elif what == "random":
                self.random += 1


class Torture:
    """Runs lives: a run's folder from its start over several kills to its end."""

    def __init__(self, root: Path, processes: int, seed: int):
        self.root, self.processes, self.seed = root, processes, seed
        self.context = multiprocessing.get_context("forkserver")
        self.context.set_forkserver_preload(PRELOAD)
        self.reference: Reference
        self.seconds: dict[str, float] = {}
        """How long an unkilled run takes from each start."""

    def start(self, folder: Path, keep: int, kill: Kill | None = None, record: Path | None = None) -> list[BaseProcess]:
        args = (*FIELDS, "--checkpoint.keep", str(keep), "--out", str(folder))
        if (folder / "config.yaml").exists():
            args += ("--resume",)
        port, log = free_port(), self.log(folder)
        started = []
        for rank in range(self.processes):
            first = rank == 0  # it alone writes
            job = Job(args, folder, log if first else log.with_suffix(f".{rank}"), rank, self.processes, port,
                      kill if first else None, record if first else None)  # fmt: skip
            process = self.context.Process(target=train, args=(job,))
            process.start()
            started.append(process)
        return started

    def log(self, folder: Path) -> Path:
        return self.root / f"{folder.name}.log"

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

    def prepare(self) -> dict[str, Counter[str]]:
        """The unkilled run, and the points that are passed by a start of each kind: how often each."""
        found = {}
        warm = self.context.Process(target=free_port)  # the first process waits for the imports
        warm.start()
        warm.join()
        for begin, keep in (("fresh", 100), ("back", 2)):
            folder, record = self.root / begin, self.root / f"{begin}.points"
            if begin == "back":
                self.set_back(folder)
            clock = time.monotonic()
            started = self.start(folder, keep, record=record)
            if not self.wait(started) or any(process.exitcode for process in started):
                self.end(started)
                raise SystemExit(f"the {begin} run failed:\n{self.log(folder).read_text()[-3000:]}")
            self.seconds[begin] = time.monotonic() - clock
            if begin == "fresh":
                self.reference = Reference.read(folder)
            found[begin] = Counter(record.read_text().splitlines())
        self.verify_end(self.root / "back")
        return found

    def set_back(self, folder: Path) -> None:
        """A copy of the unkilled run as if it had ended after step `BACK`, with later checkpoints not named."""
        shutil.copytree(self.reference.folder, folder)
        (folder / "checkpoints" / "latest").write_text(f"step-{BACK}\n")
        (folder / "summary.json").unlink()

    def live(self, number: int, tally: Tally) -> None:
        chance = random.Random(f"{self.seed}/{number}")
        begin, first = tally.next_point(first=True) or ("fresh", None)
        folder, floor, later = self.root / f"life-{number}", 0, begin
        if begin == "back":
            self.set_back(folder)
            floor = BACK
        try:
            for turn in range(KILLS):
                kill = first if turn == 0 else None
                if turn and turn % 2 == 0:
                    later, kill = tally.next_point(first=False) or ("back", None)
                if kill:
                    killed = self.kill_at(folder, kill, later, tally)
                else:
                    killed = turn % 2 == 1 and self.kill_sometime(folder, floor, chance, tally)
                floor = self.verify(folder, floor, tally)
                if not killed and finished(folder):
                    break
            else:
                self.run_to_end(folder)
                self.verify(folder, floor, tally)
            self.verify_end(folder)
            tally.count("ends compared")
            shutil.rmtree(folder)
        except (Lost, Damaged) as problem:
            tally.count("lost" if isinstance(problem, Lost) else "corrupted")
            with tally.lock:
                tally.problems.append(f"{folder.name}: {problem}")
        except Exception:
            with tally.lock:
                tally.problems.append(f"{folder.name}: {traceback.format_exc()}")

    def run_to_end(self, folder: Path) -> None:
        started = self.start(folder, keep=2)
        if not self.wait(started) or any(process.exitcode for process in started):
            self.end(started)
            raise Damaged(f"{folder} does not run to its end:\n{self.log(folder).read_text()[-1500:]}")

    def kill_at(self, folder: Path, kill: Kill, begin: str, tally: Tally) -> bool:
        started = self.start(folder, keep=2, kill=kill)
        if not self.settled(started):
            raise Damaged(f"{folder}: hangs after {kill}")
        if killed := started[0].exitcode == -signal.SIGKILL:
            tally.count("kills at points")
            with tally.lock:
                tally.hit[kill.point] += 1
        elif started[0].exitcode:
            raise Damaged(f"{folder} failed:\n{self.log(folder).read_text()[-1500:]}")
        else:
            tally.give_back("point", (begin, kill))  # the run was past it
        return killed

    def kill_sometime(self, folder: Path, floor: int, chance: random.Random, tally: Tally) -> bool:
        if not tally.next_random():
            return False
        started = self.start(folder, keep=2)
        seconds = self.seconds["back" if (folder / "config.yaml").exists() else "fresh"]
        # A start takes about as long as the steps, of which fewer and fewer are left.
        self.wait(started, chance.uniform(0, seconds * (1 - floor / STEPS / 2)))
        victims = chance.choice([started, started[:1], started[-1:]])
        alive = [process for process in victims if process.exitcode is None]
        for process in alive:
            process.kill()
        if not self.settled(started):
            raise Damaged(f"{folder}: hangs")
        if any(process.exitcode == -signal.SIGKILL for process in alive):
            tally.count("kills at random moments")
            return True
        tally.give_back("random")
        if any(process.exitcode for process in started):
            raise Damaged(f"{folder} failed:\n{self.log(folder).read_text()[-1500:]}")
        return False

    def settled(self, started: Sequence[BaseProcess]) -> bool:
        """Waits until all have ended; once a rank is dead, the others are killed after a while, as launchers do.

        False where one hangs although none has died.
        """
        deadline, dead = time.monotonic() + LIMIT, False
        while time.monotonic() < deadline and not all(process.exitcode is not None for process in started):
            if not dead and any(process.exitcode for process in started):
                deadline, dead = time.monotonic() + GRACE, True
            time.sleep(0.01)
        ended = dead or all(process.exitcode is not None for process in started)
        self.end(started)
        return ended

    def verify(self, folder: Path, floor: int, tally: Tally) -> int:
        """Compares every checkpoint of a run. Returns the step of its latest, which must be at least `floor`."""
        log = self.log(folder)  # a process can be killed before it opens it
        said = re.findall(r"step (\d+)/\d+  checkpoint written", log.read_text()) if log.exists() else []
        floor = max([floor, *map(int, said)])
        place = folder / "checkpoints"
        found = checkpoints.saved(place)
        for path in found:
            self.reference.compare(path)
            tally.count("checkpoints compared")
        try:
            latest = checkpoints.latest(place)
        except UserError as error:
            raise Damaged(str(error)) from error
        step = int(latest.name.removeprefix("step-")) if latest else 0
        if step < floor:
            raise Lost(f"{place}: the latest is step {step}, but step {floor} was written")
        if latest:
            history = checkpoints.load_checkpoint(latest).state["history"]
            best = max(history, key=lambda entry: entry["held_out/top1"], default=None)
            if best and place / f"step-{best['step']}" not in found:
                raise Lost(f"{place}: the best, of step {best['step']}, is gone")
            if [line for line in self.reference.metrics if line["step"] <= step] != self.metrics_until(folder, step):
                raise Lost(f"{folder}: metrics before the checkpoint of step {step} differ")
        return step

    def metrics_until(self, folder: Path, step: int) -> list[dict[str, Any]]:
        """The metrics that a resumed run would keep."""
        copied = self.root / f"{folder.name}.metrics"
        copied.mkdir(exist_ok=True)
        shutil.copy(folder / "metrics.jsonl", copied)
        from semisonic.reporting.trackers import discard_after

        discard_after(copied / "metrics.jsonl", step)
        return metrics(copied)

    def verify_end(self, folder: Path) -> None:
        if result(folder) != self.reference.result:
            raise Damaged(f"{folder}/summary.json differs")
        if metrics(folder) != self.reference.metrics:
            raise Damaged(f"{folder}/metrics.jsonl differs")
        if not finished(folder):
            raise Damaged(f"{folder}/status.json differs")
        left = {path.name for path in (folder / "checkpoints").iterdir()} - {"latest"}
        if any(name.startswith(".") for name in left):
            raise Damaged(f"{folder}/checkpoints still holds {sorted(left)}")


def choose(found: dict[str, Counter[str]], kills: int, chance: random.Random) -> list[tuple[str, Kill]]:
    """`kills` kills: each point once, writes also half way, then points and occurrences at random."""
    once: dict[tuple[str, bool], tuple[str, int]] = {}
    for begin, counts in found.items():
        for point, count in counts.items():
            for half in (False, True) if point.startswith("write ") else (False,):
                if begin == "fresh" or (point, half) not in once:
                    once[point, half] = (begin, count)
    chosen = [(begin, Kill(point, 1, half)) for (point, half), (begin, _) in once.items()]
    chance.shuffle(chosen)
    everything = list(once.items())
    while len(chosen) < kills:
        (point, half), (begin, count) = chance.choice(everything)
        chosen.append((begin, Kill(point, chance.randint(1, count), half)))
    return chosen[:kills]


def run(kills: int, processes: int, jobs: int, seed: int, root: Path) -> dict[str, Any]:
    """All of it; returns the metrics."""
    begin = time.monotonic()
    torture = Torture(root, processes, seed)
    found = torture.prepare()
    points = sorted(found["fresh"].keys() | found["back"].keys())
    tally = Tally(choose(found, kills, random.Random(seed)), kills, len(points))
    number = 0
    with ThreadPoolExecutor(jobs) as pool:
        while (tally.points or tally.random > 0) and not tally.problems and number < 20 * kills:
            lives = [pool.submit(torture.live, number + k, tally) for k in range(jobs)]
            number += jobs
            for life in lives:
                life.result()
    counts = {name: tally.counts[name] for name in ("kills at points", "kills at random moments", "checkpoints compared",
              "ends compared", "lost", "corrupted")}  # fmt: skip
    return counts | {
        "points": len(points), "points hit": len(tally.hit), "lives": number, "processes": processes, "seed": seed,
        "seconds": round(time.monotonic() - begin, 1), "hits": dict(sorted(tally.hit.items())),
        "problems": tally.problems,
    }  # fmt: skip


def sentence(done: dict[str, Any]) -> str:
    return (
        f"{done['kills at points']} kills at {done['points hit']} of {done['points']} points and "
        f"{done['kills at random moments']} at random moments of {done['processes']} "
        f"process{'es' if done['processes'] > 1 else ''}; {done['checkpoints compared']} checkpoints and "
        f"{done['ends compared']} ends compared: {done['lost']} lost, {done['corrupted']} corrupted; "
        f"{done['seconds']:.0f} s"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100, help="kills at points, and as many at random moments")
    parser.add_argument("--processes", type=int, default=1, help="gloo ranks of the run")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="a JSON file for the metrics")
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    with tempfile.TemporaryDirectory(prefix="torture-") as root:
        os.environ["TMPDIR"] = root  # killed processes leave files there as well
        done = run(options.kills, options.processes, options.jobs, options.seed, Path(root).resolve())
    for problem in done["problems"]:
        print(problem, file=sys.stderr)
    print(sentence(done))
    if options.out:
        import torch

        from measure import environment, write_json

        write_json(options.out, {"environment": environment(torch.device("cpu")), **done})
    whole = done["kills at points"] >= options.kills and done["kills at random moments"] >= options.kills
    return 0 if whole and not done["problems"] else 1


if __name__ == "__main__":
    sys.exit(main())
