"""Stores whose images have labels of a run, and people who know the truth."""

from pathlib import Path

import numpy as np

from semisonic.daily.store import Change, ScoreBatch, State, Store
from tests.support.daily import WHO, new_image

RUN = "day-001"


def labeled_store(folder: Path, images: int = 300, wrong: int = 30, run: str = RUN, labeled: int = 0) -> Store:
    """Images 1 to N in one file each, all of class cat; the run calls the last `wrong` of them dogs, and is less sure of
    the later ones. The first `labeled` have a person's label."""
    folder.mkdir(exist_ok=True)
    store = Store.create(folder / "labels.db", ("cat", "dog", "owl"), WHO)
    store.add_images(
        [new_image(folder / "images", f"{i}.png", "cat" if i <= labeled else None) for i in range(1, images + 1)], WHO
    )
    give_scores(store, images, wrong, run)
    return store


def give_scores(store: Store, images: int, wrong: int, run: str = RUN, first: int = 1) -> None:
    numbers = np.arange(first, first + images)
    label = np.where(np.arange(images) < images - wrong, 1, 2)
    certainty = np.linspace(0.995, 0.55, images)
    rising = np.linspace(0, 1, images)
    store.take_over(
        run, [ScoreBatch(numbers, label, 3 - label, certainty, certainty, rising, np.full(images, np.nan))], WHO
    )


def look(
    store: Store, images: np.ndarray, source: str = "page:audit", answer: str = "cat", who: str = WHO
) -> list[int]:
    """A person says what images are: a class, "rejected" or "unsure"."""
    if answer in ("rejected", "unsure"):
        changes = [Change(int(one), State[answer.upper()], None, -1) for one in images]
    else:
        state, label = State.GIVEN if source == "page:audit" else State.REVIEWED, store.class_named(answer).id
        changes = [Change(int(one), state, label, -1) for one in images]
    return store.record(changes, who, source)
