"""What reviewers answer, stored: labels, the acceptance of what was shown, and undoing.

Answers come with a key, and one that is sent twice is stored once. Each was given to what a reviewer has seen; where
something else stands by then, it is a conflict, which is told and stores nothing.
"""

from collections.abc import Callable, Sequence
from typing import Any

from semisonic.daily.page import repeats
from semisonic.daily.page.items import Item, Seal
from semisonic.daily.page.queues import is_blind
from semisonic.daily.page.requests import AcceptRequest, Labeled, LabelRequest, Refused, Shown, UndoRequest, wrong
from semisonic.daily.store import LOOKED, Change, Conflict, Now, State, Store
from semisonic.daily.store.database import DatabaseProblem
from semisonic.daily.store.events import Author, Event, event_of, select
from semisonic.daily.store.queues import AUDIT
from semisonic.schema import UserError

STATES = {"rejected": State.REJECTED, "unsure": State.UNSURE}
DECIDED = ("given", "second-look")
"""Queues of images that have a person's label already, which can be confirmed."""

Told = dict[str, Any]


class Answers:
    """`run`: whose labels are shown."""

    def __init__(self, store: Store, seal: Seal, run: str | None) -> None:
        self.store = store
        self.seal = seal
        self.run = run
        self.done: list[Told] = []
        self.conflicts: list[Told] = []
        self.errors: list[Told] = []

    @property
    def told(self) -> Told:
        return {"done": self.done, "conflicts": self.conflicts, "errors": self.errors}

    # Labels.

    def label(self, asked: LabelRequest) -> None:
        author = Author(asked.who.strip(), f"page:{asked.queue}")
        changes: list[Change] = []
        for given in asked.changes:
            try:
                item = self._item(given)
                state, class_id = _answer(given, item)
                if item.first is not None:
                    event = repeats.answer(self.store, item, author, state, class_id, given.key)
                    self.done.append({"key": given.key, "event": event, "image": given.image})
                else:
                    changes.append(Change(given.image, state, class_id, _seen(given, item), given.key))
            except DatabaseProblem:
                raise
            except (ValueError, UserError, Refused) as error:
                self.errors.append({"key": given.key, "image": given.image, "message": _line(error)})
        self._record(changes, author)

    # Accepting.

    def accept(self, asked: AcceptRequest) -> None:
        """What was shown as the label of each image is right."""
        if is_blind(asked.queue, self.store.day):
            raise wrong(f"the queue {asked.queue} shows no labels that could be accepted: answer each image by itself")
        author = Author(asked.who.strip(), "page:accept")
        changes = []
        for shown in asked.images:
            key = f"{asked.key}/{shown.image}"
            try:
                if change := self._accepted(shown, key, asked.queue):
                    changes.append(change)
            except ValueError as error:
                self.errors.append({"key": key, "image": shown.image, "message": _line(error)})
        self._record(changes, author)

    def _accepted(self, shown: Shown, key: str, queue: str) -> Change | None:
        """None where the same was sent before."""
        item = self._item(shown)
        if before := select(self.store.connection, "key = ?", (key,)):
            self.done.append({"key": key, "event": before[0].id, "image": shown.image})
            return None
        if item.label is None:
            raise ValueError("it has no label to accept")
        now = self.store.connection.execute("SELECT state FROM now WHERE image = ?", (shown.image,)).fetchone()
        if queue not in DECIDED and shown.seen is not None and now is not None and now[0] in LOOKED:
            raise ValueError("a person has decided it already")
        return Change(shown.image, State.REVIEWED, item.label, _seen(shown, item), key, {"queue": queue})

    # Both.

    def _item(self, shown: Shown) -> Item:
        item = self.seal.open(shown.item)
        if item.image != shown.image:
            raise ValueError("the item is another image's")
        return item

    def _record(self, changes: Sequence[Change], author: Author) -> None:
        """One transaction, without those that are in conflict; each for itself where one cannot be stored."""
        firsts = {change.image: change for change in reversed(changes)}
        rest = [change for change in changes if firsts[change.image] is change]
        self._record_once(rest, author)
        if again := [change for change in changes if firsts[change.image] is not change]:
            self._record(again, author)  # on what the first answer to the same image has left

    def _record_once(self, rest: list[Change], author: Author) -> None:
        while rest:
            try:
                events = self.store.record(rest, author.who, author.source, self.run)
            except Conflict as conflict:
                found = dict(conflict.conflicts)
                lines = dict(zip(found, conflict.messages, strict=True))
                blind = is_blind(author.source.removeprefix("page:"), self.store.day)
                self.conflicts += [
                    _conflict(change, found[change.image], lines[change.image], blind)
                    for change in rest
                    if change.image in found
                ]
                rest = [change for change in rest if change.image not in found]
                continue
            except DatabaseProblem:
                raise
            except UserError as error:
                if len(rest) > 1:
                    for change in rest:
                        self._record_once([change], author)
                else:
                    self.errors.append({"key": rest[0].key, "image": rest[0].image, "message": _line(error)})
                return
            self.done += [
                {"key": change.key, "event": event, "image": change.image}
                for change, event in zip(rest, events, strict=True)
            ]
            return


