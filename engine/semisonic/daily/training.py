"""`daily PROJECT train`: a normal run on what people have labeled by now, with all other images as its pool.

Rank 0 decides what is to be trained and freezes its training set as a revision; all ranks train on that. A run that
was stopped goes on with its own revision and configuration, whatever has been labeled since.
"""

import argparse
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from semisonic.config.command_line import Invocation
from semisonic.config.run_config import RunConfig
from semisonic.daily import folds, given, warm
from semisonic.daily.configuring import Asked, begun, continued, parse
from semisonic.daily.project import Project
from semisonic.daily.store import PERSON, Revision, Store
from semisonic.daily.store.images import file_is, real_path
from semisonic.inference.ranks import joined_ranks
from semisonic.runs.run import Outcome
from semisonic.runs.run import run as run_one
from semisonic.schema import ExitCode, Stopped, UserError
from semisonic.text import name_of, printable

SHOWN = 10
"""Images and classes that a message names."""


@dataclass(frozen=True)
class Standing:
    """How the newest training of the current day stands."""

    kind: Literal["none", "stopped", "finished", "changed"]
    """none: there is none; stopped: it is not finished; changed: it is, and labels or images have changed since."""
    revision: Revision | None = None


@dataclass(frozen=True)
class Job:
    """A run that is begun or gone on with, the same on all ranks."""

    cfg: RunConfig
    resume: bool


@dataclass(frozen=True)
class Plan:
    """What a command does."""

    revision: Revision
    jobs: tuple[Job, ...]
    """In their order: the day's run, then those of its folds."""
    notes: tuple[str, ...]


def run(project: Project, args: argparse.Namespace) -> int:
    """The sub-command, on every rank; returns the exit code of the run. Raises `UserError`."""
    with ExitStack() as held:

        def begin() -> Plan:
            held.enter_context(project.lock("train"))
            return plan(project, args)

        with joined_ranks() as ranks:
            planned = ranks.from_main(begin)
        for note in planned.notes if ranks.main else ():
            print(printable(note), flush=True)
        for job in planned.jobs:
            outcome = _run(job, args)
            if outcome.summary is None:
                if ranks.main:
                    print("In a project the same command goes on with it, and so does `next`", flush=True)
                return outcome.code
        for note in conclude(project, planned) if ranks.main else ():
            print(printable(note), flush=True)
    return ExitCode.OK


def _run(job: Job, args: argparse.Namespace) -> Outcome:
    """Raises `UserError`; where a run cannot go on, with the way out that a project has."""
    try:
        return run_one(Invocation(job.cfg, job.resume, debug=args.debug, verify_data=args.verify_data))
    except UserError as error:
        if not job.resume or isinstance(error, Stopped):
            raise
        name = job.cfg.run_folder.name
        raise type(error)(
            [*error.messages, f"train: {name} goes on as it was begun; --again begins another"]
        ) from error


def conclude(project: Project, planned: Plan) -> list[str]:
    """Has the finished runs of a plan tell of the labels that they were given, unless they have. Returns what to tell.

    One process may call it.
    """
    told = given.table(project, planned.revision.run).exists()
    if folds.predict(project, planned.revision) or planned.jobs or not told:
        return given.look_at(project, planned.revision)
    return []


def standing(project: Project, store: Store) -> Standing:
    """How the newest training of the current day stands."""
    own = [revision for revision in store.revisions() if revision.day == store.day]
    if not own:
        return Standing("none")
    if not finished(project, own[-1].run):
        return Standing("stopped", own[-1])
    same = unchanged(store, own[-1])
    return Standing("finished" if same else "changed", own[-1])


def unchanged(store: Store, revision: Revision) -> bool:
    """Whether images, labels and classes are those of a revision."""
    names = tuple(row.name for row in store.classes())
    return names == revision.classes and store.training_digest() == revision.digest


def finished(project: Project, run: str) -> bool:
    return (project.runs / run / "summary.json").exists()


def plan(project: Project, args: argparse.Namespace) -> Plan:
    """What is to be trained, for one process. Where it is a new run, its training set is frozen. Raises `UserError`
    with every mistake, and nothing is written then."""
    asked = parse(args)
    with project.store() as store:
        stands = standing(project, store)
        kept = None if args.again or stands.kind == "changed" else stands.revision
        if kept is not None and (project.runs / kept.run / "config.yaml").exists():
            return _go_on(project, store, kept, stands.kind, args, asked)
        names = [row.name for row in store.classes()]
        name = kept.run if kept else free_name(project, store)
        first, problems, notes = warm.start(project, store, args.warm)
        problems = label_problems(store, names, args.folds) + file_problems(store, args.without_missing) + problems
        cfg = begun(project, asked, names, name, first, problems)
        revision = kept if kept and unchanged(store, kept) else store.freeze(name, names)
        own: dict[str, Any] = {"data": cfg.data.model_copy(update={"csv": revision.path})}
        if first is not None:
            own["init"] = warm.written(project, store, first, revision)
    cfg = cfg.model_copy(update=own)
    jobs = (Job(cfg, False), *_fold_jobs(project, revision, cfg, args.folds))
    return Plan(revision, jobs, (*notes, *_begun_notes(revision)))


