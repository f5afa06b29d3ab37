"""Runs the jobs of a comparison, several at a time, each a process of its own, and reports what came out.

On the CPU the runs are forked from a process that has imported everything once, which spares each of them several
seconds; with GPUs each starts afresh, since what a process holds of a GPU does not survive a fork. A run that crashes
takes no other along, and every run's output is in OUT/logs.
"""

import fcntl
import multiprocessing
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from semisonic.checkpoint.folder_lock import locked_elsewhere
from semisonic.compare.jobs import Comparison, Job, state_of
from semisonic.compare.report import write_report
from semisonic.config.command_line import Invocation
from semisonic.distributed.launcher import Launcher
from semisonic.distributed.preemption import Preemption
from semisonic.records import schemas
from semisonic.reporting.errors import report_error
from semisonic.reporting.output import lasting
from semisonic.runs.run_folder import status_replaced
from semisonic.schema import ExitCode, UserError

BUSY = 76
"""Exit code of a run's process that found another one at work on the run."""
PRELOADED = (
    "semisonic.runs.run", "semisonic.cli", "nvidia.dali", "nvidia.dali.fn", "scipy.special", "torch._dynamo",
    "matplotlib.figure", "matplotlib.backends.backend_agg", "torch.utils.tensorboard",
)  # fmt: skip
TAIL = 2**16
"""Bytes at the end of metrics.jsonl in which the last step is looked for."""


@dataclass
class Outcome:
    """How a job ended: finished, stopped or failed, with the run's own message."""

    job: Job
    status: str
    message: str = ""
    seconds: float = 0.0


def compare(asked: Comparison) -> int:
    """Runs what is to be run, writes the report and returns the exit code: 0 where every run of this share finished."""
    console = Console(file=lasting(sys.stdout), soft_wrap=True)
    if not console.is_terminal:
        console.width = 200  # a table in a file is as wide as it needs to be
    outcomes: list[Outcome] = []
    if not asked.report_only:
        outcomes = run_jobs(asked, console)
    names = list(dict.fromkeys(job.entry.name for job in asked.jobs))
    messages = {outcome.job.folder.name: outcome.message for outcome in outcomes if outcome.status == "failed"}
    page = write_report(asked.out, names, console, messages)
    bad = [outcome for outcome in outcomes if outcome.status != "finished"]
    for outcome in bad:
        message = f"{outcome.status}: {outcome.message}" if outcome.message else outcome.status
        print(f"error: {outcome.job.folder.name}: {message}", file=sys.stderr)
    if page is not None:
        console.print(f"In {page}, compare.csv and runs.csv", highlight=False, markup=False)
    elif asked.report_only:
        raise UserError(f"--out: {asked.out} holds no finished run of a comparison")
    if any(outcome.status == "failed" for outcome in bad):
        return ExitCode.ERROR
    if bad:
        print("The same command continues what was stopped", file=sys.stderr)
    return ExitCode.STOPPED if bad else ExitCode.OK


def run_jobs(asked: Comparison, console: Console) -> list[Outcome]:
    """Every job's outcome, those that had nothing left to do included."""
    outcomes, queue = [], []
    for job in asked.mine:
        state = state_of(job)
        if state == "finished":
            outcomes.append(Outcome(job, "finished"))
        elif state == "diverged":
            text = f"{read_reason(job)}; to run it again, remove {job.folder}"
            outcomes.append(Outcome(job, "failed", text))
        else:
            queue.append((job, state == "stopped"))
    total, done = len(asked.mine), len(outcomes)
    away = f"; {len(asked.jobs) - total} are other shares'" if len(asked.jobs) > total else ""
    again = sum(resume for _, resume in queue)
    console.print(
        f"{total} runs: {done} have ended already, {again} go on, {len(queue) - again} are new; "
        f"{min(asked.processes, len(queue))} at a time{away}", highlight=False,
    )  # fmt: skip
    if queue:
        with Launcher() as launcher, Preemption(launcher) as preemption, board(console, total, done) as show:
            outcomes += Workers(asked, show, preemption).run(queue)
    return outcomes


@dataclass
class Running:
    job: Job
    process: Any
    slot: int
    begin: float = field(default_factory=time.monotonic)


