"""The days of a project, which images came on each, and the frozen training sets of each."""

from semisonic.daily.store.database import Connection, transaction
from semisonic.daily.store.events import moment


def current_day(connection: Connection) -> int:
    return int(connection.execute("SELECT coalesce(max(number), 0) FROM day").fetchone()[0])


def open_day(connection: Connection) -> int:
    """Begins the next day, after the newest event that there is; returns its number."""
    with transaction(connection):
        number = current_day(connection) + 1
        connection.execute(
            "INSERT INTO day (number, began, last_event) SELECT ?, ?, coalesce(max(id), 0) FROM event",
            (number, moment()),
        )
    return number


def is_trained(connection: Connection) -> bool:
    """Whether a training of the current day has begun: then new images are those of the next."""
    row = connection.execute("SELECT EXISTS (SELECT 1 FROM revision WHERE day = ?)", (current_day(connection),))
    return bool(row.fetchone()[0])


def images_of_days(connection: Connection) -> dict[int, int]:
    """How many images came on each day."""
    rows = connection.execute(
        "SELECT number, (SELECT count(*) FROM image WHERE image.day = day.number) FROM day ORDER BY number"
    )
    return dict(rows.fetchall())