def _go_on(
    project: Project, store: Store, revision: Revision, kind: str, args: argparse.Namespace, asked: Asked
) -> Plan:
    """Goes on with the run of a revision, and with those of its folds."""
    asked.problems.extend(fold_problems(args.folds, revision.labeled))
    cfg = continued(project, asked, revision.run)
    notes = [f"--warm: {revision.run} stays as it was begun"] if args.warm else []
    if kind == "finished":
        jobs = _fold_jobs(project, revision, cfg, args.folds)
        if not jobs:
            notes.append(
                f"Nothing has changed since {revision.run} was trained; label or add images, or train anew with --again"
            )
        return Plan(revision, jobs, tuple(notes))
    if not unchanged(store, revision):
        notes.append(
            f"{revision.run} goes on with its revision {revision.number}; what has changed since is for the next"
        )
    if not revision.path.is_file():
        raise UserError(f"{revision.path}: the training set of {revision.run} is gone; begin another with --again")
    return Plan(revision, (Job(cfg, True), *_fold_jobs(project, revision, cfg, args.folds)), tuple(notes))


def _fold_jobs(project: Project, revision: Revision, cfg: RunConfig, count: int | None) -> tuple[Job, ...]:
    """The runs of the folds that are not finished; none where no folds are asked for."""
    found = folds.configurations(project, revision, cfg, count) if count else []
    return tuple(
        Job(own, (own.run_folder / "config.yaml").exists())
        for own in found
        if not finished(project, own.run_folder.name)
    )


def _begun_notes(revision: Revision) -> list[str]:
    left = f"; {revision.gone:,} images are left out, for their files are gone or changed" if revision.gone else ""
    return [
        f"{revision.run}: day {revision.day}, revision {revision.number}: {revision.images:,} images, "
        f"{revision.labeled:,} of them labeled by people{left}"
    ]


def free_name(project: Project, store: Store) -> str:
    """The name of the day's next run: day-003, or day-003-2 where that is taken."""
    taken = {revision.run for revision in store.revisions()}
    base, number = project.run_name(store.day), 1
    while (name := base if number == 1 else f"{base}-{number}") in taken or (project.runs / name).exists():
        number += 1
    return name


def label_problems(store: Store, names: list[str], count: int | None = None) -> list[str]:
    """Why nothing can be trained on the labels of people, or on so many folds of them; or []."""
    current = store.current()
    if not len(current):
        return ["images: the project has none; take some in with `add`"]
    labels = current.class_id[np.isin(current.state, sorted(PERSON))]
    if not len(labels):
        return ["labels: no image is labeled by a person yet; `choose` images and label them on the `page`"]
    if len(np.unique(labels)) < 2:
        only = next(row.name for row in store.classes() if row.id == labels[0])
        return [
            f"labels: all are of the class {name_of(only)}; label images of at least one more of {len(names)} classes"
        ]
    return fold_problems(count, len(labels))


def fold_problems(count: int | None, labels: int) -> list[str]:
    if count is None or 2 <= count <= labels:
        return []
    return [f"--folds: {count}; give 2 to {labels:,}, the number of labels"]


def file_problems(store: Store, without: bool) -> list[str]:
    """A line for each labeled image whose file is gone or changed, up to a few, and what to do; without: they are left
    out, which the revision counts."""
    if without:
        return []
    rows = store.connection.execute(
        "SELECT path.image, path, path.bytes, mtime_ns, hash FROM now JOIN path ON path.image = now.image "
        f"JOIN image ON image.id = now.image WHERE now.state IN ({', '.join(str(int(state)) for state in PERSON)}) "
        "ORDER BY path.id"
    )
    files = {row[0]: row[1:] for row in rows}  # the newest path of each
    lines = []
    for stored, size, time, digest in files.values():
        if what := file_is(real_path(stored), (size, time), digest):
            since = "" if what == "gone" else " since it was labeled"
            lines.append(f"{real_path(stored)}: is labeled, and {'is' if what == 'gone' else 'has'} {what}{since}")
    if not lines:
        return []
    more = [f"and {len(lines) - SHOWN:,} more labeled images"] if len(lines) > SHOWN else []
    advice = "put them back as they were, `add` the folder where they are now, or leave them out with --without-missing"
    return [*lines[:SHOWN], *more, f"files: {advice}"]
