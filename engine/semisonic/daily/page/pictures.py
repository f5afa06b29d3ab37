"""Where the store says that an image lies."""

from pathlib import Path
from typing import Any

from semisonic.daily.page.thumbnails import Place, Source
from semisonic.daily.store.images import real_path


def source_of(connection: Any, image: int) -> Source | None:
    """None where there is no such image."""
    row = connection.execute("SELECT hash FROM image WHERE id = ?", (image,)).fetchone()
    if row is None:
        return None
    places = connection.execute(
        "SELECT path, bytes, mtime_ns FROM path WHERE image = ? ORDER BY id DESC", (image,)
    ).fetchall()
    return Source(row[0], [Place(Path(real_path(path)), size, time) for path, size, time in places])
