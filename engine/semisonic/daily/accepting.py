"""`daily PROJECT accept`: the surest auto-labels become accepted, as many as an audit backs. They are handed out as
such; nothing is ever trained on them."""

from argparse import Namespace
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from semisonic.curation import audit
from semisonic.curation.acceptance import Looks, Part, more_to_accept, part_of, surest_part
from semisonic.curation.audit import Strata
from semisonic.daily.audit_words import days_text, interval, percent
from semisonic.daily.auditing import Looked, draw, is_same, looks_of, made_anew, places
from semisonic.daily.store import State, Store
from semisonic.daily.store.packing import unpack_ids
from semisonic.schema import ExitCode, UserError
from semisonic.text import name_of

if TYPE_CHECKING:
    from semisonic.daily.project import Project

LEAST_PART = 0.2
"""Of the labels, the smallest part that `accept` speaks of where none can be accepted."""


def run(project: "Project", args: Namespace) -> ExitCode:
    """Raises `UserError` where no part can be accepted, with what to do. args: at_least, draw, who."""
    with project.store() as store:
        _accept(store, backed(project, store, args), args)
    return ExitCode.OK


class Backed(NamedTuple):
    """Auto-labels that an audit backs."""

    run: str
    images: np.ndarray
    """int64 [N]: those of which these are the labels."""
    part: Part
    of: str
    """Which labels were audited: "day 3"."""


def backed(project: "Project", store: Store, args: Namespace) -> Backed:
    """The largest surest part of the labels of which the audit's lower end is `args.at_least`. Raises `UserError` where
    there is none, with what to do; `args.draw` puts as many images as are missing into the audit."""
    run_name = store.run
    if run_name is None:
        raise UserError(f"{args.command}: no network has labeled the images yet; `next` says what comes first")
    found = looks_of(store, run_name)
    if not any(one.answered.any() for one in found):
        raise UserError(
            f"{args.command}: nobody has looked at the audit of {name_of(run_name)} yet, and nothing else "
            f"backs its labels: {len(store.queue('audit')):,} images wait in the queue audit; `page` shows them"
        )
    images, looks = _looks(store, found)
    of = days_text(sorted({day for one in found for day in one.row.details["days"]}))
    part = surest_part(looks, args.at_least)
    if part is None:
        raise UserError(_refusal(project, store, run_name, looks, of, args))
    return Backed(run_name, images[part.rows], part, of)


def _looks(store: Store, found: Sequence[Looked]) -> tuple[np.ndarray, Looks]:
    """(image ids [N], looks) of all labels that were audited. Strata of different days stand side by side."""
    scores = store.scores()
    images: list[np.ndarray] = []
    strata, rows, right, count = [], [], [], 0
    for of in dict.fromkeys(one.row.details["of"] for one in found):
        own = [one for one in found if one.row.details["of"] == of]
        ids = unpack_ids(own[0].row.details["images"])
        place = places(scores, ids)
        if place is None:
            raise UserError(made_anew(own[0].row.run))
        cut = audit.strata(scores.certainty[place])
        if not is_same(own[0].row, cut):
            raise UserError(made_anew(own[0].row.run))
        begin = sum(len(part) for part in images)
        images.append(ids)
        strata.append(cut.stratum_N + count)
        count += len(cut.sizes_S)
        for one in own:
            rows.append(begin + np.searchsorted(ids, one.rows.image[one.answered]))
            right.append(one.right[one.answered])
    every, stratum = np.concatenate(images), np.concatenate(strata)
    certainty = scores.certainty[np.searchsorted(scores.image, every)]
    sizes = np.bincount(stratum)
    cut = Strata(stratum, sizes, np.bincount(stratum, certainty) / sizes)
    return every, Looks(certainty, cut, np.concatenate(rows), np.concatenate(right))


def _accept(store: Store, accepted: Backed, args: Namespace) -> None:
    run, images, part, of = accepted
    found = part.found
    current = store.current()
    if not np.isin(current.state[np.isin(current.image, images)], (State.AUTO, State.ACCEPTED)).any():
        print(f"Nothing to accept: people have decided all {len(images):,} images whose labels the audit backs.")
        return
    details = {
        "at_least": args.at_least, "of": of, "threshold": part.threshold, "share": part.share, "right": found.value,
        "low": found.low, "high": found.high, "looks": found.n, "labels": found.population, "method": found.method,
    }  # fmt: skip
    store.accept(images, run, args.who, details)
    count = int((store.current().state == State.ACCEPTED).sum())
    print(
        f"Accepted: {count:,} labels of {name_of(run)}, the surest of {of}. Of the {found.population:,} labels whose "
        f"certainty is at least {part.threshold:.3f}, {percent(found.value)} % are right {interval(found)}, estimated "
        f"from {found.n:,} images that were drawn at random and checked by people."
    )
    print("They are exported as accepted, and never trained on.")


def _refusal(project: "Project", store: Store, run: str, looks: Looks, of: str, args: Namespace) -> str:
    asked, labels = percent(args.at_least), len(looks.certainty_N)
    begin = (
        f"{args.command}: no part of the {labels:,} labels of {of} is right to {asked} % by the lower end of the audit"
    )
    waiting = len(store.queue("audit"))
    more = more_to_accept(looks, args.at_least)
    if more is None:
        surest = part_of(looks, LEAST_PART)
        shown = (
            f"of the surest fifth {percent(surest.found.value)} % are right {interval(surest.found)}; "
            if surest
            else ""
        )
        return f"{begin}; {shown}more looks will not change that: label more images and train again"
    if more <= waiting:
        return f"{begin}, and about {more:,} further looks would do; {waiting:,} images wait in the queue audit"
    if not args.draw:
        return f"{begin}; about {more:,} further looks would do: `accept --draw` puts as many into the queue audit"
    draw(project, store, run, more - waiting, store.audits(run)[-1].details["days"])
    return f"{begin}; {more:,} images wait in the queue audit now: look at them, and accept again"
