"""Kills training runs at random moments, and compares all that they leave with a run that nobody killed.

    python tests/dist/torture.py --kills 100 [--algorithm fixmatch] [--processes 2] [--jobs 2] [--seed 0] [--out FILE.json]

The real command line trains one of the algorithms of lives.py, with a held-out set that chooses a checkpoint. A run is
killed and resumed several times. After each kill every checkpoint is compared bit for bit with that of the unkilled run
(model, optimizer, history, step), and nothing that was said to be written may be missing; at its end the metrics, the
summary and the tables as well. Exit code 1 if anything was lost or damaged. Kills at points with names are those of
campaign.py.
"""

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from tests.dist.lives import ALGORITHMS, STEPS, Lives  # noqa: E402
from tests.dist.reference import Damaged, Lost, Reference, finished  # noqa: E402

KILLS = 4
"""Kills of a run at most, which then goes on to its end."""


@dataclass
class Tally:
    """What is still to be done, and what was found; used by several threads."""

    left: int
    counts: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, what: str, number: int = 1) -> None:
        with self.lock:
            self.counts[what] += number

    def take(self) -> bool:
        """Takes a kill; returns whether there was one left."""
        with self.lock:
            there = self.left > 0
            self.left -= there
            return there

    def give_back(self) -> None:
        with self.lock:
            self.left += 1


class Torture:
    """Kills runs at random moments, over several kills to their ends."""

    def __init__(self, lives: Lives, seed: int, reference: Reference, seconds: float):
        """seconds: how long an unkilled run takes."""
        self.lives, self.seed, self.reference, self.seconds = lives, seed, reference, seconds

    def live(self, number: int, tally: Tally) -> None:
        chance, folder, floor = random.Random(f"{self.seed}/{number}"), self.lives.root / f"life-{number}", 0
        try:
            for _ in range(KILLS):
                if not self.kill_sometime(folder, floor, chance, tally):
                    break
                floor = self.verify(folder, floor, tally)
            if not finished(folder):
                self.lives.run_to_end(folder)
            self.verify(folder, floor, tally)
            self.reference.verify_end(folder)
            tally.count("ends compared")
            shutil.rmtree(folder)
        except (Lost, Damaged) as problem:
            tally.count("lost" if isinstance(problem, Lost) else "corrupted")
            with tally.lock:
                tally.problems.append(f"{folder.name}: {problem}")
        except Exception:
            with tally.lock:
                tally.problems.append(f"{folder.name}: {traceback.format_exc()}")

    def verify(self, folder: Path, floor: int, tally: Tally) -> int:
        step, compared = self.reference.verify(folder, self.lives.log(folder), floor)
        tally.count("checkpoints compared", compared)
        return step

    def kill_sometime(self, folder: Path, floor: int, chance: random.Random, tally: Tally) -> bool:
        """Whether the run was killed before it had ended."""
        if not tally.take():
            return False
        started = self.lives.start(folder)
        # A start takes about as long as the steps, of which fewer and fewer are left.
        self.lives.wait(started, chance.uniform(0, self.seconds * (1 - floor / STEPS / 2)))
        victims = chance.choice([started, started[:1], started[-1:]])
        alive = [process for process in victims if process.exitcode is None]
        for process in alive:
            process.kill()
        if not self.lives.settled(started):
            raise Damaged(f"{folder}: hangs")
        if any(process.exitcode == -signal.SIGKILL for process in alive):
            tally.count("kills at random moments")
            return True
        tally.give_back()
        if any(process.exitcode for process in started):
            raise Damaged(f"{folder} failed:\n{self.lives.log(folder).read_text()[-1500:]}")
        return False


def torment(lives: Lives, kills: int, jobs: int, seed: int, reference: Reference, seconds: float) -> dict[str, Any]:
    """So many kills of runs of one algorithm; returns what was found."""
    begin, torture, tally, number = time.monotonic(), Torture(lives, seed, reference, seconds), Tally(kills), 0
    with ThreadPoolExecutor(jobs) as pool:
        while tally.left > 0 and not tally.problems and number < 20 * kills:
            group = [pool.submit(torture.live, number + k, tally) for k in range(jobs)]
            number += jobs
            for life in group:
                life.result()
    names = ("kills at random moments", "checkpoints compared", "ends compared", "lost", "corrupted")
    return {name: tally.counts[name] for name in names} | {
        "algorithm": lives.algorithm, "processes": lives.world, "lives": number, "seed": seed,
        "seconds": round(time.monotonic() - begin, 1), "problems": tally.problems,
    }  # fmt: skip


def run(algorithm: str, kills: int, processes: int, jobs: int, seed: int, root: Path) -> dict[str, Any]:
    """All of it, with the unkilled run."""
    lives = Lives(root, algorithm, processes)
    lives.warm_up()
    seconds = lives.run_to_end(root / "reference", keep=100)
    return torment(lives, kills, jobs, seed, Reference.read(root / "reference"), seconds)


def sentence(done: dict[str, Any]) -> str:
    return (
        f"{done['algorithm']}: {done['kills at random moments']} kills at random moments of {done['processes']} "
        f"process{'es' if done['processes'] > 1 else ''}; {done['checkpoints compared']} checkpoints and "
        f"{done['ends compared']} ends compared: {done['lost']} lost, {done['corrupted']} corrupted; "
        f"{done['seconds']:.0f} s"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--algorithm", choices=ALGORITHMS, default="fixmatch")
    parser.add_argument("--processes", type=int, default=1, help="gloo ranks of the run")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="a JSON file for the metrics")
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    with tempfile.TemporaryDirectory(prefix="torture-") as root:
        os.environ["TMPDIR"] = root  # killed processes leave files there as well
        done = run(
            options.algorithm, options.kills, options.processes, options.jobs, options.seed, Path(root).resolve()
        )
    for problem in done["problems"]:
        print(problem, file=sys.stderr)
    print(sentence(done))
    if options.out:
        import torch

        from measure import environment, store

        store(options.out, {"environment": environment(torch.device("cpu")), **done}, [options.seed])
    return 0 if done["kills at random moments"] >= options.kills and not done["problems"] else 1


if __name__ == "__main__":
    sys.exit(main())
