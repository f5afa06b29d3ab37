"""What the runs of a study say: errors of its settings, and of each factor the differences and a sentence.

Errors are percent of the test images. A difference is a mean over seeds that both settings have, with the 95 % interval
of those pairs (Student's t). A sentence claims no more than its intervals: where one holds 0, no difference is seen.
"""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from semisonic.compare.jobs import Job, label
from semisonic.compare.rows import Estimate, interval
from semisonic.records import schemas
from semisonic.studies.declaration import Factor, Setting, Study
from semisonic.studies.passes import passes_of_run
from semisonic.studies.stages import chain, origins


@dataclass
class Result:
    """A setting over its finished runs."""

    setting: Setting
    steps: int
    passes: int
    """Image passes of a run, and of those that it starts from."""
    errors: dict[int, float] = field(default_factory=dict)
    """By seed."""
    seconds: list[float] = field(default_factory=list)

    @property
    def error(self) -> Estimate | None:
        """None where no run has finished."""
        return interval(list(self.errors.values())) if self.errors else None

    @property
    def mean_seconds(self) -> float | None:
        """Of training and evaluation, a run and those that it starts from."""
        return statistics.fmean(self.seconds) if self.seconds else None

    def behind(self, other: "Result") -> Estimate | None:
        """Its errors less those of the same seeds of another setting; None where they share none."""
        shared = sorted(self.errors.keys() & other.errors.keys())
        return interval([self.errors[seed] - other.errors[seed] for seed in shared]) if shared else None


Results = Mapping[Setting, Result]


def results_of(study: Study, jobs: Sequence[Job]) -> dict[Setting, Result]:
    """Every setting of a study, from the summaries of its runs; a setting without a run is left out."""
    by_entry: dict[str, list[Job]] = {}
    for job in jobs:
        by_entry.setdefault(job.entry.name, []).append(job)
    sources, found = origins(jobs), {}
    for own in study.settings():
        if own.entry in by_entry:
            chains = [chain(job, sources) for job in by_entry[own.entry]]
            found[own] = result = Result(own, chains[0][0].cfg.steps, sum(passes_of_run(job.cfg) for job in chains[0]))
            for runs in chains:
                _add(result, runs)
    return found


def _add(result: Result, runs: Sequence[Job]) -> None:
    """Adds a run, and the cost of those that it starts from, where all have finished."""
    paths = [job.folder / "summary.json" for job in runs]
    if not all(path.is_file() for path in paths):
        return
    summary, *before = map(schemas.summary, paths)
    top1 = summary["test_top1" if result.setting.network == "ema" else "test_top1_raw"]
    if top1 is not None:
        result.errors[runs[0].seed] = 100 - top1
        result.seconds.append(sum(own["wall_seconds"] for own in (summary, *before)))


def differences(factor: Factor, found: Results) -> dict[str, Estimate | None]:
    """Of each other setting to the factor's baseline, by what it has; None where they share no seed."""
    base, others = found.get(factor.settings[factor.value]), list(factor.settings.items())[1:]
    return {name: found[own].behind(base) if base and own in found else None for name, own in others}


def is_seen(difference: Estimate) -> bool:
    """Whether the interval of a difference leaves 0 out. One seed has none, and shows nothing."""
    return difference.half is not None and abs(difference.mean) > difference.half


def compared(study: Study, found: Results) -> int:
    """How many differences have an interval."""
    every = [own for factor in study.factors for own in differences(factor, found).values()]
    return sum(own is not None and own.half is not None for own in every)


def sentence(factor: Factor, found: Results) -> str:
    """What a factor's runs show, in one sentence."""
    return sentence_of(factor.title, factor.value, differences(factor, found))


def sentence_of(title: str, baseline: str, found: Mapping[str, Estimate | None]) -> str:
    """What differences to a baseline show, by what has them; None: it shares no seed with the baseline."""
    seen, unseen, single, missing = [], [], [], []
    for name, own in found.items():
        if own is None:
            missing.append(name)
        elif own.half is None:
            single.append(name)
        elif is_seen(own):
            way = "higher" if own.mean > 0 else "lower"
            seen.append(f"{name} has a {way} error than {baseline}, by {abs(own.mean):.2f} ± {own.half:.2f} points")
        else:
            unseen.append(f"{name} ({own.text(sign=True)})")
    parts = seen
    if unseen:
        parts = [*parts, f"no difference {'' if seen else f'from {baseline} '}is seen with {listed(unseen)}"]
    if single:
        parts = [*parts, f"with {listed(single)} there is one seed, which has no interval"]
    if missing:
        parts = [*parts, f"with {listed(missing)} no seed has finished beside {baseline}"]
    return f"{title}: {'; '.join(parts)}."


def listed(names: Sequence[str]) -> str:
    """a, b and c"""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def sentences(study: Study, found: Results) -> list[str]:
    """One for each factor."""
    return [sentence(factor, found) for factor in study.compared()]


def name_of(own: Setting) -> str:
    """How a setting is called where it stands by itself."""
    return label(own.entry) + ("" if own.network == "ema" else ", the network itself")
