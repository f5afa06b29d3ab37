"""A project: the folder of a labeling loop, its settings, and the lock of its heavy steps.

    project.yaml    settings, of which `classes` mirrors the store's
    labels.db       the store: what was said of each image
    revisions/      frozen training sets
    runs/           trainings, a folder each
    auto/           labels and scores of each run
    features/       features of each run's network
    report/         a report for each day
    thumbs/         small pictures of the images

Images stay where they are.
"""

import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import ConfigDict, Field

from semisonic.checkpoint.atomic_files import write_text
from semisonic.checkpoint.folder_lock import FolderInUse, FolderLock
from semisonic.daily.store import DatabaseProblem, Store
from semisonic.daily.writing import written
from semisonic.records.entries import Classes, Name, Record
from semisonic.records.reading import shown
from semisonic.records.schemas import checked
from semisonic.records.yaml_text import parse_yaml, read_yaml
from semisonic.schema import UserError, given_path
from semisonic.text import name_of, printable

FORMAT = 1
FILE, STORE = "project.yaml", "labels.db"
LOOKS = {"farthest": 10, "suspicious": 15, "given": 10}
"""Images that are put into each queue on a day, beside the audit's."""
AUDIT = 100
SETTLED = 0.2
"""Seconds after which a change of classes is in project.yaml, too."""

Looks = Annotated[int, Field(ge=0, le=10**6)]


class Settings(Record):
    """What a project.yaml holds."""

    model_config = ConfigDict(extra="forbid")

    format: Literal[1]
    """Number of the format."""
    name: Name
    """Of the project."""
    size: Annotated[int, Field(ge=1, le=4096)]
    """Side of the training images in pixels."""
    classes: Classes
    """A mirror of the store's: classes are changed by commands."""
    fields: dict[str, Any] = {}
    """Of every training, as in a recipe."""
    audit: Looks = AUDIT
    """Random images that a person looks at on a day, to tell the accuracy."""
    looks: dict[Literal["farthest", "suspicious", "given"], Looks] = LOOKS  # type: ignore[assignment]
    """Images for the other queues of a day."""


def _say(line: str) -> None:
    print(line, file=sys.stderr)


