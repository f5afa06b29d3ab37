"""What a run has cost: seconds by phase, images a second, memory, and the wait for images."""

import statistics
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from semisonic.run_page.facts import Facts


@dataclass(frozen=True)
class Phase:
    name: str
    seconds: float
    share: float
    """Of the longest phase, for its bar."""


@dataclass(frozen=True)
class Cost:
    figures: list[tuple[str, str]]
    """(what, how much), as text."""
    phases: list[Phase]
    versions: str


def cost_of(facts: Facts) -> Cost:
    summary = facts.summary or {}
    elapsed = summary.get("wall_seconds", (facts.state or {}).get("elapsed"))
    speed, wait = speed_of(facts)
    figures: list[tuple[str, str]] = []
    if elapsed is not None:
        figures.append(("training and evaluation", duration(elapsed)))
    if speed:
        figures.append(("images a second", f"{speed:,.0f}"))
    if wait is not None:
        figures.append(("of the steps' time waiting for images", f"{100 * wait:.0f} %"))
    if memory := summary.get("peak_memory_bytes"):
        figures.append(("largest memory", f"{memory / 2**30:.2f} GiB"))
    if hardware := summary.get("hardware"):
        threads = f", {summary['cpu_threads']} CPU threads a rank" if summary.get("cpu_threads") else ""
        figures.append(("hardware", f"{hardware}{threads}"))
    versions = ", ".join(f"{name} {value}" for name, value in (summary.get("versions") or {}).items() if value)
    return Cost(figures, _phases(facts, summary, elapsed, speed), versions)


def speed_of(facts: Facts) -> tuple[float | None, float | None]:
    """Images a second, and the share of time that steps waited for images: of the summary, or of the readings."""
    if facts.summary is not None:
        return facts.summary.get("images_per_second"), facts.summary.get("data_wait")
    speeds = [value for _, value in facts.series("images_per_second")]
    waits = [value for _, value in facts.series("data_wait")]
    return (statistics.median(speeds) if speeds else None), (statistics.fmean(waits) if waits else None)


def _phases(facts: Facts, summary: Any, elapsed: float | None, speed: float | None) -> list[Phase]:
    """The start by its phases, the steps by their speed, and the rest of the time."""
    found = [(f"start: {name}", took["seconds"]) for name, took in (summary.get("start_up") or {}).items()]
    if elapsed is not None and speed:
        steps = min(facts.cfg.image_sizes.before(facts.step) / speed, elapsed)
        found += [("steps, about", steps), ("evaluations, checkpoints and the rest, about", elapsed - steps)]
    longest = max((seconds for _, seconds in found), default=0.0) or 1.0
    return [Phase(name, seconds, seconds / longest) for name, seconds in found]


def duration(seconds: float) -> str:
    """8.5 s, 2:03 minutes, 1 day, 2:03:04."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    text = str(timedelta(seconds=round(seconds)))
    return (
        f"{text[2:].lstrip('0') if text.startswith('0:') else text} {'minutes' if text.startswith('0:') else 'hours'}"
    )
