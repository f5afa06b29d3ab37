"""Small labeling projects with labels of every state, and what a project's labels are."""

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from semisonic.daily.project import Project
from semisonic.daily.store import ANY, Change, ScoreBatch, State, Store
from tests.support.daily import seen

CLASSES = ("cat", 'a,b "c"', "=1+1", "two\nlines", "a/b", "..", "<script>", "日本 😀", "'quoted", "\\x0a", "con")
"""Whose names are hard on tables, folders and pages."""
FILES = (b"plain.png", b"two\nlines.png", b"comma, quote \" '.png", b"caf\xe9.png", "😀.png".encode(), b"=1+1.png", b"\\x0a.png",
         b"<img src=x>.png", b".png.png", b"sp ace .png")  # fmt: skip
RUN = "day-001"


def begin(folder: Path, images: list[str], classes: tuple[str, ...] = CLASSES) -> Project:
    """A project with images that nobody has looked at, in their order."""
    project = Project.create(folder, classes, 8, {}, "ann")
    with project.store() as store:
        store.add_images([seen(Path(image)) for image in images], "ann")
    return project


def odd_images(folder: Path, count: int = 24) -> list[str]:
    """Files under odd names, in several folders where names come again; each of its own content."""
    made = []
    for number in range(count):
        path = folder / str(number // len(FILES)) / os.fsdecode(FILES[number % len(FILES)])
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"image {number}")
        made.append(str(path))
    return made


def every_state(project: Project) -> None:
    """Labels of all states: two thirds of the network's, some of people's."""
    with project.store() as store:
        images, classes = store.current().image, [row.id for row in store.classes()]
        label = np.array([classes[number % len(classes)] for number in range(len(images))])
        score = np.linspace(0.5, 1, len(images)).astype(np.float32)
        batch = ScoreBatch(
            images, label, np.full(len(images), -1), score, score, 1 - score, np.full(len(images), np.nan)
        )
        store.take_over(RUN, [batch], "ann")
        store.accept(images[-6:-3], RUN, "ann", {"at_least": 0.9})
        given = [
            Change(int(image), State.GIVEN, classes[place], ANY) for place, image in enumerate(images[: len(classes)])
        ]
        store.record(given, "ann", "page:farthest")
        rest = images[len(classes) :].tolist()
        store.record([Change(rest[0], State.REVIEWED, classes[2], ANY)], "bob", "page:suspicious", RUN)
        store.record(
            [Change(rest[1], State.REJECTED, None, ANY), Change(rest[2], State.UNSURE, None, ANY)], "bob", "command"
        )


def labels_of(store: Store) -> Mapping[bytes, tuple[str, str]]:
    """State and class of every image, by its content."""
    current = store.current()
    names = {row.id: row.name for row in store.classes(all=True)} | {-1: ""}
    hashes = dict(store.connection.execute("SELECT id, hash FROM image").fetchall())
    columns = zip(current.image.tolist(), current.state.tolist(), current.class_id.tolist(), strict=True)
    return {hashes[image]: (State(state).word, names[label]) for image, state, label in columns}
