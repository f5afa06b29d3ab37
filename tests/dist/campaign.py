"""Walks every named fault (semisonic/faults.py) once on one and once on two ranks, and kills runs at random besides.

    python tests/dist/campaign.py --out FILE.json [--jobs 2] [--kills 100] [--only POINT]...

A run of one of the algorithms of lives.py meets a fault, is resumed, and must end as the undisturbed run of as many
ranks did: all tensors of all checkpoints bit for bit, the history, metrics.jsonl line by line, the summary, tables. The
algorithms take turns over the points. Every third run meets another fault while it is resumed, and is resumed twice.
Points that only a resumed run passes are met by a copy of the undisturbed run, set back to an earlier checkpoint.

Outcomes are kept in FILE.lines as they come: what is there, of the same commit and without a problem, is not done again.
--only (a point, or the beginning of its name) does a part, also again. Exit code 1 where a point is missing from the
outcomes, was not reached, or anything was lost or differs.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from semisonic.faults import COLLECTIVES, EDGES, MOMENTS, POINTS, SNAPSHOTS  # noqa: E402
from semisonic.schema import ExitCode  # noqa: E402
from tests.dist.lives import ALGORITHMS, Lives  # noqa: E402
from tests.dist.reference import Damaged, Lost, Reference  # noqa: E402
from tests.dist.torture import torment  # noqa: E402

BACK, SHORTER = 8, 12
"""The step to which a copy of the finished run is set back; the steps of a run that is then to have `STEPS`."""
ONLY = {"labels": "fixmatch", "scan": "flexmatch", "images": "flexmatch", "lengthened": "fixmatch"} | dict.fromkeys(
    (*SNAPSHOTS, "snapshot"), "fixmatch"
)
"""The algorithm whose runs have what a group of points is about."""
BEGINS = {
    "kept": "back", "discarded": "back", "restore": "back", "lock.rename": "killed", "lock.taken": "killed",
    "lengthened": "shorter",
}  # fmt: skip
"""How a run begins that passes points which no fresh one does."""
SECOND = ("step.kill", "begin.kill", "writer.kill", "latest.rename", "gradients.inside", "state.full", "status.named")
"""Faults that strike a run which is resumed, in turn."""
SOONER = ("--health.progress", "8")
"""So that a rank that hangs is not waited for 15 minutes."""


@dataclass(frozen=True)
class Trial:
    """A run that meets a fault."""

    point: str
    world: int
    algorithm: str
    begin: str = "fresh"
    """fresh; killed; back, set back to an earlier checkpoint; or shorter, finished after fewer steps."""
    second: str = ""
    """A fault that strikes while the run is resumed."""

    @property
    def key(self) -> str:
        return f"{self.point} {self.world}"


@dataclass
class Outcome:
    """What a trial came to."""

    trial: Trial
    fault: str = ""
    struck: list[str] = field(default_factory=list)
    """What the processes wrote down, in order."""
    codes: list[int | None] = field(default_factory=list)
    """Exit codes of the ranks after the first fault; -9 also for a rank that was killed because another had died."""
    seconds: float = 0.0
    """Of all starts together."""
    compared: int = 0
    """Checkpoints."""
    equal: bool = False
    problem: str = ""

    @property
    def fine(self) -> bool:
        return self.equal and not self.problem

    def row(self) -> dict[str, Any]:
        return {**asdict(self.trial), **{k: v for k, v in asdict(self).items() if k != "trial"}}


@dataclass
class Ground:
    """The undisturbed run of an algorithm on so many ranks, made once."""

    lives: Lives
    reference: Reference
    seconds: float
    reached: dict[str, int]
    """How often rank 0 is at each point."""


class Campaign:
    def __init__(self, root: Path, seed: int = 0):
        self.root, self.seed = root, seed
        self.grounds: dict[tuple[str, int], Ground] = {}
        self.lock = threading.Lock()

    def ground(self, algorithm: str, world: int) -> Ground:
        with self.lock:
            if (algorithm, world) not in self.grounds:
                self.grounds[algorithm, world] = self.prepare(algorithm, world)
            return self.grounds[algorithm, world]

    def prepare(self, algorithm: str, world: int) -> Ground:
        lives = Lives(self.root / f"{algorithm}-{world}", algorithm, world)
        lives.warm_up()
        reached = lives.root / "reached.json"
        seconds = lives.run_to_end(lives.root / "reference", keep=100, reached=reached)
        return Ground(lives, Reference.read(lives.root / "reference"), seconds, json.loads(reached.read_text()))

    def set_back(self, ground: Ground, folder: Path) -> Path:
        """A copy of the undisturbed run as if it had ended after step `BACK`, with later checkpoints not named."""
        shutil.copytree(ground.reference.folder, folder)
        (folder / "checkpoints" / "latest").write_text(f"step-{BACK}\n")
        (folder / "summary.json").unlink()
        return folder

    def fault(self, trial: Trial, ground: Ground, chance: random.Random) -> str:
        """When the trial's point strikes, and on which rank: those that all ranks pass strike one of them."""
        count = ground.reached.get(trial.point, 1) if trial.begin == "fresh" else 1
        head = trial.point.partition(".")[0]
        rank = chance.randrange(trial.world) if head in COLLECTIVES | MOMENTS | EDGES and head != "writer" else 0
        where = "" if head == "scan" else f"@{rank}"  # whichever rank has the lock scans
        return f"{trial.point}:{chance.randint(1, count)}{where}"

    def walk(self, trial: Trial) -> Outcome:
        outcome, clock = Outcome(trial), time.monotonic()
        try:
            ground = self.ground(trial.algorithm, trial.world)
            clock = time.monotonic()
            self.survive(trial, ground, outcome)
            outcome.equal = True
        except (Lost, Damaged) as problem:
            outcome.problem = f"{type(problem).__name__}: {problem}"
        except Exception:
            outcome.problem = traceback.format_exc()
        outcome.seconds = round(time.monotonic() - clock, 1)
        return outcome

    def survive(self, trial: Trial, ground: Ground, outcome: Outcome) -> None:
        """The faults of a trial, and the resume after each; raises where the end is not that of the undisturbed run."""
        chance, lives = random.Random(f"{self.seed}/{trial}"), ground.lives
        folder = lives.root / trial.point
        self.clear(lives, folder)
        if trial.begin == "back":
            self.set_back(ground, folder)
        if trial.begin == "shorter":
            lives.run_to_end(folder, steps=SHORTER)
        if trial.begin == "killed":
            self.strike(lives, folder, "step.kill:6@0", outcome)
        floor = {"back": BACK, "shorter": SHORTER}.get(trial.begin, 0)
        outcome.fault = self.fault(trial, ground, chance)
        self.meet(ground, folder, [outcome.fault, *([f"{trial.second}:1@0"] if trial.second else [])], outcome, floor)
        self.clear(lives, folder)

    def meet(self, ground: Ground, folder: Path, faults: Sequence[str], outcome: Outcome, floor: int = 0) -> None:
        """Has a run meet one fault after the other, each after a resume, and go to its end.

        The first must strike; a later one may come to a run that is past its point.
        """
        lives, reference = ground.lives, ground.reference
        for number, fault in enumerate(faults):
            codes = self.strike(lives, folder, fault, outcome, needed=number == 0)
            outcome.codes = outcome.codes or codes
            floor, compared = reference.verify(folder, lives.log(folder), floor)
            outcome.compared += compared
        try:
            lives.run_to_end(folder)
        except RuntimeError as error:
            raise Damaged(f"cannot be resumed: {error}") from error
        outcome.compared += reference.verify(folder, lives.log(folder), floor)[1]
        reference.verify_end(folder)

    def clear(self, lives: Lives, folder: Path) -> None:
        """Removes a trial, and its logs."""
        shutil.rmtree(folder, ignore_errors=True)
        shutil.rmtree(folder.with_name(f"{folder.name}.images"), ignore_errors=True)
        for rank in range(lives.world):
            lives.log(folder, rank).unlink(missing_ok=True)

    def strike(self, lives: Lives, folder: Path, fault: str, outcome: Outcome, needed: bool = True) -> list[int | None]:
        """Starts the run with a fault, and checks that it strikes and how the ranks end by it: their exit codes.

        needed=False: a run that is past the point may end instead.
        """
        way = fault.partition(":")[0].rpartition(".")[2]
        before = self.said(lives, folder)
        started = lives.start(folder, fault=fault, more=SOONER if way == "hang" else ())
        settled = lives.settled(started)
        codes = [process.exitcode for process in started]
        struck = list((self.said(lives, folder) - before).elements())
        outcome.struck += struck
        if not settled:
            raise Damaged(f"hangs after {fault}")
        if not struck and not needed and codes == [ExitCode.OK] * lives.world:
            return codes
        if set(struck) != {fault.partition("@")[0]}:
            raise Damaged(f"{fault} was not reached; the ranks ended with {codes}:\n{self.tail(lives, folder)}")
        optional = fault.startswith(("confusion.", "report.", "scan."))  # a picture or a cache ends no run
        full = ExitCode.OK if optional else ExitCode.USER
        expected = {"full": [full] * lives.world, "hang": [ExitCode.LOST] * lives.world}.get(way)
        if expected and codes != expected:
            raise Damaged(f"{fault} ends the ranks with {codes}, not {expected}:\n{self.tail(lives, folder)}")
        if not expected and -signal.SIGKILL not in codes:
            raise Damaged(f"{fault} ends the ranks with {codes}:\n{self.tail(lives, folder)}")
        return codes

    def said(self, lives: Lives, folder: Path) -> Counter[str]:
        """The faults that the ranks have written down so far."""
        logs = [lives.log(folder, rank) for rank in range(lives.world)]
        lines = [line for log in logs if log.exists() for line in log.read_text(errors="replace").splitlines()]
        return Counter(line.split()[1] for line in lines if line.startswith("fault: ") and line.endswith(" strikes"))

    def tail(self, lives: Lives, folder: Path) -> str:
        logs = [lives.log(folder, rank) for rank in range(lives.world)]
        return "\n".join(log.read_text(errors="replace")[-1500:] for log in logs if log.exists())


