"""What follows once a run's labels are there: they become the current ones, the audit is drawn, and the most suspicious
are queued, in this order: an audit that is drawn after somebody has looked at suspicious images is none.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from semisonic.curation.choice import least_sure_per_cluster
from semisonic.daily.auditing import draw, newest_day
from semisonic.daily.facts import shown_folder
from semisonic.daily.features import open_features
from semisonic.daily.labeling.table import ROWS, Table
from semisonic.daily.store import ScoreBatch, State, Store
from semisonic.text import name_of

if TYPE_CHECKING:
    from semisonic.daily.project import Project

SUSPICIOUS, AUDIT = "suspicious", "audit"
"""Queues."""
CANDIDATES = 10
"""Most suspicious images of which one is queued."""


def hand_out(project: "Project", run: str, labels: Table, who: str, looks: int | None = None) -> None:
    """Makes the labels those of the project, and says what to do next. looks: suspicious images to be queued; None: as
    many as the project's settings say."""
    looks = project.settings.looks.get("suspicious", 0) if looks is None else looks
    with project.store() as store:
        with store.transaction():  # or a reviewer could see guesses of images that are drawn a moment later
            if not is_current(store, run, labels):
                store.take_over(run, batches(labels), who)
            newest = newest_day(store.current(), labels["image"])
            if all(audit.day != newest for audit in store.audits(run)):
                draw(project, store, run)
        queue_suspicious(project, store, run, labels, looks)
        told(project, store, run, labels)


def batches(labels: Table) -> Iterator[ScoreBatch]:
    """The scores as the store takes them."""
    runner_up = labels["top"][:, 1] if labels["top"].shape[1] > 1 else np.full(len(labels), -1)
    for first in range(0, len(labels), ROWS):
        rows = slice(first, first + ROWS)
        yield ScoreBatch(
            labels["image"][rows], labels["top"][rows, 0], runner_up[rows], labels["p"][rows, 0],
            *(labels[name][rows] for name in ("certainty", "suspicion", "distance")),
        )  # fmt: skip


def is_current(store: Store, run: str, labels: Table) -> bool:
    """Whether the store has these labels already: the step was repeated."""
    found = store.scores()
    return (
        found.run == run
        and np.array_equal(found.image, labels["image"])
        and np.array_equal(found.suspicion.astype(np.float32), labels["suspicion"])
    )


def queue_suspicious(project: "Project", store: Store, run: str, labels: Table, looks: int) -> None:
    """Fills the queue with so many of the most suspicious labels that no person has decided and that are not audited,
    one of each cluster of features, so that a page is not many times the same confusion."""
    current = store.current()
    auto = current.image[np.isin(current.state, (State.AUTO, State.ACCEPTED))]
    free = np.isin(labels["image"], auto) & ~np.isin(labels["image"], store.queue(AUDIT))
    store.empty_queue(SUSPICIOUS)
    images, features = labels["image"][free], open_features(project, run)
    if not len(images) or not looks or features is None:
        return
    surest_first = -labels["suspicion"][free]
    worst = np.argsort(surest_first, kind="stable")[: CANDIDATES * looks]
    chosen = least_sure_per_cluster(features.of(images[worst]), surest_first[worst], looks)
    store.put_queue(SUSPICIOUS, images[worst][chosen], store.day)


def told(project: "Project", store: Store, run: str, labels: Table) -> None:
    """How many labels there are, and what a person does next. What the network thinks of itself is no accuracy."""
    states = store.current().state
    out = int(np.isin(states, (State.AUTO, State.ACCEPTED)).sum())
    print(f"{len(labels):,} images labeled by {name_of(run)}; {out:,} of these labels are handed out, people's stay")
    queued = {"of the audit": len(store.queue(AUDIT)), "that are suspicious": len(store.queue(SUSPICIOUS))}
    looks = ", then at the ".join(f"{count:,} images {name}" for name, count in queued.items() if count)
    if looks:
        page = f"semisonic daily {shown_folder(project.folder)} page"
        print(f"How many are right, only people can tell: look at the {looks}: {page}")