class Workers:
    """Keeps as many processes at work as the comparison wants; a signal stops them with checkpoints."""

    def __init__(self, asked: Comparison, show: "Board", preemption: Preemption):
        self.asked, self.show, self.preemption = asked, show, preemption
        # Imports are shared by forks of one process. A GPU's state is not, and torch may have looked at it already.
        self.context: Any = multiprocessing.get_context("spawn" if asked.gpus else "forkserver")
        if not asked.gpus:
            self.context.set_forkserver_preload(list(PRELOADED))
        self.running: dict[Any, Running] = {}
        self.stopped = False

    def run(self, queue: Sequence[tuple[Job, bool]]) -> list[Outcome]:
        left, outcomes = list(queue), list[Outcome]()
        free = list(range(self.asked.processes))
        try:
            with one_thread_before_the_fork():
                while (left and not self.stopped) or self.running:
                    while left and free and not self.stopped:
                        self.start(*left.pop(0), free.pop(0))
                    for sentinel in wait(list(self.running), timeout=0.5):
                        ended = self.running.pop(sentinel)
                        ended.process.join()
                        free.append(ended.slot)
                        outcomes.append(outcome(ended.job, ended.process.exitcode, time.monotonic() - ended.begin))
                        self.show.ended(outcomes[-1], [job for job, _ in left], list(self.running.values()))
                    self.show.update([job for job, _ in left], list(self.running.values()))
                    if self.preemption.received and not self.stopped:
                        self.stop()
        finally:
            self.stop()  # what is left where this process fails itself
            for run in self.running.values():
                run.process.join()
        return outcomes + [Outcome(job, "stopped", "not begun") for job, _ in left]

    def start(self, job: Job, resume: bool, slot: int) -> None:
        gpu = self.asked.gpus[slot % len(self.asked.gpus)] if self.asked.gpus else None
        process = self.context.Process(target=train, args=(job, resume, gpu), name=job.folder.name)
        process.start()
        self.running[process.sentinel] = Running(job, process, slot)

    def stop(self) -> None:
        """Has every run write a checkpoint and end."""
        self.stopped = True
        for run in self.running.values():
            run.process.terminate()


@contextmanager
def one_thread_before_the_fork() -> Iterator[None]:
    """NumPy's library starts threads at import, and these do not survive a fork; torch starts its own when needed."""
    before = os.environ.get("OPENBLAS_NUM_THREADS")
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    try:
        yield
    finally:
        del os.environ["OPENBLAS_NUM_THREADS"]
        if before is not None:
            os.environ["OPENBLAS_NUM_THREADS"] = before


def log_file(job: Job) -> Path:
    """Where a run's output goes: OUT/logs, beside OUT/runs."""
    return job.folder.parent.parent / "logs" / f"{job.folder.name}.log"


def train(job: Job, resume: bool, gpu: str | None) -> None:
    """What a run's process does: what launch/train.py does, its output in a file, which it locks while it works."""
    path = log_file(job)
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    if locked_elsewhere(descriptor, fcntl.LOCK_EX):  # where there are no locks, the run refuses a second process itself
        sys.exit(BUSY)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu
    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    from semisonic.runs.run import execute

    print(f"$ train.py {' '.join(job.argv)}{' --resume' if resume else ''}", flush=True)
    try:
        code = execute(Invocation(job.cfg, resume=resume))
    except UserError as error:
        code = report_error(error)
    sys.exit(code)


def _end_with_the_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)  # writes a checkpoint, as for a batch system


def outcome(job: Job, code: int | None, seconds: float) -> Outcome:
    """What a process's exit code and its run's folder say together."""
    if code == ExitCode.OK and (job.folder / "summary.json").is_file():
        return Outcome(job, "finished", seconds=seconds)
    if code == BUSY:
        return Outcome(job, "failed", "another process is at work on it", seconds)
    if code in (ExitCode.OK, ExitCode.STOPPED, ExitCode.INTERRUPTED, -signal.SIGTERM, -signal.SIGINT):
        step = max(last_step(job.folder), status_replaced(job.folder)[0].get("step", 0))
        return Outcome(job, "stopped", f"at step {step:,}", seconds)
    if code is not None and code < 0:
        return Outcome(job, "failed", f"killed by {signal.Signals(-code).name}; its output is in {log_file(job)}")
    text = read_reason(job)
    if code == ExitCode.DIVERGED:
        text += f"; to run it again, remove {job.folder}"
    return Outcome(job, "failed", f"{text} (exit code {code}; its output is in {log_file(job)})", seconds)