def trials(points: Iterable[str] = POINTS, worlds: Sequence[int] = (1, 2)) -> list[Trial]:
    """One of each point on each number of ranks, the algorithms in turn; those of one algorithm follow each other."""
    names, found = list(ALGORITHMS), []
    for world in worlds:
        for number, point in enumerate(POINTS):
            head = point.partition(".")[0]
            begin = BEGINS.get(point) or BEGINS.get(head, "fresh")
            # On two ranks another algorithm than on one.
            algorithm = ONLY.get(head, names[(number + 2 * world) % len(names)])
            second = SECOND[number // 3 % len(SECOND)] if number % 3 == 0 else ""
            found.append(Trial(point, world, algorithm, begin, second))
    chosen = set(points)
    return sorted(
        (trial for trial in found if trial.point in chosen),
        key=lambda trial: (trial.world, names.index(trial.algorithm)),
    )


def commit() -> str:
    found = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True)
    return found.stdout.strip()


class Lines:
    """The outcomes so far, a JSON object a line: later ones of a key replace earlier ones."""

    def __init__(self, path: Path):
        self.path, self.commit, self.lock = path, commit(), threading.Lock()
        self.rows: dict[str, dict[str, Any]] = {}
        if path.exists():
            for row in map(json.loads, path.read_text().splitlines()):
                self.rows[row["key"]] = row

    def done(self, key: str) -> bool:
        row = self.rows.get(key)
        return row is not None and row["fine"] and row["commit"] == self.commit

    def add(self, key: str, fine: bool, content: dict[str, Any]) -> None:
        with self.lock:
            self.rows[key] = {"key": key, "fine": fine, "commit": self.commit, **content}
            with self.path.open("a") as file:
                file.write(json.dumps(self.rows[key]) + "\n")


