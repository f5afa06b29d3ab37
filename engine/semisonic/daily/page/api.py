"""What the page asks the server for, and what it answers: one method for each address under /api."""

import math
import re
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from http import HTTPStatus
from typing import Any

from semisonic.daily.page import repeats
from semisonic.daily.page.ahead import Ahead
from semisonic.daily.page.answers import Answers, undo
from semisonic.daily.page.items import KEY_BYTES, Item, Seal
from semisonic.daily.page.keys import keys_of
from semisonic.daily.page.pictures import source_of
from semisonic.daily.page.queues import FREE, QUEUES, Ask, Cursor, Row, find, is_blind, read
from semisonic.daily.page.requests import (
    AcceptRequest,
    ClassRequest,
    ImagesQuery,
    LabelRequest,
    NeighborsQuery,
    Refused,
    StateQuery,
    UndoRequest,
    wrong,
)
from semisonic.daily.page.requests import read as read_request
from semisonic.daily.page.sweep import Sweep
from semisonic.daily.page.tally import Look, Tally
from semisonic.daily.page.thumbnails import Picture, Thumbnails
from semisonic.daily.project import Project
from semisonic.daily.store import ClassRow, State, Store
from semisonic.daily.store.classes import Classes, read_classes
from semisonic.daily.store.queues import AUDIT, FARTHEST, GIVEN, SECOND_LOOK, SUSPICIOUS, title_of
from semisonic.text import name_of
from semisonic.version import __version__

HINTS = {
    FARTHEST: "Images unlike all of the days before: a new class shows here first. Label them before the training.",
    AUDIT: "Drawn at random: these alone tell how many of the day's labels are right. The guess is hidden, since one "
    "that is seen is easily confirmed.",
    SUSPICIOUS: "The network's labels that it is least sure of. Confirm or correct them.",
    GIVEN: "Labels of people that the training could not make sense of. Look at them again.",
    SECOND_LOOK: "Images that were answered in two ways, or whose class has changed.",
    FREE: "All of every day but what waits in the audit: by class, by pair of classes, or by name.",
}
"""Of every queue, in the order of a person's day."""
_FIRST_DAY = "Typical images, each unlike the others: labels for the first training."
_SEAL = "page.seal"
_CURSOR = re.compile(r"(-?[0-9.e+-]{1,30}|-inf),(\d{1,18})")
HANDED = 900.0
"""Seconds in which a hidden repeat is on one page alone."""
Call = Callable[[Store, Mapping[str, Any]], dict[str, Any]]


