"""The runs that a study asks for and what they cost, before the first of them starts.

Their cost is counted in image passes (`passes`), and in seconds by the pace of those that have finished in the same
folder, or else by a stated rate.
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from rich.console import Console
from rich.table import Table
from rich.text import Text

from semisonic.compare.jobs import Comparison, Job, label, parse_entries, run_arguments
from semisonic.compare.scheduler import seconds_left
from semisonic.config.command_line import resolve
from semisonic.pages.rendering import plural
from semisonic.plugins import load_plugins, plugin_files
from semisonic.records import schemas
from semisonic.schema import UserError
from semisonic.studies.declaration import Study
from semisonic.studies.passes import passes_of_run, passes_of_step
from semisonic.text import printable


@dataclass(frozen=True)
class Line:
    """A setting's runs."""

    entry: str
    steps: int
    passes: int
    """Image passes of a run."""
    seconds: float | None
    """Of a run; None where nothing is known of its pace."""
    runs: int
    finished: int
    mine: int
    """Of this share, that have not finished."""


@dataclass(frozen=True)
class Plan:
    """A study's runs and what they cost."""

    lines: list[Line]
    rate: float | None
    """Image passes a second of a run."""
    source: str
    """Where the rate comes from."""
    processes: int

    @property
    def runs(self) -> int:
        return sum(line.runs for line in self.lines)

    @property
    def passes(self) -> int:
        """Image passes of all runs."""
        return sum(line.runs * line.passes for line in self.lines)

    @property
    def left(self) -> float | None:
        """Seconds until this share's runs have ended, side by side; None where nothing is known."""
        if any(line.seconds is None for line in self.lines):
            return None
        pace = {line.entry: line.seconds or 0.0 for line in self.lines}
        return seconds_left([(line.entry, 1) for line in self.lines for _ in range(line.mine)], pace, self.processes)


def evened(study: Study, fields: Sequence[str], labels: str | None) -> Study:
    """The study with the steps of each setting cut to the image passes of the one that it names.

    Raises `UserError` where a setting is impossible, or has no whole step in them.
    """
    if study.even is None:
        return study
    entries, problems = parse_entries(",".join(study.entries()))
    if problems:
        raise UserError(problems)
    configured = {entry.name: resolve(run_arguments(fields, {}, entry, labels or ""))[1] for entry in entries}
    budget = passes_of_run(configured[study.even])
    steps = {name: budget // passes_of_step(cfg) for name, cfg in configured.items()}
    if few := [name for name, count in steps.items() if count < 1]:
        raise UserError(f"--steps: too few for a step of {', '.join(few)} with the image passes of {study.even}")
    return study.with_entries(
        {name: f"{name}:steps={count}" for name, count in steps.items() if count != configured[name].steps}
    )


def plan(asked: Sequence[Comparison], rate: float | None, given: bool = False) -> Plan:
    """What these comparisons, one after the other, are going to run. rate: as stated, or as the command line has it
    (`given`), which beats that of finished runs."""
    jobs = [job for comparison in asked for job in comparison.jobs]
    mine = {job.folder for comparison in asked for job in comparison.mine}
    passes = {job.folder: passes_of_run(job.cfg) for job in jobs}
    seconds = {job.folder: found for job in jobs if (found := seconds_of(job)) is not None}
    source = "as --rate says" if given else "as stated for these data, one run on each of two cores of an AMD EPYC"
    if seconds and not given:
        rate = sum(passes[folder] for folder in seconds) / max(sum(seconds.values()), 1e-9)
        source = f"as the {plural(len(seconds), 'finished run')} had"
    by_entry: dict[str, list[Job]] = {}
    for job in jobs:
        by_entry.setdefault(job.entry.name, []).append(job)
    lines = []
    for name, own in by_entry.items():
        done = [seconds[job.folder] for job in own if job.folder in seconds]
        each = passes[own[0].folder]
        guess = each / rate if rate else None
        lines.append(
            Line(
                name, own[0].cfg.steps, each, statistics.fmean(done) if done and not given else guess, len(own),
                len(done), sum(job.folder in mine and job.folder not in seconds for job in own),
            )
        )  # fmt: skip
    return Plan(lines, rate, source, max(comparison.processes for comparison in asked))


def seconds_of(job: Job) -> float | None:
    """How long a finished run took, by its own account; None where it has not finished."""
    path = job.folder / "summary.json"
    return float(schemas.summary(path)["wall_seconds"]) if path.is_file() else None


def show(found: Plan, question: str, console: Console) -> None:
    """Prints the plan: a line a setting, then what it all costs."""
    console.print(Text(question), highlight=False)
    table = Table(box=None, padding=(0, 1), pad_edge=False)
    for column in ("setting", "steps", "image passes", "seconds", "runs", "finished"):
        words = column == "setting"
        table.add_column(column, justify="left" if words else "right", no_wrap=not words, overflow="fold")
    for line in found.lines:
        seconds = "" if line.seconds is None else f"{line.seconds:,.0f}"
        cells = (printable(label(line.entry)), f"{line.steps:,}", f"{line.passes:,}", seconds, str(line.runs))
        table.add_row(*map(Text, (*cells, str(line.finished))))
    console.print(table, highlight=False)
    for text in said(found):
        console.print(text, highlight=False, markup=False)


def said(found: Plan) -> list[str]:
    """What all runs cost, in sentences."""
    todo = sum(line.mine for line in found.lines)
    lines = [
        f"{plural(len(found.lines), 'setting is', 'settings are')} trained in {plural(found.runs, 'run')} of "
        f"{found.passes:,} image passes in all; "
        f"{sum(line.finished for line in found.lines)} have finished, {todo} are to be run here"
    ]
    if found.rate is None:
        return [
            *lines,
            "Their time is not known before one has finished; give --rate, in image passes a second of a run",
        ]
    left = timedelta(seconds=round(found.left or 0))
    lines.append(
        f"Estimated time left: {left}, {found.processes} at a time, at {found.rate:,.0f} image passes a second of a "
        f"run, {found.source}"
    )
    return lines


def load_study(study: Study, fields: Sequence[str]) -> tuple[str, ...]:
    """All fields of a study's runs, its plug-in among them, which is run."""
    every = (*fields, *([f"--plugin={study.plugin}"] if study.plugin else []))
    load_plugins(plugin_files(every))
    return every