def walk_all(campaign: Campaign, lines: Lines, chosen: Sequence[Trial], jobs: int) -> None:
    def one(trial: Trial) -> None:
        outcome = campaign.walk(trial)
        lines.add(trial.key, outcome.fine, outcome.row())
        mark = "equal" if outcome.fine else outcome.problem
        print(f"{trial.point} on {trial.world}, {trial.algorithm}: {outcome.seconds:.0f} s, {mark}", flush=True)

    with ThreadPoolExecutor(jobs) as pool:
        list(pool.map(one, chosen))


def kill_all(campaign: Campaign, lines: Lines, kills: int, jobs: int, again: bool) -> None:
    """Random kills, spread over the algorithms and numbers of ranks."""
    pairs = [(algorithm, world) for world in (1, 2) for algorithm in ALGORITHMS]
    for number, (algorithm, world) in enumerate(pairs):
        share, key = kills * (number + 1) // len(pairs) - kills * number // len(pairs), f"random {algorithm} {world}"
        if not share or (lines.done(key) and not again):
            continue
        ground = campaign.ground(algorithm, world)
        done = torment(ground.lives, share, jobs, campaign.seed, ground.reference, ground.seconds)
        lines.add(key, not done["problems"] and done["kills at random moments"] >= share, done)
        print(f"{algorithm} on {world}: {done}", flush=True)


