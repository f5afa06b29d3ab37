"""Which files and folders of data a user has named on this machine: no configuration that came with a run from somebody
else has them read.

A command that trains keeps a note of every place that it was given, in the user's own folder of state, where nothing
that is downloaded comes to lie. What `evaluate` and `predict` find in a run's configuration alone is used where there
is such a note of it, or where an option such as --root names it, or a folder around it. So one's own runs need no
option, and of somebody else's run is read what its user says. Without a folder for notes, an option is always needed.
"""

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

from semisonic.data.sets.base import DataConfig
from semisonic.text import printable

PLACES = ("root", "csv", "test_root", "split")
"""Fields of `data` that name what is read."""


def _notes() -> Path | None:
    """The folder of the notes; None where the user has none."""
    try:
        home = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    except RuntimeError:  # as in a container whose user has no name
        return None
    return Path(home) / "semisonic" / "named"


def _places(cfg: DataConfig) -> dict[str, Path]:
    """The places of a configuration by their fields, wherever links lead."""
    named = {field: path for field in PLACES if (path := getattr(cfg, field)) is not None}
    return {field: Path(os.path.realpath(path)) for field, path in named.items()}


def _note(folder: Path, field: str, place: Path) -> Path:
    return folder / hashlib.sha256(f"{field}\0".encode() + os.fsencode(place)).hexdigest()[:32]


def remember(cfg: DataConfig) -> None:
    """Keeps a note of the places of a configuration that the user gave. Where none can be kept, there is none."""
    if (folder := _notes()) is None:
        return
    for field, place in _places(cfg).items():
        try:
            folder.mkdir(parents=True, exist_ok=True)
            _note(folder, field, place).touch()
        except OSError:  # a home that cannot be written is normal on clusters; evaluate then asks for an option
            return


def strange_places(cfg: DataConfig, given: Iterable[Path] = ()) -> list[str]:
    """A line for each place of a run's configuration that the user has never named; `given`: what is named now, in
    which everything is read."""
    folder = _notes()
    now = [Path(os.path.realpath(path)) for path in given]
    problems = []
    for field, place in _places(cfg).items():
        noted = folder is not None and os.path.isfile(_note(folder, field, place))  # False where nothing may be read
        if noted or any(place.is_relative_to(path) for path in now):
            continue
        option, shown = f"--{field.replace('_', '-')}", printable(place)
        problems.append(
            f"data.{field}: the run's configuration names {shown}, which no training of yours on this machine has read;"
            f" give {option} {shown} to read it"
        )
    return problems
