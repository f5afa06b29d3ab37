"""`Store`: the labels of a project, and all that was ever said of its images. One connection, for one thread."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from semisonic.daily.store import (
    audits,
    checks,
    class_events,
    current,
    days,
    events,
    images,
    labels,
    queues,
    revisions,
    scoring,
    undoing,
)
from semisonic.daily.store.classes import Classes, fold, head_rows, history, need, new_names, read_classes
from semisonic.daily.store.current import Rebuilt
from semisonic.daily.store.database import Connection, DatabaseProblem, connect, transaction
from semisonic.daily.store.events import Author, Event
from semisonic.daily.store.rows import (
    Added,
    AuditRow,
    AuditRows,
    Change,
    ClassRow,
    Current,
    NewImage,
    Now,
    Revision,
    ScoreBatch,
    Scores,
    SecondLook,
    State,
)
from semisonic.schema import UserError


class Store:
    """Made by `Store.create` or `Store.open`. What a method cannot do is a `UserError`, and then nothing is stored."""

    def __init__(self, connection: Connection):
        self.connection = connection
        """For reading; what is written goes through the methods."""
        self.path = connection.path
        self.on_classes: Callable[[], object] | None = None
        """Called after classes were changed, but inside of no transaction: whoever has begun one calls it then."""

    @classmethod
    def create(cls, path: Path, classes: Sequence[str], who: str) -> "Store":
        """A new store on its first day. One that was left half made is made whole."""
        new_names(Classes(), classes)
        author = Author(who)
        connection = connect(path, create=True)
        try:
            with transaction(connection):
                if days.current_day(connection):
                    raise UserError(f"{path}: there is a store already")
                days.open_day(connection)
                class_events.add(connection, classes, author)
        except BaseException:
            connection.close()
            raise
        return cls(connection)

    @classmethod
    def open(cls, path: Path) -> "Store":
        connection = connect(path)
        try:
            if not days.current_day(connection):
                raise DatabaseProblem(f"{path}: it was never finished; make it with `init`")
        except BaseException:
            connection.close()
            raise
        return cls(connection)

    def close(self) -> None:
        self.connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def transaction(self) -> AbstractContextManager[None]:
        """All or nothing of what methods change inside."""
        return transaction(self.connection)

    # Days.

    @property
    def day(self) -> int:
        """The current one."""
        return days.current_day(self.connection)

    def open_day(self) -> int:
        """Begins the next day; returns its number."""
        return days.open_day(self.connection)

    def day_is_trained(self) -> bool:
        """Whether a training of the current day has begun, so that new images are those of the next."""
        return days.is_trained(self.connection)

    def day_of_images(self) -> dict[int, int]:
        """Day -> how many images came on it."""
        return days.images_of_days(self.connection)

    # Classes.

    def classes(self, all: bool = False) -> list[ClassRow]:
        """The active ones in the order of a run's; all: those that were merged or retired, too."""
        found = read_classes(self.connection)
        return found.every() if all else found.active()

    def class_named(self, name: str) -> ClassRow:
        """The active one of this name. Raises `UserError`."""
        return need(read_classes(self.connection), name)

    def resolve(self, class_id: int | None) -> int | None:
        """The active class that labels of a class count for; None: none."""
        return read_classes(self.connection).resolve(class_id)

    def merged_ids(self, class_id: int) -> list[int]:
        """All classes whose labels count for a class, itself among them: by these `score` has it."""
        return read_classes(self.connection).merged(class_id)

    def label_names(self) -> dict[str, int]:
        """What a label of a name counts for: an active class, or the one that its class was merged into."""
        return read_classes(self.connection).by_name()

    def add_class(self, name: str, who: str, source: str = "command") -> ClassRow:
        return self.add_classes([name], who, source)[0]

    def add_classes(self, names: Sequence[str], who: str, source: str = "command") -> list[ClassRow]:
        class_events.add(self.connection, names, Author(who, source))
        self._told()
        return self.classes()[-len(names) :] if names else []

    def rename_class(self, old: str, new: str, who: str) -> int:
        return self._changed(class_events.rename(self.connection, old, new, Author(who)))

    def merge_classes(self, source: str, into: str, who: str) -> int:
        return self._changed(class_events.merge(self.connection, source, into, Author(who)))

    def split_class(self, name: str, new_names: Sequence[str], who: str) -> int:
        return self._changed(class_events.split(self.connection, name, new_names, Author(who)))

    def retire_class(self, name: str, who: str) -> int:
        return self._changed(class_events.retire(self.connection, name, Author(who)))

    def head_rows(self, run_classes: Sequence[tuple[int, str]]) -> list[list[int]]:
        """For each active class the rows of a run's head that its own is the mean of; see `classes.head_rows`."""
        return head_rows(run_classes, fold(history(self.connection)))

    def _changed(self, event: int) -> int:
        self._told()
        return event

    def _told(self) -> None:
        if self.on_classes is not None and not self.connection.in_transaction:
            self.on_classes()

    # Images.

    def add_images(self, new: Iterable[NewImage], who: str) -> Added:
        """Adds images to the current day, or the next one, all or none; see `images.add_images`."""
        return images.add_images(self.connection, new, Author(who, "add"))

    def path_of(self, image: int) -> Path:
        return images.path_of(self.connection, image)

    def paths(self, image_ids: np.ndarray) -> list[str]:
        """The newest path of each image; "" where it lies nowhere any more."""
        return images.paths(self.connection, image_ids)

    def image_with(self, hash: bytes) -> int | None:
        return images.image_with(self.connection, hash)

    def image_at(self, path: str) -> int | None:
        """The image that was last seen at an absolute path."""
        return images.image_at(self.connection, path)

    # Labels.

    def record(self, changes: Sequence[Change], who: str, source: str, run: str | None = None) -> list[int]:
        """The events of changes, all or none; see `labels.record`."""
        return labels.record(self.connection, changes, Author(who, source), run)

    def now_of(self, image: int) -> Now | None:
        """What stands for an image."""
        return labels.now_of(self.connection, image)

    def undo(self, events: Sequence[int], who: str, keys: Sequence[str] | None = None) -> list[int]:
        """Undoes events of labels, classes, acceptances or undoings; returns the events that do so."""
        found = undoing.undo(self.connection, events, Author(who), keys)
        self._told()
        return found

    def undo_last(self, who: str, count: int = 1, since: int | None = None, key: str | None = None) -> list[int]:
        """Undoes the newest labels of a person, after event `since`; as many as there are, at most `count`."""
        return undoing.undo_last(self.connection, Author(who), count, since, key)

    def event(self, number: int) -> Event:
        """Raises `UserError` where there is none."""
        return events.event_of(self.connection, number)

    @property
    def last_event(self) -> int:
        """Number of the newest event; 0: there is none."""
        return events.last_event(self.connection)

    # Runs.

    def take_over(self, run: str, scores: Iterable[ScoreBatch], who: str) -> int:
        """Makes a run's labels those of all images that no person has decided; returns the event."""
        return scoring.take_over(self.connection, run, scores, Author(who))

    def accept(self, images: np.ndarray, run: str, who: str, details: Mapping[str, Any]) -> int:
        """Accepts the current labels of images; details: threshold and figures of the audit that backs them."""
        return scoring.accept(self.connection, images, run, Author(who), details)

    @property
    def run(self) -> str | None:
        """The one whose labels are current."""
        return scoring.newest_run(self.connection)

    # Queues and audits.

    def put_queue(self, name: str, image_ids: Iterable[int], day: int) -> None:
        """Puts images at the end of a queue, in their order."""
        with self.transaction():
            queues.put(self.connection, name, image_ids, day)

    def queue(self, name: str) -> np.ndarray:
        """The images of a queue, in order: int64 [N]."""
        return queues.read(self.connection, name)

    def leave_queue(self, name: str, ids: Iterable[int]) -> None:
        with self.transaction():
            queues.leave(self.connection, name, ids)

    def empty_queue(self, name: str) -> None:
        with self.transaction():
            queues.empty(self.connection, name)

    def new_audit(
        self,
        run: str,
        day: int,
        method: str,
        seed: int,
        population: int,
        details: Mapping[str, Any],
        rows: Iterable[tuple[int, int, int, float]],
    ) -> int:
        """Keeps an audit that was drawn; rows: image, stratum, class and certainty of each. Returns its number."""
        return audits.new_audit(self.connection, run, day, method, seed, population, details, rows)

    def audits(self, run: str | None = None) -> list[AuditRow]:
        return audits.audits(self.connection, run)

    def audit_rows(self, id: int) -> AuditRows:
        return audits.audit_rows(self.connection, id)

    def second_look(
        self,
        image: int,
        first: int,
        who: str,
        state: State,
        class_id: int | None,
        key: str | None = None,
        source: str = "command",
    ) -> int:
        """Keeps a repeated answer on an image, which changes nothing that stands; returns its number."""
        return audits.second_look(self.connection, image, first, Author(who, source), state, class_id, key)

    def second_looks(self) -> list[SecondLook]:
        return audits.second_looks(self.connection)

    # All of it.

    def current(self) -> Current:
        """All images as they are now."""
        return current.read_current(self.connection)

    def scores(self) -> Scores:
        """Those of the newest run."""
        return current.read_scores(self.connection)

    def freeze(self, run: str, classes: Sequence[str] | None = None) -> Revision:
        """Writes the training set of a run; see `revisions.freeze`."""
        return revisions.freeze(self.connection, self.path.parent, run, classes)

    def training_digest(self) -> str:
        """The digest of the revision that `freeze` would write now: of its images and labels."""
        return revisions.training_digest(self.connection)

    def revisions(self) -> list[Revision]:
        return revisions.revisions(self.connection, self.path.parent)

    def rebuild(self) -> Rebuilt:
        """What the derived tables must hold, made of the events and scores."""
        return current.rebuild(self.connection)

    def check(self, files: bool = True, hashes: bool = False) -> list[str]:
        """What is wrong with the store, a line each."""
        return checks.check(self.connection, self.path.parent, files, hashes)

    def backup(self, path: Path) -> None:
        """Copies the store into a new file while others may go on writing."""
        checks.backup(self.connection, path)
