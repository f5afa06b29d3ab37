"""What persons say of images becomes events, all of a call or none."""

from collections.abc import Sequence

from semisonic.daily.store import audits, queues
from semisonic.daily.store.classes import Classes, read_classes
from semisonic.daily.store.current import put_now
from semisonic.daily.store.database import Connection, transaction
from semisonic.daily.store.events import LONGEST_KEY, Author, append, event_of, select
from semisonic.daily.store.rows import ANY, LOOKED, PERSON, Change, Conflict, Now, State
from semisonic.schema import UserError
from semisonic.text import name_of

ALLOWED = LOOKED | {State.UNLABELED}
"""What a person can say; unlabeled takes a label away."""


def record(connection: Connection, changes: Sequence[Change], author: Author, run: str | None = None) -> list[int]:
    """The events of changes, in their order; one that was sent before is the event that it was.

    run: whose labels were shown. Raises `Conflict` where something else stands by now than a person has seen, and
    `UserError` for what cannot be, a line each; then nothing is stored.
    """
    events: list[int] = []
    problems: list[str] = []
    lines: list[str] = []
    conflicts: list[tuple[int, Now]] = []
    with transaction(connection):
        classes = read_classes(connection)
        for change in changes:
            if change.key is not None and (before := sent_before(connection, classes, change)):
                events.append(before)
                continue
            found = now_of(connection, change.image)
            if problem := "has no such image" if found is None else _problem(classes, change):
                problems.append(f"image {change.image}: {problem}")
                continue
            assert found is not None
            if change.seen != ANY and (change.seen or None) != found.event:
                lines.append(f"image {change.image}: {_told(connection, classes, found)} meanwhile; look at it again")
                conflicts.append((change.image, found))
                continue
            events.append(_store(connection, classes, change, author, found, run))
        if problems:
            raise UserError(problems)
        if conflicts:
            raise Conflict(lines, tuple(conflicts))
    return events


def sent_before(connection: Connection, classes: Classes, change: Change) -> int | None:
    """The event that a change with a key has become earlier. Raises `UserError` where the key was another's."""
    if not change.key or len(change.key) > LONGEST_KEY:
        raise UserError(f"key: {name_of(repr(change.key))} is not valid; expected 1 to {LONGEST_KEY} characters")
    found = select(connection, "key = ?", (change.key,))
    if not found:
        return None
    event = found[0]
    own = (change.image, int(change.state), classes.resolve(change.class_id))
    if (event.image, event.state, classes.resolve(event.class_id)) != own:
        raise UserError(f"key: {name_of(change.key)} was sent before, with another change; each has a key of its own")
    return event.id


def now_of(connection: Connection, image: int) -> Now | None:
    """What stands for an image; None where there is none of this number."""
    row = connection.execute(
        "SELECT now.event, now.state, now.class, event.who FROM now LEFT JOIN event ON event.id = now.event "
        "WHERE now.image = ?",
        (image,),
    ).fetchone()
    return Now(row[0], State(row[1]), row[2], row[3]) if row else None


def _problem(classes: Classes, change: Change) -> str:
    """What cannot be in a change; "" where nothing is wrong."""
    if change.state not in ALLOWED:
        return f"{State(change.state).word} is nothing that a person can say"
    if change.state not in PERSON:
        return "" if change.class_id is None else f"{State(change.state).word} has no class"
    if change.class_id is None:
        return "a label needs a class"
    if classes.resolve(change.class_id) is None:
        row = classes.rows.get(change.class_id)
        return f"the class {name_of(row.name)} is retired" if row else f"there is no class {change.class_id}"
    return ""


def _told(connection: Connection, classes: Classes, now: Now) -> str:
    who = name_of(now.who or "somebody")
    if now.event and event_of(connection, now.event).kind == "undo":
        return f"{who} has undone a label of it"
    if now.class_id is not None and now.state in PERSON:
        return f"{who} has labeled it {name_of(classes.rows[now.class_id].name)}"
    return f"{who} has made it {now.state.word}" if now.state in LOOKED else f"{who} has changed it"


def _store(connection: Connection, classes: Classes, change: Change, author: Author, now: Now, run: str | None) -> int:
    left = queues.leave_all(connection, change.image)
    details = dict(change.details or {}) | ({"queues": left} if left else {})
    label = classes.resolve(change.class_id)
    event = append(
        connection, author, "label", image=change.image, class_id=label, state=int(change.state), previous=now.event,
        run=run, key=change.key, details=details,
    )  # fmt: skip
    put_now(connection, classes, change.image, change.state, label, event)
    if change.state in LOOKED:
        audits.looked(connection, change.image, event)
    return event
