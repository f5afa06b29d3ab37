"""Pages of queues: orders, cursors, filters, and what they cost in a large project."""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from semisonic.daily.page.queues import Ask, Cursor, find
from semisonic.daily.project import Project
from semisonic.daily.store import Change, NewImage, ScoreBatch, State, Store
from semisonic.daily.store.classes import read_classes
from tests.support.labeling_page import CLASSES, give_scores, rows_only, served

CAT, DOG, HORSE = 1, 2, 3
MILLION = 1_000_000
PAGE_SECONDS = 0.05


@pytest.fixture
def store(tmp_path: Path):
    """Two days of 30 images: by turns dog (then horse) and cat (then dog), the later the more suspicious."""
    with Project.create(tmp_path / "project", CLASSES, 8).store() as made:
        rows_only(made, 30)
        made.open_day()
        rows_only(made, 30, 31)
        give_scores(made, range(1, 61))
        yield made


def ask(store: Store, queue: str = "free", size: int = 100, **more: Any) -> list[int]:
    return [row.image for row in find(store.connection, read_classes(store.connection), Ask(queue, size, **more)).rows]


def by_pages(store: Store, size: int, queue: str = "free", **more: Any) -> list[int]:
    found: list[int] = []
    after: Cursor | None = None
    while True:
        page = find(store.connection, read_classes(store.connection), Ask(queue, size, after=after, **more))
        found += [row.image for row in page.rows]
        if page.next is None:
            return found
        assert len(page.rows) == size
        after = page.next


def test_orders(store: Store):
    assert ask(store) == list(range(60, 0, -1)) and ask(store, sort="oldest") == list(range(1, 61))
    assert ask(store, sort="suspicious") == list(range(60, 0, -1)) and ask(store, sort="sure") == list(range(1, 61))
    store.put_queue("suspicious", [7, 3, 5], 2)
    assert ask(store, "suspicious") == [7, 3, 5]


@pytest.mark.parametrize(
    "more",
    [
        {}, {"sort": "oldest"}, {"sort": "suspicious"}, {"sort": "sure"}, {"class_id": DOG}, {"pair": (CAT, DOG)},
        {"text": "photo"}, {"text": "photo", "sort": "oldest"}, {"low": 0.2, "high": 0.7}, {"day": 2},
    ],
)  # fmt: skip
def test_pages_together_are_the_whole_and_nothing_twice(store: Store, more: dict[str, Any]):
    whole = ask(store, **more)
    assert by_pages(store, 7, **more) == whole and len(set(whole)) == len(whole) > 7
    assert by_pages(store, len(whole), **more) == whole  # a page that ends with the last image has none behind it


def test_filters(store: Store):
    assert ask(store, class_id=DOG) == list(range(59, 0, -2)) and ask(store, class_id=HORSE) == []
    assert ask(store, pair=(CAT, DOG)) == list(range(60, 0, -2)) and ask(store, pair=(CAT, HORSE)) == []
    assert ask(store, day=1) == list(range(30, 0, -1)) and ask(store, day=3) == []
    assert ask(store, low=1.0) == [60] and ask(store, high=0.0) == [1] and ask(store, low=0.5, high=0.5) == []
    assert ask(store, class_id=DOG, low=0.9, sort="sure") == [55, 57, 59]
    assert ask(store, text="PHOTO-0000012") == [12] and ask(store, text="0000_12") == [] and ask(store, text="%") == []
    assert ask(store, text="photo", class_id=DOG, day=2, high=0.6) == [35, 33, 31]
    store.put_queue("suspicious", range(60, 50, -1), 2)
    assert ask(store, "suspicious", class_id=DOG) == [59, 57, 55, 53, 51]
    assert ask(store, "suspicious", pair=(CAT, DOG), low=0.95) == [60, 58] and ask(store, "suspicious", text="57") == [
        57
    ]


def test_labels_of_people_are_found_by_their_class_and_by_what_the_network_says_else(store: Store):
    store.record([Change(4, State.REVIEWED, HORSE, None)], "ann", "python")
    store.put_queue("given", [4, 6], 2)
    assert ask(store, class_id=HORSE) == [4] and 4 not in ask(store, class_id=CAT)
    assert ask(store, "given", pair=(HORSE, CAT)) == [4] and ask(store, "given", pair=(CAT, DOG)) == [6]


def test_merged_classes_are_one(store: Store):
    store.merge_classes("dog", "horse", "ann")
    assert ask(store, class_id=HORSE) == list(range(59, 0, -2))
    assert ask(store, pair=(CAT, HORSE)) == list(range(60, 0, -2)) and ask(store, class_id=HORSE, low=1.0) == []
    (row,) = find(store.connection, read_classes(store.connection), Ask("free", 1, pair=(CAT, HORSE))).rows
    assert (row.class_id, row.guess, row.runner_up) == (CAT, CAT, HORSE)