class Api:
    """One project's; for any number of threads, each with its own connection to the store."""

    def __init__(self, project: Project, who: str = "") -> None:
        """who: is reviewing unless the browser names somebody else."""
        self.project = project
        self.who = who
        self.tally = Tally()
        self.sweep = Sweep(project.features)
        self.thumbnails = Thumbnails(project.thumbs)
        self.ahead = Ahead(project, self.thumbnails, self.sweep)
        with project.store() as store:
            self.seal = _seal(store)
            self.ahead.start(store)
        self._handed: dict[tuple[str, int], float] = {}
        """Reviewer and first look of a hidden repeat -> when it was handed out."""
        self._calls: dict[tuple[str, str], Call] = {
            ("GET", "state"): self.state,
            ("GET", "images"): self.images,
            ("GET", "neighbors"): self.neighbors,
            ("POST", "label"): self.label,
            ("POST", "accept"): self.accept,
            ("POST", "undo"): self.undo,
            ("POST", "classes"): self.classes,
        }

    def close(self) -> None:
        self.ahead.close()

    def call(self, method: str, name: str) -> Call:
        """Raises `Refused` where there is none."""
        if found := self._calls.get((method, name)):
            return found
        if any(name == known for _, known in self._calls):
            raise Refused(HTTPStatus.METHOD_NOT_ALLOWED, f"/api/{name} takes no {method}")
        raise Refused(HTTPStatus.NOT_FOUND, "there is nothing at this address")

    # Reading.

    def state(self, store: Store, given: Mapping[str, Any]) -> dict[str, Any]:
        who = read_request(StateQuery, {"who": self.who, **given}).who.strip()
        self.tally.follow(store.connection)
        day = store.day
        classes = store.classes()
        return {
            "project": self.project.settings.name,
            "day": day,
            "run": store.run,
            "who": who,
            "classes": _classes(classes),
            "queues": [self._queue(store, name, day, who) for name in HINTS],
            "progress": self._progress(store, who),
            "sweep": self.sweep.possible,
            "version": __version__,
        }

    def _queue(self, store: Store, name: str, day: int, who: str) -> dict[str, Any]:
        title = "All images" if name == FREE else title_of(name, day).capitalize()
        hint = _FIRST_DAY if name == FARTHEST and day <= 1 else HINTS[name]
        return {
            "name": name, "title": title, "hint": hint, "left": self._left(store, name, who),
            "done": self.tally.done(name), "blind": is_blind(name, day),
        }  # fmt: skip

    def _left(self, store: Store, name: str, who: str) -> int:
        """How many images a queue still has for a reviewer; of all images, those that nobody has decided."""
        audited = len(store.queue(AUDIT))
        if name == FREE:
            return max(0, self.ahead.undecided(store) - audited)
        if name == AUDIT:
            return audited + len(self._pending(store, who))
        whole = store.connection.execute("SELECT count(*) FROM queue WHERE name = ?", (name,)).fetchone()[0]
        (hidden,) = store.connection.execute(
            "SELECT count(*) FROM queue a CROSS JOIN queue b ON b.image = a.image WHERE a.name = ? AND b.name = ?",
            (AUDIT, name),
        ).fetchone()  # those wait in the audit, and are shown there alone
        return whole - hidden

    def _pending(self, store: Store, who: str) -> list[Look]:
        """Hidden repeats, once an audit waits or was begun: alone they would be no audit, and not hidden."""
        if not len(store.queue(AUDIT)) and not self.tally.done(AUDIT):
            return []
        return repeats.pending(store, self.seal, who, self.tally.looks())

    def _progress(self, store: Store, who: str) -> dict[str, Any]:
        """per_minute and minutes_left (of all queues) are null where too few looks tell a pace."""
        found = self.tally.progress(who)
        left = store.connection.execute("SELECT count(*) FROM queue").fetchone()[0]
        pace = found.per_minute
        return {
            "looks_today": found.looks,
            "per_minute": None if pace is None else round(pace, 1),
            "minutes_left": None if pace is None else math.ceil(left / pace),
        }

    def images(self, store: Store, given: Mapping[str, Any]) -> dict[str, Any]:
        asked = read_request(ImagesQuery, {name: value for name, value in given.items() if value != ""})
        ask = _ask(asked)
        blind = is_blind(ask.queue, store.day)
        if blind and ask.by_guess:
            raise wrong(f"the queue {ask.queue} is shown in its order alone, without what the network says")
        classes = read_classes(store.connection)
        hidden = self._repeats(store, classes, asked.who.strip(), ask) if blind else []
        found = find(store.connection, classes, replace(ask, size=ask.size - len(hidden)))
        images = self._mixed([self._image(row, blind) for row in found.rows], hidden)
        left = self._left(store, ask.queue, asked.who.strip())
        return {"images": images, "next": _cursor_text(found.next), "left": left}

    def _image(self, row: Row, blind: bool, first: int | None = None) -> dict[str, Any]:
        """first: of a hidden repeat, the event of the first look."""
        told: dict[str, Any] = {
            "id": row.image, "image": row.image, "name": _name(row.path), "day": row.day, "width": row.width,
            "height": row.height,
        }  # fmt: skip
        shown: dict[str, Any]
        if blind:
            item = Item(row.image, row.event, None, False, first)
            shown = dict.fromkeys(("event", "class", "guess", "runner_up", "suspicion", "distance"))
            shown["state"] = State.UNLABELED.word
        else:
            item = Item(row.image, row.event, row.class_id, row.class_id is not None or row.guess is not None)
            shown = {
                "event": row.event, "state": row.state.word, "class": row.class_id, "guess": row.guess,
                "runner_up": row.runner_up, "suspicion": row.suspicion, "distance": row.distance,
            }  # fmt: skip
        return told | shown | {"item": self.seal.close(item)}

    def _repeats(self, store: Store, classes: Classes, who: str, ask: Ask) -> list[dict[str, Any]]:
        """Hidden repeats for a page of the audit, as images of it; behind the first page, none of a page before."""
        if ask.queue != AUDIT or ask.text is not None:
            return []
        self.tally.follow(store.connection)
        now = time.monotonic()
        due = [
            look
            for look in self._pending(store, who)
            if ask.after is None or now - self._handed.get((who, look.event), -math.inf) > HANDED
        ][: ask.size // 3]
        self._handed |= {(who, look.event): now for look in due}
        rows = read(store.connection, classes, [look.image for look in due])
        return [self._image(rows[look.image], True, look.event) for look in due if look.image in rows]

    def _mixed(self, images: list[dict[str, Any]], hidden: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Repeats among the others, each at a place of its own that stays when the page is loaded again."""
        for one in hidden:
            images.insert(int(self.seal.draw(f"place {one['id']}") * (len(images) + 1)), one)
        return images

    def neighbors(self, store: Store, given: Mapping[str, Any]) -> dict[str, Any]:
        asked = read_request(NeighborsQuery, given)
        images, exact = self.sweep.neighbors(store, asked.image, asked.count)
        rows = read(store.connection, read_classes(store.connection), images.tolist())
        return {
            "images": [self._image(rows[image], False) for image in images.tolist() if image in rows],
            "exact": exact,
        }

    # Answers.

    def label(self, store: Store, given: Mapping[str, Any]) -> dict[str, Any]:
        asked = read_request(LabelRequest, given)
        _check_queue(asked.queue)
        answers = Answers(store, self.seal, store.run)
        answers.label(asked)
        return self._told(store, asked.who, answers)

    def accept(self, store: Store, given: Mapping[str, Any]) -> dict[str, Any]:
        asked = read_request(AcceptRequest, given)
        _check_queue(asked.queue)
        answers = Answers(store, self.seal, store.run)
        answers.accept(asked)
        return self._told(store, asked.who, answers)

    def _told(self, store: Store, who: str, answers: Answers) -> dict[str, Any]:
        self.tally.follow(store.connection)
        return answers.told | {"progress": self._progress(store, who.strip())}

    def undo(self, store: Store, given: Mapping[str, Any]) -> dict[str, Any]:
        asked = read_request(UndoRequest, given)
        undone = undo(store, asked)
        self.tally.follow(store.connection)
        return {"undone": undone, "progress": self._progress(store, asked.who.strip())}

    def classes(self, store: Store, given: Mapping[str, Any]) -> dict[str, Any]:
        """Adds a class; one that is there is told, so that the same may be asked for twice."""
        asked = read_request(ClassRequest, given)
        name = asked.name.strip()
        with store.transaction():  # of two reviewers who add one at once, the second finds it there
            if not any(row.name == name for row in store.classes()):
                store.add_class(name, asked.who.strip())
        self.project.mirror()
        return next(row for row in _classes(store.classes()) if row["name"] == name)

    # Pictures.

    def picture(self, store: Store, image: int, whole: bool) -> Picture:
        """Raises `Refused` where there is no such image, and `NoPicture`."""
        if (source := source_of(store.connection, image)) is None:
            raise Refused(HTTPStatus.NOT_FOUND, f"there is no image {image}")
        return self.thumbnails.whole(source) if whole else self.thumbnails.thumbnail(source)


def _ask(asked: ImagesQuery) -> Ask:
    """Raises `Refused`."""
    _check_queue(asked.queue, QUEUES)
    if asked.low is not None and asked.high is not None and asked.low > asked.high:
        raise wrong("low: must not be above high")
    if asked.class_id is not None and asked.pair is not None:
        raise wrong("pair: its first class is the label; leave class out")
    label, _, other = (asked.pair or "").partition(",")
    pair = (int(label), int(other)) if asked.pair else None
    return Ask(
        asked.queue, asked.size, _cursor(asked.after), asked.class_id, pair, asked.low, asked.high, asked.day,
        asked.text, asked.sort,
    )  # fmt: skip


def _check_queue(name: str, known: tuple[str, ...] = (*QUEUES, "sweep")) -> None:
    if name not in known:
        raise wrong(f"queue: there is none called {name}; one of {', '.join(known)}")


def _cursor(text: str | None) -> Cursor | None:
    if text is None:
        return None
    found = _CURSOR.fullmatch(text)
    try:
        position = float(found[1]) if found else math.nan
    except ValueError:
        position = math.nan
    if found is None or math.isnan(position):
        raise wrong("after: no place in a queue")
    return position, int(found[2])


def _cursor_text(cursor: Cursor | None) -> str | None:
    return None if cursor is None else f"{float(cursor[0])!r},{cursor[1]}"


def _classes(rows: Sequence[ClassRow]) -> list[dict[str, Any]]:
    keys = keys_of([row.name for row in rows])
    return [{"id": row.id, "name": row.name, "key": key} for row, key in zip(rows, keys, strict=True)]


def _name(path: str) -> str:
    """Of the file, in letters that a browser shows."""
    return name_of(path.rpartition("/")[2])


def _seal(store: Store) -> Seal:
    """That of the project, made once: items and draws stay what they are when the page is started again."""
    connection = store.connection
    with store.transaction():
        connection.execute(
            "INSERT OR IGNORE INTO meta (key, value) VALUES (?, ?)", (_SEAL, secrets.token_hex(KEY_BYTES))
        )
        (text,) = connection.execute("SELECT value FROM meta WHERE key = ?", (_SEAL,)).fetchone()
    return Seal(bytes.fromhex(text))
