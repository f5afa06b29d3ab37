"""Runs commands in processes of their own: some at a time, each under a time limit, with a log and a row of a table.

Standard library alone, so that it runs on a machine of which nothing is known yet.
"""

import os
import re
import signal
import subprocess
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

GRACE = 5.0
"""Seconds between asking a part to end and killing it."""
LOOK = 0.05
"""Seconds between looks at what runs."""
TAIL = 200_000
"""Bytes at the end of a log in which its last error is looked for."""
ERROR = re.compile(r"^E  |\w*(Error|Exception)\b|\berror:|\bFAILED\b|\d+ failed|^failed|^Fatal|Killed")
SUMMARY = re.compile(r"\d+ passed|^passed\b")
WIDTH = 200
"""Characters of a log's line in the table."""


@dataclass(frozen=True)
class Part:
    """One command. `tells`: what is known once it has passed."""

    name: str
    group: str
    command: tuple[str, ...]
    seconds: float
    """Its time limit."""
    tells: str = ""
    least: float = 10.0
    """It is left out where fewer seconds are left."""
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    name: str
    state: str
    """passed, failed, time limit, cut off, or left out."""
    code: int | None
    """Exit code, negative for a signal; None where it never ran or does not end."""
    seconds: float
    line: str
    """Its last error; of a part that passed, its summary where it has one."""


class Running:
    """A part's process, which leads a process group of its own so that all of it can be ended."""

    def __init__(self, part: Part, limit: float, log: Path, environment: Mapping[str, str], folder: Path):
        self.part, self.limit, self.log = part, limit, log
        self.asked: float | None = None
        """When it was asked to end."""
        with log.open("wb") as out:
            self.process = subprocess.Popen(
                part.command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, cwd=folder,
                env={**environment, **part.environment}, start_new_session=True,
            )  # fmt: skip
        self.begin = time.monotonic()

    def ended(self) -> bool:
        """Whether it has ended; ends it where its time is up."""
        # Left unreaped, so that its group's number stays its own until the whole group was killed.
        if os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            return True
        now = time.monotonic()
        if self.asked is None and now - self.begin > self.limit:
            self.send(signal.SIGTERM)
            self.asked = now
        elif self.asked is not None and now - self.asked > GRACE:
            self.send(signal.SIGKILL)
            return (
                now - self.asked > 2 * GRACE
            )  # a process that hangs in a driver outlives even that: it is left behind
        return False

    def send(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)

    def finish(self, cut_off: bool = False) -> Outcome:
        """Kills what is left of its group; call it once it has ended, or to cut it off."""
        self.send(signal.SIGKILL)
        try:
            code = self.process.wait(GRACE)
        except subprocess.TimeoutExpired:
            code = None
        state = "passed" if code == 0 else "failed"
        if self.asked is not None:
            state = "time limit"
        elif cut_off:
            state = "cut off"
        return Outcome(
            self.part.name, state, code, time.monotonic() - self.begin, last_line(self.log, state == "passed")
        )


def run_parts(
    parts: Sequence[Part],
    at_once: int,
    deadline: float,
    logs: Path,
    environment: Mapping[str, str],
    folder: Path,
    done: Callable[[Outcome], None],
) -> None:
    """Runs parts from first to last, `at_once` at a time, and calls `done` with each one's outcome as it ends.

    deadline: of `time.monotonic`; a part's limit is what is left until then, or its own. logs: a folder, in which each
    part leaves NAME.log. folder: where they run. Whatever ends this function ends the parts that still run.
    """
    waiting, running = deque(parts), list[Running]()
    logs.mkdir(parents=True, exist_ok=True)
    try:
        while waiting or running:
            while waiting and len(running) < at_once:
                part, left = waiting.popleft(), deadline - time.monotonic()
                if left < part.least:
                    done(Outcome(part.name, "left out", None, 0.0, f"{max(0, round(left))} s were left"))
                    continue
                running.append(Running(part, min(part.seconds, left), logs / f"{part.name}.log", environment, folder))
            for one in [one for one in running if one.ended()]:
                running.remove(one)
                done(one.finish())
            time.sleep(LOOK)
    finally:
        for one in running:
            done(one.finish(cut_off=True))


def last_line(log: Path, passed: bool) -> str:
    """The last line of a log that names an error, or else its last one; of a part that passed, its summary or ""."""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - TAIL))
        lines = [line.strip() for line in file.read().decode(errors="replace").splitlines() if line.strip()]
    found = [line for line in lines if (SUMMARY if passed else ERROR).search(line)]
    if not found and not passed:
        found = lines
    return found[-1][:WIDTH] if found else ""


def table(outcomes: Sequence[Outcome]) -> str:
    """One row a part: name, how it ended, exit code, seconds, last error."""
    rows = [("part", "ended", "code", "seconds", "last error")]
    rows += [(o.name, o.state, "" if o.code is None else str(o.code), f"{o.seconds:.0f}", o.line) for o in outcomes]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    return "\n".join(
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[4]]).rstrip()
        for row in rows
    )