def test_what_waits_in_the_audit_is_shown_there_alone(store: Store):
    store.put_queue("audit", [59, 3], 2)
    store.put_queue("suspicious", [60, 59, 58], 2)
    assert ask(store, "suspicious") == [60, 58] and ask(store, "audit") == [59, 3]
    for more in ({}, {"low": 0.0}, {"class_id": DOG}, {"text": "photo"}):
        assert not {59, 3} & set(ask(store, **more))
    store.record([Change(59, State.GIVEN, CAT, None)], "ann", "page:audit")
    assert 59 in ask(store) and 3 not in ask(store)


def test_a_moved_image_is_found_once_and_by_its_new_name(store: Store):
    store.add_images([NewImage("/data/moved/new-name.jpg", (5).to_bytes(16, "big"), 1, 1, 1, 8, 8, None)], "ann")
    assert ask(store, text="new-name") == [5] and ask(store, text="photo-0000005") == []
    assert ask(store, text="data").count(5) == 1


def test_a_cursor_stays_where_it_is_while_others_answer(store: Store):
    store.put_queue("suspicious", range(60, 30, -1), 2)
    classes = read_classes(store.connection)
    first = find(store.connection, classes, Ask("suspicious", 10))
    store.record([Change(row.image, State.REVIEWED, CAT, None) for row in first.rows[2:8]], "bob", "page:suspicious")
    store.record([Change(49, State.REVIEWED, CAT, None)], "bob", "page:suspicious")
    second = find(store.connection, classes, Ask("suspicious", 10, after=first.next))
    assert [row.image for row in second.rows] == [50, 48, 47, 46, 45, 44, 43, 42, 41, 40]


def test_a_page_that_finds_little_ends_in_time_and_goes_on_where_it_was(store: Store, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("semisonic.daily.page.queues.PATIENCE", -1.0)
    monkeypatch.setattr("semisonic.daily.page.queues._PIECE", 10)
    monkeypatch.setattr("semisonic.daily.page.queues._PATHS", 10)
    for more in ({"text": "0000009"}, {"low": 0.0, "day": 1}):
        found: list[int] = []
        after, pages = None, 0
        while True:
            page = find(store.connection, read_classes(store.connection), Ask("free", 5, after=after, **more))
            found, pages = [*found, *(row.image for row in page.rows)], pages + 1
            if page.next is None:
                break
            after = page.next
        assert found == ([9] if "text" in more else list(range(30, 0, -1))) and pages > 5


@pytest.mark.long
def test_a_page_of_a_million_images_takes_no_longer_than_one_of_a_thousand(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """Rows only. Each question is timed once it has been asked before, as the next pages of a reviewer are."""
    project = Project.create(tmp_path / "project", [f"class {number}" for number in range(100)], 8)
    with project.store() as store:
        rows_only(store, MILLION)
        image = np.arange(1, MILLION + 1)
        random = np.random.default_rng(0)
        label, other = random.integers(1, 101, (2, MILLION))
        score = random.permutation(MILLION) / MILLION
        store.take_over("day-001", [ScoreBatch(image, label, other, 1 - score, 1 - score, score, score)], "ann")
        store.put_queue("suspicious", image[np.argsort(-score)][:10_000].tolist(), 1)
    with served(project) as browser:

        def seconds(ask: Callable[[], object]) -> float:
            """The best of five: thumbnails are tried beside it, and other processes are at work."""
            begun = []
            for _ in range(5):
                begun.append(time.monotonic())
                ask()
                begun[-1] = time.monotonic() - begun[-1]
            return min(begun)

        figures = {}
        for name, more in ASKED.items():
            asked = {"queue": "free", **more}
            after = browser.get("images", **asked)["next"] or "0.0,0"
            figures[name] = seconds(partial(browser.get, "images", after=after, **asked))
        images = iter(browser.get("images", queue="suspicious", size=5)["images"])
        figures["an answer"] = seconds(lambda: browser.label("suspicious", [next(images)], 1))
        figures["the state"] = seconds(partial(browser.get, "state"))
    with capsys.disabled():
        print("\n" + "\n".join(f"{name}: {seconds * 1e3:.1f} ms" for name, seconds in figures.items()))
    assert max(figures.values()) < PAGE_SECONDS


ASKED: dict[str, dict[str, Any]] = {
    "a queue of 10,000": {"queue": "suspicious"},
    "a queue of 10,000, one class": {"queue": "suspicious", "class_": 3},
    "all, the newest first": {},
    "all, the most suspicious first": {"sort": "suspicious"},
    "all, one class": {"class_": 3},
    "all, one pair": {"pair": "3,7"},
    "all, a range of scores": {"low": 0.4, "high": 0.5},
    "all, a rare text": {"text": "photo-0012345"},
    "all, no such text": {"text": "no such name"},
    "all, by score and another day": {"low": 0.1, "day": 2},
}
