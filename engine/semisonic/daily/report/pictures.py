"""The images of a report: what may be a new class, labels of people to look at again, and what stands for each."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pyarrow.parquet as parquet

from semisonic.curation import choice
from semisonic.daily.passes import arrays
from semisonic.daily.report.known import Known
from semisonic.daily.report.model import Far, Given, Named, Report, Shown
from semisonic.daily.store import LOOKED, NONE, State
from semisonic.text import utf8_text

FARTHEST = 30
"""Images of a day that are shown because a run says so; and those that were chosen before its training."""
TOGETHER = 6
"""About so many images in a group."""
SUSPICIOUS = 24
RANKED = "given.parquet"
"""Of a run: its given labels with their ranks, 1 = the most suspicious."""


def shown(known: Known, images: np.ndarray, scores: Iterable[float | None] | None = None) -> list[Shown]:
    """What the page says of images, each with its score."""
    if not len(images):
        return []
    values = list(scores) if scores is not None else [None] * len(images)
    marks = ", ".join("?" * len(images))
    sizes = dict(known.store.connection.execute(
        f"SELECT id, max(width, height) FROM image WHERE id IN ({marks})", images.tolist()
    ).fetchall())  # fmt: skip
    authors = dict(known.store.connection.execute(
        f"SELECT now.image, event.who FROM now JOIN event ON event.id = now.event WHERE now.image IN ({marks})",
        images.tolist(),
    ).fetchall())  # fmt: skip
    found = []
    for image, path, at, score in zip(
        images.tolist(), known.store.paths(images), known.place(images), values, strict=True
    ):
        state, label = State(int(known.current.state[at])), int(known.current.class_id[at])
        person = state in LOOKED
        name = known.names[label] if label != NONE else state.word if person else None
        found.append(Shown(
            image=image, name=utf8_text(Path(path).name), label=name, side=sizes[image],
            by=authors.get(image) if person else state.word if label != NONE else None,
            score=None if score is None or np.isnan(score) else float(score),
        ))  # fmt: skip
    return found


def far(known: Known) -> Far | None:
    """The farthest images of the day: those that were chosen before its training, and those that its run finds far."""
    looks, scores = known.looks, known.scores
    if known.day == 1 or not known.today.any():
        return None
    here = (looks.day == known.day) & (looks.queue == "farthest")
    waiting = [
        row[0]
        for row in known.store.connection.execute(
            "SELECT image FROM queue WHERE name = 'farthest' AND day = ? ORDER BY position", (known.day,)
        )
    ]
    chosen = [*looks.image[here].tolist(), *waiting][:FARTHEST]
    measured = np.isin(scores.image, known.current.image[known.today]) & np.isfinite(scores.distance)
    distance = dict(zip(scores.image[measured].tolist(), scores.distance[measured].tolist(), strict=True))
    order = np.argsort(-scores.distance[measured], kind="stable")[:FARTHEST]
    images = np.array(list(dict.fromkeys([*chosen, *scores.image[measured][order].tolist()])), np.int64)
    if not len(images):
        return None
    words = [known.names[label] if label != NONE else State(state).word for label, state in zip(
        looks.meant[here].tolist(), looks.state[here].tolist(), strict=True)]  # fmt: skip
    labels = sorted(Counter(words).items(), key=lambda item: (-item[1], item[0]))
    sources = ["their features before the training"] * bool(chosen) + [f"run {scores.run}"] * bool(len(order))
    groups = [
        shown(known, group, [distance.get(image) for image in group.tolist()]) for group in _together(known, images)
    ]
    return Far(
        ranked_by=" and by ".join(sources), looked=int(here.sum()), labels=[Named(name=n, count=c) for n, c in labels],
        typical=float(np.median(scores.distance[measured])) if measured.any() else None, groups=groups,
    )  # fmt: skip


def _together(known: Known, images: np.ndarray) -> list[np.ndarray]:
    """Images in groups of those that look alike, the largest first; in one group where their features are not kept."""
    folder = known.project.features
    for space in [*reversed(known.days_of_runs), "init", "pixels"]:
        features = arrays.read(folder, space)
        if features is not None and (features.places(images) >= 0).all():
            rows = features.of(images)
            cluster = choice.clusters(rows, max(1, round(len(images) / TOGETHER)), seed=0)
            groups = [images[cluster == number] for number in np.unique(cluster)]
            return sorted(groups, key=lambda group: -len(group))
    return [images]


def given(known: Known) -> Given | None:
    """Labels of people that the newest run found hard to agree with, as far as they stand and nobody has looked at
    them since."""
    for run in reversed(known.days_of_runs):
        file = known.project.auto / run / RANKED
        if file.is_file():
            break
    else:
        return None
    columns = parquet.read_table(file, columns=["image", "class", "rank"])
    image, label, rank = (columns[name].to_numpy().astype(np.int64) for name in ("image", "class", "rank"))
    label = np.array([known.became.get(number, NONE) for number in label.tolist()], np.int64)
    place, looks = known.place(image), known.looks
    again = looks.image[(looks.queue == "given") & (looks.event > _begun(known, run))]
    half = rank <= (len(rank) + 1) // 2  # the other labels are those that the run agreed with most
    stands = half & known.by_person[place] & (known.current.class_id[place] == label) & ~np.isin(image, again)
    order = np.argsort(rank, kind="stable")
    first = order[stands[order]][:SUSPICIOUS]
    return Given(
        run=run, ranked=len(image), waiting=known.waiting.get("given", 0),
        images=shown(known, image[first], rank[first].astype(float).tolist()),
    )  # fmt: skip


def _begun(known: Known, run: str) -> int:
    """The newest event that a run's training set knows."""
    row = known.store.connection.execute("SELECT max(last_event) FROM revision WHERE run = ?", (run,)).fetchone()
    return int(row[0] or 0)


def pictured(report: Report) -> list[int]:
    """The images of which the page shows a picture."""
    groups = [one.examples for one in report.confusions]
    groups += report.far.groups if report.far else []
    groups += [report.given.images] if report.given else []
    return sorted({one.image for group in groups for one in group})
