"""A labeling project over three days, as its steps leave it, without a training: the network's labels are made up.

Images are numbered from 1 on. Each is of one of three classes by its number; the network takes every ninth for another.
"""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet as parquet
from PIL import Image

from semisonic.daily import auditing
from semisonic.daily.passes import arrays
from semisonic.daily.project import Project
from semisonic.daily.store import ANY, Change, ScoreBatch, State, Store
from tests.support.daily import WHO, seen

EACH = 60
"""Images of a day."""
CLASSES = ("cat", "dog", "owl")


def truth(image: int) -> int:
    """The number of an image's class."""
    return 1 + image % 3


def guess(image: int) -> int:
    """What the network says."""
    return 1 + (image + 1) % 3 if image % 9 == 0 else truth(image)


def new_project(folder: Path, classes: Sequence[str] = CLASSES) -> Project:
    return Project.create(folder / "zoo", classes, 8, {}, WHO)


def add_day(project: Project, store: Store, count: int = EACH, labeled: int = 0) -> np.ndarray:
    """New images of the current day, the first of them with labels; returns their numbers."""
    first = len(store.current()) + 1
    new = []
    for number in range(first, first + count):
        path = project.folder.parent / "camera" / f"{number:03}.png"
        path.parent.mkdir(exist_ok=True)
        content = io.BytesIO()
        Image.new("RGB", (12, 8), (number % 256, 40 * truth(number), number // 256)).save(content, "PNG")
        path.write_bytes(content.getvalue())
        label = project.settings.classes[truth(number) - 1] if number < first + labeled else None
        new.append(seen(path, label))
    store.add_images(new, WHO)
    return np.arange(first, first + count)


def look(store: Store, images: Sequence[int], queue: str, who: str = WHO, wrong: Sequence[int] = ()) -> list[int]:
    """A person says of images what they are, of some of them something else."""
    found = []
    for image in images:
        label = 1 + truth(image) % 3 if image in wrong else truth(image)
        state = State.GIVEN if queue in ("audit", "farthest") else State.REVIEWED
        found += store.record([Change(int(image), state, label, ANY)], who, f"page:{queue}")
    return found


def give(project: Project, store: Store, run: str, labels: Sequence[int] | None = None) -> None:
    """A training of the day, and its network's labels of all images."""
    store.freeze(run)
    current = store.current()
    label = np.array([guess(image) for image in current.image.tolist()] if labels is None else labels, np.int64)
    today = current.day == store.day
    certainty = np.where(label == [truth(image) for image in current.image.tolist()], 0.95, 0.7)
    distance = np.where(today & (store.day > 1), 0.05 + current.image / 1000, np.nan).astype(np.float64)
    store.take_over(
        run, [ScoreBatch(current.image, label, 1 + label % 3, certainty, certainty, 1 - certainty, distance)], WHO
    )
    folder = project.folder / "auto" / run
    folder.mkdir(parents=True)
    parquet.write_table(
        pyarrow.table({"image": current.image, "top1": label.astype(np.int32)}), folder / "part-00000-00000.parquet"
    )
    people = current.image[np.isin(current.state, (State.GIVEN, State.REVIEWED))][::-1]
    given = {
        "image": people, "class": np.array([truth(image) for image in people.tolist()], np.int32),
        "aum": np.linspace(-1, 1, len(people)), "folds": np.full(len(people), np.nan, np.float32),
        "rank": np.arange(1, len(people) + 1),
    }  # fmt: skip
    parquet.write_table(pyarrow.table(given), folder / "given.parquet")
    rows = np.eye(8, dtype=np.float16)[current.image % 8]
    arrays.write(project.folder / "features", run, "made up", [(current.image, rows)], current.image, 8)


def three_days(folder: Path, looks: int = 30) -> Project:
    """On day 3, `looks` images of the audit are looked at, and 5 suspicious ones of which 3 are wrong."""
    project = new_project(folder)
    with project.store() as store:
        add_day(project, store, labeled=6)
        look(store, range(7, 19), "farthest")
        give(project, store, "day-001")
        auditing.draw(project, store, "day-001", 20)
        look(store, store.queue("audit").tolist(), "audit")
        store.open_day()
        add_day(project, store)
        give(project, store, "day-002")
        store.open_day()
        images = add_day(project, store)
        store.put_queue("farthest", images[-4:].tolist(), 3)
        store.add_class("bat", "bo")
        look(store, images[-4:-2].tolist(), "farthest", "bo")
        give(project, store, "day-003")
        auditing.draw(project, store, "day-003", 40)
        look(store, store.queue("audit")[:looks].tolist(), "audit")
        current = store.current()
        auto = current.image[(current.state == State.AUTO) & (current.day == 3)]
        wrong = auto[auto % 9 == 0][:3].tolist()
        right = auto[auto % 9 != 0][:2].tolist()
        look(store, [*wrong, *right], "suspicious")
    return project