def _seen(shown: Shown, item: Item) -> int | None:
    """The event that an answer is given on. A blind queue tells the browser of none, and the item has it."""
    return shown.seen if shown.seen is not None else item.seen


def _answer(given: Labeled, item: Item) -> tuple[State, int | None]:
    answer = given.answer
    if (answer.class_id is None) == (answer.state is None):
        raise ValueError("an answer is a class or a state")
    if answer.state is not None:
        return STATES[answer.state], None
    return State.REVIEWED if item.guess else State.GIVEN, answer.class_id


def _conflict(change: Change, now: Now, line: str, blind: bool) -> Told:
    """blind: what a person has said is told, and not what the network says."""
    stands = {"event": now.event, "state": now.state.word, "class": now.class_id, "who": now.who}
    if blind and now.state not in LOOKED:
        stands |= {"state": State.UNLABELED.word, "class": None}
    return {"key": change.key, "image": change.image, "message": line, "now": stands}


def _line(error: Exception) -> str:
    return "; ".join(error.messages) if isinstance(error, UserError) else str(error)


# Undoing.


def undo(store: Store, asked: UndoRequest) -> list[Told]:
    """Undoes events of the browser's, or a person's newest answers, as one change. Raises `UserError` and `Refused`."""
    author = Author(asked.who.strip(), "command")
    events = asked.events or ([asked.event] if asked.event is not None else None)
    if (events is None) == (asked.count is None):
        raise wrong("give event, events or count: what is to be undone")
    with store.transaction():
        if events is None:
            made = _undo_newest(store, author, asked.count or 1, asked.key)
        else:
            made = _undo_events(store, sorted(set(events), reverse=True), author, asked.key)
    return [_undone(store, number) for number in made]


def _undo_events(store: Store, numbers: Sequence[int], author: Author, key: str | None) -> list[int]:
    keys = {number: None if key is None else f"{key}/{number}" for number in numbers}
    made, labels = [], []
    for number in numbers:
        event = event_of(store.connection, number)
        if not repeats.is_repeat(event):
            if event.image is None:
                raise UserError(f"event {number}: it is no answer on an image")
            labels.append(number)
        elif (own := keys[number]) and (before := select(store.connection, "key = ?", (own,))):
            made.append(before[0].id)
        elif repeats.stands(store.connection, event):
            made.append(repeats.take_back(store, event, author, own))
        else:
            raise UserError(f"event {number}: it is undone already")
    own_keys = None if key is None else [f"{key}/{number}" for number in labels]
    return made + store.undo(labels, author.who, own_keys) if labels else made


class _Later(Exception):
    """Ends a transaction within one."""


def _undo_newest(store: Store, author: Author, count: int, key: str | None) -> list[int]:
    if key and (before := select(store.connection, "key >= ? AND key < ? ORDER BY id", (f"{key}:", f"{key};"))):
        return [event.id for event in before]
    made = []
    for place in range(count):
        own = None if key is None else f"{key}:{place}"
        if (number := _newest(store, author)) is None:
            break
        made.append(number(own))
    return made


def _newest(store: Store, author: Author) -> Callable[[str | None], int] | None:
    """What undoes a person's newest answer that stands; it may be one on a repeat."""
    repeat = repeats.newest(store.connection, author.who)
    label: int | None = None
    try:
        with store.transaction():
            made = store.undo_last(author.who, 1)
            if made:
                label = event_of(store.connection, made[0]).details["event"]
            raise _Later
    except _Later:
        pass
    if repeat is not None and (label is None or repeat.id > label):
        return lambda key: repeats.take_back(store, repeat, author, key)
    if label is None:
        return None
    number = label
    return lambda key: store.undo([number], author.who, keys=None if key is None else [key])[0]


def _undone(store: Store, number: int) -> Told:
    """What an event that undoes has left; of an answer that was given blind, nothing that it did not show."""
    made = event_of(store.connection, number)
    target: Event = event_of(store.connection, made.details["event"])
    image = target.image if target.image is not None else target.details["image"]
    told = {"event": target.id, "image": image, "state": State.UNLABELED.word, "class": None, "now_event": number}
    blind = is_blind(target.source.removeprefix("page:"), store.day)
    if target.image is None or blind or _waits_in_audit(store, image):
        return told
    state, class_id = store.connection.execute("SELECT state, class FROM now WHERE image = ?", (image,)).fetchone()
    return told | {"state": State(state).word, "class": class_id}


def _waits_in_audit(store: Store, image: int) -> bool:
    """Whether an image is in the audit, where it is again when an answer there is taken back for the second time."""
    sql = "SELECT EXISTS (SELECT 1 FROM queue WHERE name = ? AND image = ?)"
    return bool(store.connection.execute(sql, (AUDIT, image)).fetchone()[0])
