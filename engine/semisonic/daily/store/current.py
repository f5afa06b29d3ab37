"""What stands for each image: the newest word of a person, or else the label of the newest run.

The table `now` has it ready. `rebuild` makes the same of the events and scores alone, for `check`.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from semisonic.daily.store.classes import Classes, fold, history, read_classes
from semisonic.daily.store.database import Connection, read_floats, read_table, snapshot
from semisonic.daily.store.events import Event, undone
from semisonic.daily.store.packing import unpack_ids
from semisonic.daily.store.rows import NONE, PERSON, Current, Scores, State

OWN = (State.REJECTED, State.UNSURE)
"""States of a person that need no class."""


def put_now(
    connection: Connection, classes: Classes, image: int, state: int, class_id: int | None, event: int | None
) -> None:
    """Makes what a person has said stand; where that is no label, the one of the newest run does."""
    target = classes.resolve(class_id)
    if state in PERSON and target is not None:
        found: tuple[int, int | None] = (int(state), target)
    elif state in OWN:
        found = (int(state), None)
    else:
        found = _auto(connection, classes, image)
    connection.execute("UPDATE now SET state = ?, class = ?, event = ? WHERE image = ?", (*found, event, image))


def _auto(connection: Connection, classes: Classes, image: int) -> tuple[int, int | None]:
    row = connection.execute(
        "SELECT score.class, accepted.event FROM score LEFT JOIN accepted USING (image) WHERE image = ?", (image,)
    ).fetchone()
    target = classes.resolve(row[0]) if row else None
    if target is None:
        return int(State.UNLABELED), None
    return int(State.AUTO if row[1] is None else State.ACCEPTED), target


def put_auto(connection: Connection, classes: Classes, raw: Iterable[int] | None = None) -> None:
    """Makes the newest run's labels stand wherever no person has said more. raw: those of these classes alone."""
    chosen = "" if raw is None else f"AND image IN (SELECT image FROM score WHERE class IN ({_listed(raw)}))"
    connection.execute(f"UPDATE now SET state = 0, class = NULL WHERE state IN (0, 1, 2) {chosen}")
    connection.execute("CREATE TEMP TABLE IF NOT EXISTS resolution (id INTEGER PRIMARY KEY, target INTEGER)")
    connection.execute("DELETE FROM resolution")
    targets = ((number, classes.resolve(number)) for number in classes.rows)
    connection.executemany(
        "INSERT INTO resolution VALUES (?, ?)", [(number, target) for number, target in targets if target is not None]
    )
    only = "" if raw is None else f"AND score.class IN ({_listed(raw)})"
    connection.execute(
        "UPDATE now SET state = 1, class = resolution.target FROM score JOIN resolution ON resolution.id = score.class "
        f"WHERE score.image = now.image AND now.state = 0 {only}"
    )
    connection.execute("UPDATE now SET state = 2 WHERE state = 1 AND image IN (SELECT image FROM accepted)")


def _listed(numbers: Iterable[int]) -> str:
    return ", ".join(str(int(number)) for number in numbers)


def read_current(connection: Connection) -> Current:
    """All images as they are now, by number."""
    rows = read_table(
        connection,
        "SELECT image.id, image.day, now.state, coalesce(now.class, -1), coalesce(now.event, 0) "
        "FROM image JOIN now ON now.image = image.id ORDER BY image.id",
        5,
    )
    return Current(*np.ascontiguousarray(rows.T))


def read_scores(connection: Connection) -> Scores:
    """The scores of the newest run."""
    with snapshot(connection):
        run = connection.execute("SELECT run FROM score LIMIT 1").fetchone()
        numbers = read_table(connection, "SELECT image, class, coalesce(runner_up, -1) FROM score ORDER BY image", 3)
        floats = read_floats(
            connection, "SELECT confidence, certainty, suspicion, distance FROM score ORDER BY image", 4
        )
        targets = read_classes(connection).resolution()
    image, label, runner_up = np.ascontiguousarray(numbers.T)
    return Scores(run[0] if run else None, image, targets[label], targets[runner_up], *np.ascontiguousarray(floats.T))


@dataclass(frozen=True, eq=False)
class Rebuilt:
    """What the derived tables must hold."""

    classes: Classes
    now: Current
    accepted: dict[int, int]
    """Image -> the event that accepted its label."""


def rebuild(connection: Connection) -> Rebuilt:
    """Made of the images, events and scores alone. Raises `Unfounded` where the events of classes cannot be."""
    with snapshot(connection):
        batches = history(connection)
        classes = fold(batches)
        accepted = accepted_by(batches)
        images = read_table(connection, "SELECT id, day FROM image ORDER BY id", 2)
        said = read_table(
            connection,
            "SELECT image, id, coalesce(state, 0), coalesce(class, -1) FROM event WHERE image IS NOT NULL ORDER BY id",
            4,
        )
        scores = read_table(connection, "SELECT image, class FROM score", 2)
    image, day = np.ascontiguousarray(images.T)
    targets = classes.resolution()
    newest = np.full((len(image), 3), (0, int(State.UNLABELED), NONE), np.int64)
    newest[np.searchsorted(image, said[:, 0])] = said[:, 1:]  # of several, the last one stays
    event, state, label = newest.T
    auto = np.full(len(image), NONE, np.int64)
    auto[np.searchsorted(image, scores[:, 0])] = targets[scores[:, 1]]
    taken = np.isin(image, np.fromiter(accepted, np.int64, len(accepted)))
    label = targets[label]
    by_person = np.isin(state, sorted(PERSON)) & (label != NONE)
    own = np.isin(state, OWN)
    by_run = ~by_person & ~own & (auto != NONE)
    state = np.select([by_person | own, by_run & taken, by_run], [state, State.ACCEPTED, State.AUTO], State.UNLABELED)
    label = np.select([by_person, by_run], [label, auto], NONE)
    return Rebuilt(classes, Current(image, day, state, label, event.copy()), accepted)


def accepted_by(batches: list[Event]) -> dict[int, int]:
    """The images whose labels of the newest run are accepted, and by which event."""
    out, found = undone(batches), dict[int, int]()
    for event in batches:
        if event.kind == "auto":
            found = {}
        elif event.kind == "accept" and event.id not in out:
            found |= dict.fromkeys(unpack_ids(event.details["images"]).tolist(), event.id)
    return found
