"""What a row of an import says of an image, and whether that may stand: pure functions, without a store."""

from collections.abc import Callable
from typing import NamedTuple

from semisonic.daily.exchange.rows import Row
from semisonic.daily.store import LOOKED, PERSON, State
from semisonic.text import name_of

WORDS = {state.word: state for state in State}
NETWORK = (State.AUTO, State.ACCEPTED, State.UNLABELED)
"""States in which no person has said anything of the label."""


class Wrong(Exception):
    """What is wrong with a row."""


class Answer(NamedTuple):
    """What a person says of an image."""

    state: State
    class_id: int | None


class Standing(NamedTuple):
    """What stands for an image."""

    state: State
    class_id: int | None
    event: int | None
    """The newest event of the image; None: nobody has said anything."""
    at: str
    """When that was."""


def answer_of(row: Row, class_named: Callable[[str], int]) -> Answer | None:
    """What a row says; None where no person says anything. class_named: the class of a label, or raises `Wrong`.

    A network's label is an answer only where it was changed since the export.
    """
    state = _state_of(row)
    if state is None or state not in LOOKED:
        return None
    return Answer(state, class_named(row.label) if state in PERSON else None)


def _state_of(row: Row) -> State | None:
    if row.state and row.state not in WORDS:
        raise Wrong(f"has state {name_of(row.state)!r}; one of {', '.join(WORDS)} is valid")
    state = WORDS[row.state] if row.state else None
    if row.exported is not None and row.label != row.exported:
        if row.label:
            return State.GIVEN if state in (None, State.UNLABELED) else State.REVIEWED
        if state in PERSON or state in NETWORK or state is None:
            raise Wrong("has lost its label; give another one, or rejected or unsure as its state")
    if state is None:
        return State.GIVEN if row.label else None
    if state in PERSON and not row.label:
        raise Wrong(f"is {state.word} and has no label")
    if state in (State.REJECTED, State.UNSURE) and row.label:
        raise Wrong(f"is {state.word} and has the label {name_of(row.label)}; leave one of the two out")
    return state


def is_same(answer: Answer, now: Standing) -> bool:
    """Whether an answer says what stands already."""
    if answer.state in PERSON:
        return now.state in PERSON and now.class_id == answer.class_id
    return now.state == answer.state


def is_newer(now: Standing, row: Row) -> bool:
    """Whether a person has said something of the image that the row does not know of."""
    if now.event is None:
        return False
    of_person = row.state in WORDS and WORDS[row.state] in LOOKED
    # Two projects number their events alike: the time of a person's label tells them apart.
    return row.event != now.event or (of_person and row.at != now.at)
