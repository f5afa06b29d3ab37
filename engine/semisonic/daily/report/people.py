"""What people did on a day: looks and errors by queue, what is taken for what, reviewers, their pace and agreement."""

from collections import Counter

import numpy as np

from semisonic.curation import audit
from semisonic.daily import facts
from semisonic.daily.report.history import per_minute
from semisonic.daily.report.known import Known
from semisonic.daily.report.model import Confusion, Estimate, Queue, Reviewer
from semisonic.daily.report.pictures import shown
from semisonic.daily.store.audits import differs
from semisonic.daily.store.events import select, undone

TITLES = {
    "farthest": "chosen before the training",
    "audit": "audit, without the network's labels",
    "suspicious": "suspicious labels of the network",
    "given": "suspicious labels of people",
    "second-look": "second look",
    "free": "free",
    "sweep": "sweep",
    "accept": "rest of a page, accepted",
    "import": "imported",
    "command": "from the command line",
    "python": "from Python",
}
"""Where people look, in the order of a report."""
PAIRS = 15
EXAMPLES = 4
FASTEST = 120.0
"""Looks a minute; a program that answers for people is faster, and tells nothing of their time."""


def queues(known: Known) -> list[Queue]:
    """Those in which something happened on the day, or waits."""
    found, looks = [], known.looks
    for name, title in TITLES.items():
        here = (looks.day == known.day) & (looks.queue == name)
        waiting = known.waiting.get(name, 0)
        if not here.any() and not waiting:
            continue
        found.append(Queue(
            name=name, title=title, looks=int(here.sum()), compared=int((here & looks.compared).sum()),
            errors=int((here & looks.corrected).sum()), undecided=int((here & ~looks.decided).sum()), waiting=waiting,
        ))  # fmt: skip
    return found


def confusions(known: Known) -> tuple[list[Confusion], int]:
    """(pairs of what the network said and people said instead on the day, the commonest first; corrections in all)"""
    looks = known.looks
    here = np.flatnonzero((looks.day == known.day) & looks.corrected & looks.by_network)
    pairs = list(zip(looks.said[here].tolist(), looks.meant[here].tolist(), strict=True))
    found = []
    for pair, count in sorted(Counter(pairs).items(), key=lambda item: (-item[1], item[0]))[:PAIRS]:
        images = [looks.image[at] for at, own in zip(here, pairs, strict=True) if own == pair]
        said, meant = (known.names[number] for number in pair)
        examples = shown(known, np.array(images[:EXAMPLES], np.int64))
        found.append(Confusion(said=said, meant=meant, count=count, share=count / len(here), examples=examples))
    return found, len(here)


def reviewers(known: Known) -> list[Reviewer]:
    """Whoever has looked at an image, those with the most looks of the day first."""
    looks, found = known.looks, []
    itself, others = _agreement(known)
    for name in sorted(set(looks.who.tolist()) | set(itself) | set(others)):
        own = looks.who == name
        today = own & (looks.day == known.day)
        pace = per_minute(looks.seconds[today]) or per_minute(looks.seconds[own])
        found.append(Reviewer(
            name=name, looks=int(today.sum()), in_all=int(own.sum()), per_minute=pace,
            itself=_share(itself.get(name, [])), others=_share(others.get(name, [])),
        ))  # fmt: skip
    return sorted(found, key=lambda one: (-one.looks, -one.in_all, one.name))


def _agreement(known: Known) -> tuple[dict[str, list[bool]], dict[str, list[bool]]]:
    """By person, whether each answer on an image that came again was the one of before: their own, or another's."""
    itself: dict[str, list[bool]] = {}
    others: dict[str, list[bool]] = {}
    gone = _taken_back(known)
    for look in known.store.second_looks():
        if look.id in gone:
            continue
        same = not differs(look.first_state, look.first_class, look.state, look.class_id)
        if look.who == look.first_who:
            itself.setdefault(look.who, []).append(same)
        else:
            others.setdefault(look.who, []).append(same)
            others.setdefault(look.first_who, []).append(same)
    return itself, others


def _taken_back(known: Known) -> set[int]:
    """Second looks whose notes are undone."""
    notes = select(known.store.connection, "image IS NULL AND kind IN ('note', 'undo')")
    out = undone(notes)
    return {note.details["second_look"] for note in notes if note.id in out and "second_look" in note.details}


def _share(same: list[bool]) -> Estimate | None:
    found = audit.agreement(sum(same), len(same))
    return None if found is None else of(found)


def of(found: audit.Estimate) -> Estimate:
    return Estimate(
        value=found.value, low=found.low, high=found.high, n=found.n, population=found.population, method=found.method
    )  # fmt: skip


def pace(known: Known) -> tuple[float, bool]:
    """Looks a minute by which minutes are told, and whether it is people's own."""
    seconds = facts.pace(known.store)
    return min(60 / seconds, FASTEST), seconds != facts.USUAL
