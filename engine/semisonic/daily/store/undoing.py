"""Undoing: an event that makes stand again what stood before another one. It can be undone itself, and so on."""

from collections.abc import Sequence

from semisonic.daily.store import audits, queues
from semisonic.daily.store.class_events import impossible, settle
from semisonic.daily.store.classes import Unfounded, history, read_classes
from semisonic.daily.store.current import put_now
from semisonic.daily.store.database import Connection, transaction
from semisonic.daily.store.events import Author, Event, append, event_of, select, undone, undone_by
from semisonic.daily.store.scoring import settle_accepted
from semisonic.schema import UserError
from semisonic.text import name_of

BATCHES = ("class", "accept")
"""Kinds of events that are of no single image, and that can be undone."""


def undo(
    connection: Connection, numbers: Sequence[int], author: Author, keys: Sequence[str] | None = None
) -> list[int]:
    """Undoes events, in their order, all or none; returns the events that do so.

    keys: of each, as `Change.key`. Raises `UserError` where an event is none that stands.
    """
    found = []
    with transaction(connection):
        for place, number in enumerate(numbers):
            key = keys[place] if keys else None
            before = select(connection, "key = ?", (key,)) if key else []
            found.append(before[0].id if before else _undo(connection, event_of(connection, number), author, key))
    return found


def undo_last(
    connection: Connection, author: Author, count: int = 1, since: int | None = None, key: str | None = None
) -> list[int]:
    """Undoes the newest labels of a person that stand, the newest first; as many as there are, and at most `count`.

    since: those after this event alone. Returns the events that do so.
    """
    found: list[int] = []
    with transaction(connection):
        if key and (before := select(connection, "key >= ? AND key < ? ORDER BY id", (f"{key}:", f"{key};"))):
            return [event.id for event in before]
        newest = connection.execute(
            "SELECT id FROM event WHERE kind = 'label' AND who = ? AND id > ? ORDER BY id DESC",
            (author.who, since or 0),
        )
        for (number,) in newest:
            if len(found) >= count:
                break
            event = event_of(connection, number)
            assert event.image is not None
            if (standing := _standing(events := _history(connection, event.image))) and standing.id == number:
                own = f"{key}:{len(found)}" if key else None
                found.append(_undo_label(connection, event, events, author, own))
    return found


def _undo(connection: Connection, event: Event, author: Author, key: str | None) -> int:
    if event.image is not None:
        return _undo_label(connection, event, _history(connection, event.image), author, key)
    if event.kind not in (*BATCHES, "undo"):
        raise UserError(f"event {event.id}: of its kind ({event.kind}) none can be undone")
    return _undo_batch(connection, event, author, key)


def _history(connection: Connection, image: int) -> list[Event]:
    return select(connection, "image = ? ORDER BY id", (image,))


def _standing(events: Sequence[Event], more: Sequence[Event] = ()) -> Event | None:
    """The newest label of an image that is not undone."""
    out = undone([*events, *more])
    return next((event for event in reversed(events) if event.kind == "label" and event.id not in out), None)


def _undo_label(connection: Connection, target: Event, events: Sequence[Event], author: Author, key: str | None) -> int:
    _check_standing(target, events)
    image, newest = target.image, events[-1]
    assert image is not None
    ours = newest._replace(id=newest.id + 1, kind="undo", details={"event": target.id})
    before, after = _standing(events), _standing(events, [ours])
    if before == after:
        assert before is not None
        raise UserError(
            f"event {target.id}: it does not stand for image {image} any more, event {before.id} of "
            f"{name_of(before.who)} does; undo that first"
        )
    state, label = (after.state or 0, after.class_id) if after else (0, None)
    event = append(
        connection, author, "undo", image=image, class_id=label, state=state, previous=newest.id, key=key,
        details={"event": target.id},
    )  # fmt: skip
    put_now(connection, read_classes(connection), image, state, label, event)
    back = before is not None and (after is None or after.id < before.id)
    _requeue(connection, image, before if back else after, back)
    audits.look_again(connection, image, [*events, ours._replace(id=event)])
    return event


def _requeue(connection: Connection, image: int, label: Event | None, back: bool) -> None:
    """Puts an image back into the queues that it left for a label, or takes it out of them again."""
    if label is None:
        return
    places = label.details.get("queues", [])
    if back:
        queues.put_back(connection, image, places)
    else:
        for name, *_ in places:
            queues.leave(connection, name, [image])


def _check_standing(target: Event, events: Sequence[Event]) -> None:
    if target.id in undone(events):
        by = undone_by(events, target.id)
        raise UserError(
            f"event {target.id}: it is undone already, by event {by.id} of {name_of(by.who)}; undo that to redo it"
        )


def _undo_batch(connection: Connection, target: Event, author: Author, key: str | None) -> int:
    events = history(connection)
    _check_standing(target, events)
    before = read_classes(connection)
    event = append(connection, author, "undo", key=key, details={"event": target.id})
    first, redone = _first(events, target)
    if first.kind == "accept":
        settle_accepted(connection)
        return event
    try:
        if redone:
            settle(connection, before, queued=first.id, unqueued=target.id)
        else:
            settle(connection, before, unqueued=first.id, lost=event)
    except Unfounded as error:
        raise impossible(target.id, error) from error
    return event


def _first(events: Sequence[Event], target: Event) -> tuple[Event, bool]:
    """The event that undoings of undoings lead to, and whether it stands again once `target` is undone."""
    by_number = {event.id: event for event in events}
    redone = False
    while target.kind == "undo":
        target, redone = by_number[target.details["event"]], not redone
    return target, redone