def report(lines: Lines) -> dict[str, Any]:
    """What is stored: totals, and a row for each point."""
    walked = [row for key, row in lines.rows.items() if not key.startswith("random ")]
    killed = [row for key, row in lines.rows.items() if key.startswith("random ")]
    problems = [row["problem"] for row in walked if row["problem"]] + [p for row in killed for p in row["problems"]]
    missing = [trial.key for trial in trials() if trial.key not in lines.rows]
    return {
        "points": len(POINTS),
        "points reached on 1 rank": sum(
            row["world"] == 1 and row["fault"].partition("@")[0] in row["struck"] for row in walked
        ),
        "points reached on 2 ranks": sum(
            row["world"] == 2 and row["fault"].partition("@")[0] in row["struck"] for row in walked
        ),
        "survived": sum(row["fine"] for row in walked),
        "lost": sum(row["problem"].startswith("Lost") for row in walked) + sum(row["lost"] for row in killed),
        "unequal": sum(not row["equal"] for row in walked) + sum(row["corrupted"] for row in killed),
        "resumed twice": sum(bool(row["second"]) and len(row["struck"]) > 1 for row in walked),
        "checkpoints compared": sum(row["compared"] for row in walked)
        + sum(row["checkpoints compared"] for row in killed),
        "kills at random moments": sum(row["kills at random moments"] for row in killed),
        "ends compared": sum(row["equal"] for row in walked) + sum(row["ends compared"] for row in killed),
        "seconds": round(sum(row["seconds"] for row in walked + killed)),
        "commits": sorted({row["commit"] for row in walked + killed}),
        "not walked": missing,
        "problems": problems,
        "walked": walked,
        "killed": killed,
    }


def text_of(content: dict[str, Any]) -> str:
    """JSON with a line for each row of a list."""

    def value(item: Any) -> str:
        if isinstance(item, list) and item:
            return "[\n" + ",\n".join(f"  {json.dumps(row)}" for row in item) + "\n ]"
        return json.dumps(item)

    return "{\n" + ",\n".join(f" {json.dumps(key)}: {value(item)}" for key, item in content.items()) + "\n}\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="a JSON file for what was found")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time")
    parser.add_argument("--kills", type=int, default=100, help="at random moments, besides")
    parser.add_argument("--worlds", type=int, nargs="+", default=[1, 2], help="numbers of ranks")
    parser.add_argument(
        "--only", action="append", default=[], help="points, by the beginning of their names; or random"
    )
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    lines = Lines(options.out.with_suffix(".lines"))
    wanted = [point for point in POINTS if not options.only or point.startswith(tuple(options.only))]
    chosen = trials(wanted, options.worlds)
    if not options.only:
        chosen = [trial for trial in chosen if not lines.done(trial.key)]
    with tempfile.TemporaryDirectory(prefix="faults-") as root:
        os.environ["TMPDIR"] = root  # killed processes leave files there as well
        campaign = Campaign(Path(root).resolve(), options.seed)
        walk_all(campaign, lines, chosen, options.jobs)
        if not options.only or "random" in options.only:
            kill_all(campaign, lines, options.kills, options.jobs, again="random" in options.only)
    import torch

    from measure import environment, with_origin

    found = report(lines)
    stored = with_origin({"environment": environment(torch.device("cpu")), **found}, [options.seed])
    options.out.write_text(text_of(stored))
    print({key: value for key, value in found.items() if not isinstance(value, list)})
    for problem in found["problems"]:
        print(problem, file=sys.stderr)
    fine = all(row["fine"] for row in lines.rows.values())
    return 0 if fine and not (found["not walked"] and not options.only) else 1


if __name__ == "__main__":
    sys.exit(main())
