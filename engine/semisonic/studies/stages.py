"""Settings that start from runs of other settings: their order, and what each run takes from the run before it.

An entry names the entry before it, in the field that takes what its run has left:

    supervised:init=uda                     its weights
    mpl:variant=reduced:predictions=uda     its predictions on the pool, a table in OUT/tables

A run starts from the run with the same labels and seed, once that one has finished.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from semisonic.compare.jobs import Comparison, Entry, Job, make_jobs, owner, parse_entries, run_arguments
from semisonic.runs.run_folder import status_replaced
from semisonic.schema import UserError

WEIGHTS, TABLE = "init", "algorithm.predictions"
"""Fields that may name an entry."""


@dataclass(frozen=True)
class Origin:
    """What a run starts from."""

    field: str
    job: Job
    """The run before it."""

    @property
    def finished(self) -> bool:
        return is_finished(self.job)

    @property
    def path(self) -> Path:
        """What the field has: the folder of the run before, or the table of its predictions."""
        folder = self.job.folder
        return folder if self.field == WEIGHTS else folder.parent.parent / "tables" / f"{folder.name}.npy"

    def make(self) -> None:
        """Writes the table of a finished run, where it is not there yet."""
        if self.field == TABLE and not self.path.is_file():
            from semisonic.inference.pool import predict_pool, write_pool

            write_pool(predict_pool(self.job.folder), self.path)


def is_finished(job: Job) -> bool:
    return (job.folder / "summary.json").is_file()


def is_stopped(job: Job) -> bool:
    """Whether a run that was to be run was stopped or not begun: a signal has ended the comparison then."""
    return not is_finished(job) and status_replaced(job.folder)[0].get("status") in (None, "stopped")


def before(entry: Entry, names: Collection[str]) -> tuple[str, str] | None:
    """Which field of an entry names one of these entries, and which one; None where none does."""
    found = ((field, entry.fields.get(field, "")) for field in (WEIGHTS, TABLE))
    return next(((field, name) for field, name in found if name in names), None)


def stages(names: Sequence[str]) -> list[list[Entry]]:
    """Entries by their stage: the first start from nothing, all others from one of a stage before.

    Raises `UserError` for what is no entry.
    """
    entries, problems = parse_entries(",".join(names))
    if problems:
        raise UserError(problems)
    found: list[list[Entry]] = []
    known: set[str] = set()
    while left := [entry for entry in entries if entry.name not in known]:
        stage = [entry for entry in left if (own := before(entry, names)) is None or own[1] in known]
        found.append(stage)  # never empty: what an entry names is shorter than it
        known |= {entry.name for entry in stage}
    return found


def origins(jobs: Sequence[Job]) -> dict[Path, Origin]:
    """What those of these runs start from that start from another one of them, by their folders."""
    names, by_run = {job.entry.name for job in jobs}, {(job.entry.name, job.labels, job.seed): job for job in jobs}
    found = {}
    for job in jobs:
        own = before(job.entry, names)
        if own is not None and (source := by_run.get((own[1], job.labels, job.seed))):
            found[job.folder] = Origin(own[0], source)
    return found


def chain(job: Job, sources: Mapping[Path, Origin]) -> list[Job]:
    """A run, the one that it starts from, and so on."""
    own = sources.get(job.folder)
    return [job, *chain(own.job, sources)] if own else [job]


def comparisons(
    first: Comparison,
    later: Sequence[Sequence[Entry]],
    fields: Sequence[str],
    labels: str | None,
    share: tuple[int, int],
) -> list[Comparison]:
    """The comparisons of all stages, from the first one's.

    fields, labels: as the first stage was given them. Weights that are not there yet are named all the same, and
    checked by a later call. Raises `UserError` with every mistake.
    """
    found, made = [first], list(first.jobs)
    for entries in later:
        own = [job for entry in entries for job in _jobs(entry, made, fields, labels, first)]
        # As in a comparison: a seed's runs side by side.
        own.sort(key=lambda job: [other.seed for other in first.jobs].index(job.seed))
        mine = [job for index, job in enumerate(own) if owner(index, len(entries), share[1]) == share[0] - 1]
        found.append(replace(first, jobs=own, mine=mine))
        made += own
    return found


def _jobs(entry: Entry, made: Sequence[Job], fields: Sequence[str], labels: str | None, first: Comparison) -> list[Job]:
    """An entry's runs: one for each of the entry before it."""
    field, name = before(entry, {job.entry.name for job in made}) or ("", "")
    found = []
    for source in (job for job in made if job.entry.name == name):
        origin = Origin(field, source)
        known = field == TABLE or origin.finished
        given = {**{key: value for key, value in entry.fields.items() if key != field},
                 **({field: str(origin.path)} if known else {})}  # fmt: skip
        count = source.labels if labels else ""
        arguments = run_arguments(fields, {}, replace(entry, fields=given), count)
        (job,) = make_jobs([(entry, count, source.seed, arguments)], first.out, source.cfg.threads)
        if not known:
            job = replace(job, cfg=job.cfg.model_copy(update={field: origin.path}))
        found.append(job)
    return found


def ready(comparison: Comparison, made: Sequence[Job]) -> tuple[Comparison, list[str]]:
    """What of a stage can begin, its tables written; and a line for each run of this share that cannot yet.

    made: the runs of all stages.
    """
    if comparison.report_only:
        return comparison, []
    sources = origins(made)
    waiting = [job for job in comparison.mine if not sources[job.folder].finished]
    mine = [job for job in comparison.mine if job not in waiting]
    for job in mine:
        if not is_finished(job):
            sources[job.folder].make()
    lines = [f"{job.folder.name}: not begun: {sources[job.folder].job.folder.name} has not finished" for job in waiting]
    return replace(comparison, mine=mine), lines
