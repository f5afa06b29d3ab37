"""Neighbors without a person's answer, in the features of the newest day."""

import threading
import time
from pathlib import Path

import numpy as np
import pytest

from semisonic.curation.neighbors import Index
from semisonic.daily.page.sweep import Sweep, newest
from semisonic.daily.passes import arrays
from semisonic.daily.project import Project
from semisonic.daily.store import Change, State, Store
from semisonic.schema import UserError
from tests.support.labeling_page import Browser, new_project, rows_only, served

MILLION = 1_000_000


def put_features(project: Project, name: str, features_ND: np.ndarray, ids_N: np.ndarray | None = None) -> None:
    ids_N = np.arange(1, len(features_ND) + 1) if ids_N is None else ids_N
    arrays.write(project.features, name, "a network", [(ids_N, features_ND)], ids_N, features_ND.shape[1])


def on_a_circle(count: int) -> np.ndarray:
    """The nearest of an image are those with the nearest numbers."""
    angles = np.linspace(0, np.pi, count)
    return np.stack([np.cos(angles), np.sin(angles)], 1)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    made = new_project(tmp_path, 20)
    put_features(made, "day-001", on_a_circle(20))
    return made


def near(sweep: Sweep, store: Store, image: int, count: int) -> set[int]:
    images, exact = sweep.neighbors(store, image, count)
    assert exact
    return set(images.tolist())


def test_the_nearest_that_nobody_has_decided(project: Project):
    sweep = Sweep(project.features)
    with project.store() as store:
        assert near(sweep, store, 10, 4) == {8, 9, 11, 12}
        events = store.record([Change(9, State.GIVEN, 1, None), Change(12, State.UNSURE, None, None)], "ann", "python")
        assert near(sweep, store, 10, 4) == {7, 8, 11, 13}
        store.undo(events[:1], "ann")
        assert near(sweep, store, 10, 4) == {8, 9, 11, 7} or near(sweep, store, 10, 4) == {8, 9, 11, 13}
        assert near(sweep, store, 9, 2) == {8, 10}  # also of one that is decided
        assert len(near(sweep, store, 10, 200)) == 18
        store.put_queue("audit", [11, 8], 1)  # whose guess nobody must see
        assert not {11, 8} & near(sweep, store, 10, 200)
        with pytest.raises(UserError, match="image 11 waits in the audit"):
            sweep.neighbors(store, 11, 2)


def test_answers_before_the_first_question_count_too(project: Project):
    with project.store() as store:
        store.record([Change(11, State.GIVEN, 1, None)], "ann", "python")
        assert near(Sweep(project.features), store, 10, 2) == {9, 8} or near(Sweep(project.features), store, 10, 2) == {
            9,
            12,
        }


def test_the_newest_features_count_and_are_taken_up_while_the_page_runs(project: Project):
    sweep = Sweep(project.features)
    with project.store() as store:
        assert near(sweep, store, 10, 2) == {9, 11}
        order = np.array([1, 10, 20])  # far apart on the circle of day 1
        put_features(project, "day-001-2", np.array([[1, 0], [1, 0.1], [0, 1]]), order)
        assert near(sweep, store, 10, 1) == {1}
        with pytest.raises(UserError, match="image 11 has no features yet"):
            sweep.neighbors(store, 11, 1)
        put_features(project, "day-001-2", on_a_circle(20))  # extended by new images, under the same name
        assert near(sweep, store, 10, 2) == {9, 11}
    for name in ("day-002", "day-010", "day-010-fold-1", "pixels"):
        (project.features / f"{name}.json").write_text("{}")
    found = newest(project.features)
    assert found is not None and found.name == "day-010"


def test_features_that_are_not_whole_leave_those_before(project: Project):
    sweep = Sweep(project.features)
    with project.store() as store:
        near(sweep, store, 10, 2)
        put_features(project, "day-002", on_a_circle(20))
        np.save(project.features / "day-002.ids.npy", np.arange(2))
        assert near(sweep, store, 10, 2) == {9, 11}


def test_without_a_network_there_are_features_of_pixels_or_none(tmp_path: Path):
    made = new_project(tmp_path, 3)
    sweep = Sweep(made.features)
    with made.store() as store:
        assert not sweep.possible
        with pytest.raises(UserError, match="there are no features"):
            sweep.neighbors(store, 1, 1)
        put_features(made, "pixels", on_a_circle(3))
        assert sweep.possible and near(sweep, store, 1, 1) == {2}


def test_while_an_index_is_built_the_features_before_are_searched(project: Project, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("semisonic.daily.page.sweep.EXACT", 10)
    go_on = threading.Event()
    monkeypatch.setattr(Index, "notice", None)
    monkeypatch.setattr(Index, "build", lambda index: go_on.wait(30))
    sweep = Sweep(project.features)
    with project.store() as store:
        with pytest.raises(UserError, match="the index of the newest features is being built; try again in a minute"):
            sweep.neighbors(store, 10, 1)
        put_features(project, "pixels", on_a_circle(5))
        go_on.set()
        assert sweep._building is not None
        sweep._building.join()
        assert near(sweep, store, 10, 2) == {9, 11}
        go_on.clear()
        put_features(project, "day-002", on_a_circle(20)[::-1].copy())
        sweep.prepare(store)
        assert near(sweep, store, 10, 2) == {9, 11}
        go_on.set()
        sweep._building.join()


def test_a_key_labels_the_wall(project: Project):
    with served(project) as browser:
        told = browser.get("neighbors", image=10, count=6)
        assert told["exact"] and {image["id"] for image in told["images"]} == {7, 8, 9, 11, 12, 13}
        stored = browser.label("sweep", told["images"], 2)
        assert len(stored["done"]) == 6 and browser.get("state")["sweep"]
        assert {image["id"] for image in browser.get("neighbors", image=10, count=2)["images"]} == {6, 14}
        check_refusals(browser)


def check_refusals(browser: Browser) -> None:
    assert browser.refused("GET", "/api/neighbors?who=ann&image=99")[0] == 400
    assert browser.refused("GET", "/api/neighbors?who=ann&image=1&count=1000")[0] == 400
    assert browser.refused("GET", "/api/neighbors?who=ann")[0] == 400


@pytest.mark.long
def test_neighbors_among_a_million(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """128 values each, in 1,000 groups; rows only."""
    pytest.importorskip("faiss")

    random = np.random.default_rng(0)
    middles = random.normal(size=(1000, 128)).astype(np.float32)
    features_ND = np.empty((MILLION, 128), np.float16)
    for start in range(0, MILLION, 50_000):
        rows = np.arange(start, start + 50_000)
        features_ND[rows] = middles[rows % 1000] + 0.5 * random.normal(size=(50_000, 128))
    made = Project.create(tmp_path / "project", ["a", "b"], 8)
    put_features(made, "day-001", features_ND)
    sweep = Sweep(made.features)
    with made.store() as store:
        rows_only(store, MILLION)
        began = time.monotonic()
        sweep.prepare(store)
        assert sweep._building is not None
        sweep._building.join()
        built = time.monotonic() - began
        times, right = [], []
        for image in random.integers(1, MILLION, 20).tolist():
            began = time.monotonic()
            found, exact = sweep.neighbors(store, image, 50)
            times.append(time.monotonic() - began)
            right.append(np.mean((found - 1) % 1000 == (image - 1) % 1000))
            assert not exact and len(found) == 50
    with capsys.disabled():
        print(f"\nbuilt after {built:.0f} s; a query: {1e3 * np.median(times):.0f} ms, at most {1e3 * max(times):.0f}")
    assert np.median(times) < 0.2 and np.mean(right) > 0.9