class Project:
    """A folder that is a project. Its settings are those of when it was opened."""

    def __init__(self, folder: Path, settings: Settings):
        self.folder = Path(os.path.abspath(folder))
        self.settings = settings

    @classmethod
    def create(
        cls,
        folder: str | Path,
        classes: Sequence[str],
        size: int,
        fields: Mapping[str, Any] | None = None,
        who: str = "unknown",
    ) -> "Project":
        """A new project in a folder, which may be there. One that was left half made is made whole.

        Raises `UserError` where there is one, or where its settings cannot be.
        """
        folder = given_path("project", folder)
        if (folder / FILE).exists():
            raise UserError(f"{folder}: there is a project already")
        content = {
            "format": FORMAT,
            "name": Path(os.path.abspath(folder)).name or "project",
            "size": size,
            "classes": [name.strip() for name in classes],
            "fields": dict(fields or {}),
            "audit": AUDIT,
            "looks": dict(LOOKS),
        }
        settings = Settings(**checked(Settings, content, "init"))
        with written(folder):
            folder.mkdir(parents=True, exist_ok=True)
        _make_store(folder / STORE, settings.classes, who)
        with written(folder / FILE):
            write_text(folder / FILE, yaml.safe_dump(content, sort_keys=False, allow_unicode=True))
        return cls(folder, settings)

    @classmethod
    def open(cls, folder: str | Path, say: Callable[[str], object] = _say) -> "Project":
        """The project in a folder. say: is told where project.yaml has other classes than the store, whose it gets.

        Raises `UserError` where there is none, or where it is of a later version.
        """
        folder = given_path("project", folder)
        path = folder / FILE
        if not path.exists():
            raise UserError(f"{folder}: there is no project ({FILE}); make one with `semisonic daily {folder} init`")
        project = cls(folder, read_settings(path))
        if list(project.settings.classes) != project._classes() and not project._catches_up():
            say(
                f"{printable(path)}: its classes are not the project's, and are written anew; change classes with "
                "`classes add`, `rename`, `merge`, `split` or `retire`"
            )
            project.mirror()
        return project

    def __repr__(self) -> str:
        return f"Project({str(self.folder)!r})"

    @property
    def runs(self) -> Path:
        """Folder of the trainings."""
        return self.folder / "runs"

    @property
    def auto(self) -> Path:
        return self.folder / "auto"

    @property
    def features(self) -> Path:
        return self.folder / "features"

    @property
    def report(self) -> Path:
        return self.folder / "report"

    @property
    def thumbs(self) -> Path:
        return self.folder / "thumbs"

    @property
    def size(self) -> int:
        """Side of the training images in pixels."""
        return self.settings.size

    @property
    def day(self) -> int:
        """The current one."""
        with self.store() as store:
            return store.day

    def run_name(self, day: int, number: int = 1) -> str:
        """Of the first training of a day, or a further one."""
        return f"day-{day:03d}" if number == 1 else f"day-{day:03d}-{number}"

    def runs_of(self, day: int) -> list[str]:
        """The trainings of a day that have a folder, in their order."""
        pattern = re.compile(rf"day-{day:03d}(?:-(\d+))?")
        found = []
        for name in os.listdir(self.runs) if self.runs.is_dir() else []:
            if match := pattern.fullmatch(name):
                found.append((int(match[1] or 1), name))
        return [name for _, name in sorted(found)]

    def store(self) -> Store:
        """A new connection to the store, for one thread."""
        store = Store.open(self.folder / STORE)
        store.on_classes = self.mirror
        return store

    def mirror(self) -> None:
        """Writes the store's classes into project.yaml, and leaves all else in it as it is."""
        path = self.folder / FILE
        if list(read_settings(path).classes) != self._classes():
            with self.store() as store, store.transaction():  # one after the other: the last one writes the newest
                names = [row.name for row in store.classes()]
                with written(path):
                    write_text(path, _with_classes(path.read_text(encoding="utf-8-sig"), names))
        self.settings = read_settings(path)

    @contextmanager
    def lock(self, step: str) -> Iterator[None]:
        """Held by a heavy step while it works: one at a time. Raises `UserError` where another one is at work."""
        try:
            with written(self.folder):
                lock = FolderLock(self.folder, _say)
        except FolderInUse as error:
            with self.store() as store:
                row = store.connection.execute("SELECT value FROM meta WHERE key = 'step'").fetchone()
            other = (
                f"another `{name_of(row[0])}`"
                if row and row[0] == step
                else f"`{name_of(row[0])}`"
                if row
                else "a step"
            )
            who = error.holder or "a process that the file .lock does not name"
            raise UserError(
                f"{step}: {other} is at work in {self.folder}: {who}; wait for its end or stop it"
            ) from error
        try:
            with self.store() as store, store.transaction():
                store.connection.execute("INSERT OR REPLACE INTO meta (key, value) VALUES ('step', ?)", (step,))
            yield
        finally:
            lock.release()

    def _catches_up(self) -> bool:
        """Whether another process is writing the classes that it has just changed."""
        time.sleep(SETTLED)
        self.settings = read_settings(self.folder / FILE)
        return list(self.settings.classes) == self._classes()

    def _classes(self) -> list[str]:
        with Store.open(self.folder / STORE) as store:
            return [row.name for row in store.classes()]


def _make_store(path: Path, classes: Sequence[str], who: str) -> None:
    """A new store, or the one that an `init` has left which was killed before the project was whole."""
    if path.exists():
        with suppress(DatabaseProblem), Store.open(path) as store:
            if [row.name for row in store.classes()] == list(classes) and not len(store.current()):
                return
    Store.create(path, classes, who).close()


def read_settings(path: Path) -> Settings:
    """What a project.yaml holds. Raises `UserError`, a line for each mistake."""
    content = read_yaml(path)
    version = content.get("format") if isinstance(content, dict) else None
    if isinstance(version, int) and version > FORMAT:
        raise UserError(
            f"{path}: its format is {shown(version)}, and this semisonic knows {FORMAT}; use a newer semisonic"
        )
    return Settings(**checked(Settings, content, str(path)))


def _with_classes(text: str, names: Sequence[str]) -> str:
    """The text of a project.yaml with other classes; its comments and all other lines stay."""
    new = yaml.safe_dump({"classes": list(names)}, sort_keys=False, allow_unicode=True)
    found = re.sub(r"(?m)^classes:.*\n(?:[ \t-].*\n|\n)*", lambda _: new, f"{text.rstrip()}\n", count=1)
    try:
        same = parse_yaml(found, FILE) == {**parse_yaml(text, FILE), "classes": list(names)}
    except UserError:
        same = False
    return found if same else yaml.safe_dump({**parse_yaml(text, FILE), "classes": list(names)}, sort_keys=False)