def read_reason(job: Job) -> str:
    """Why a run failed, in its own words: its status, else the last of its output."""
    status, damage = status_replaced(job.folder)
    if damage:
        return "; ".join(damage)
    if status.get("status") == "failed" and status.get("reason"):
        return "; ".join(str(status["reason"]).splitlines())
    # Else it ended before it had a status: its output says why.
    lines = log_file(job).read_text(errors="replace").splitlines() if log_file(job).is_file() else []
    begin = max((index for index, line in enumerate(lines) if line.startswith("$ ")), default=-1)
    said = [line.strip() for line in lines[begin + 1 :] if line.strip()]
    errors = [line.removeprefix("error: ") for line in said if line.startswith("error: ")]
    return "; ".join(errors) or (said[-1] if said else "it printed nothing")


def last_step(folder: Path) -> int:
    """The last step that a run has logged."""
    try:
        with (folder / "metrics.jsonl").open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL))
            found = re.findall(rb'^\{"step": (\d+)', file.read(), re.MULTILINE)
    except OSError:
        return 0
    return int(found[-1]) if found else 0


# Progress.


def seconds_left(left: Sequence[tuple[str, int]], pace: dict[str, float], processes: int) -> float | None:
    """How long (entry, steps) runs take in all, side by side; None where nothing is known of any entry's pace.

    pace: seconds a step by entry; entries of which none is known are taken as slow as the mean of the others.
    """
    if not left:
        return 0.0
    if not pace:
        return None
    mean = sum(pace.values()) / len(pace)
    each = [steps * pace.get(entry, mean) for entry, steps in left]
    return max(sum(each) / min(processes, len(each)), max(each))


class Board:
    """Progress over all runs: bars on a terminal, a line for each run that ended elsewhere."""

    def __init__(self, console: Console, bars: Progress | None, total: int, done: int):
        self.console, self.bars, self.total, self.done = console, bars, total, done
        self.whole = bars.add_task("all runs", total=total, completed=done, note="") if bars else None
        self.tasks: dict[str, TaskID] = {}
        self.paces: dict[str, list[float]] = {}

    def eta(self, left: Sequence[Job], running: Sequence[Running]) -> str:
        """Time left of all runs, from the paces of those that have ended or are well on their way."""
        paces = {name: sum(values) / len(values) for name, values in self.paces.items()}
        todo = [(job.entry.name, job.cfg.steps) for job in left]
        for run in running:
            step, name = last_step(run.job.folder), run.job.entry.name
            if step and name not in paces:
                paces[name] = (time.monotonic() - run.begin) / step
            todo.append((name, run.job.cfg.steps - step))
        seconds = seconds_left(todo, paces, max(1, len(running)))
        return "unknown" if seconds is None else str(timedelta(seconds=round(seconds)))

    def update(self, left: Sequence[Job], running: Sequence[Running]) -> None:
        if self.bars is None or self.whole is None:
            return
        for run in running:
            name = run.job.folder.name
            if name not in self.tasks:
                self.tasks[name] = self.bars.add_task(name, total=run.job.cfg.steps, note="")
            self.bars.update(self.tasks[name], completed=last_step(run.job.folder))
        self.bars.update(self.whole, completed=self.done, note=f"ETA {self.eta(left, running)}")

    def ended(self, outcome: Outcome, left: Sequence[Job], running: Sequence[Running]) -> None:
        job = outcome.job
        self.done += 1
        if task := self.tasks.pop(job.folder.name, None):
            assert self.bars is not None
            self.bars.remove_task(task)
        text = f"{outcome.status} {outcome.message}"
        if outcome.status == "finished":
            self.paces.setdefault(job.entry.name, []).append(outcome.seconds / job.cfg.steps)
            summary = schemas.summary(job.folder / "summary.json")
            tested = summary["test_top1"] is not None
            error = f"{100 - summary['test_top1']:.2f} % error" if tested else "no test images"
            text = f"{error} in {outcome.seconds:.0f} s"
        self.console.print(
            f"[{self.done}/{self.total}] {job.entry.label}, {job.labels} labels, seed {job.seed}: {text}; "
            f"ETA {self.eta(left, running)}", highlight=False, markup=False,
        )  # fmt: skip


@contextmanager
def board(console: Console, total: int, done: int) -> Iterator[Board]:
    if not console.is_terminal:
        yield Board(console, None, total, done)
        return
    columns = (
        TextColumn("{task.description}"), BarColumn(bar_width=24), MofNCompleteColumn(), TimeElapsedColumn(),
        TextColumn("{task.fields[note]}"),
    )  # fmt: skip
    with Progress(*columns, console=console) as bars:
        yield Board(console, bars, total, done)
