"""What is done before anyone asks for it."""

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from semisonic.daily.page import ahead
from semisonic.daily.page.ahead import Ahead
from semisonic.daily.page.sweep import Sweep
from semisonic.daily.page.thumbnails import Thumbnails
from semisonic.daily.passes import arrays
from semisonic.daily.store import Change, State
from tests.support.labeling_page import new_project


def soon(done: Callable[[], bool]) -> bool:
    end = time.monotonic() + 30
    while not done() and time.monotonic() < end:
        time.sleep(0.01)
    return done()


def test_thumbnails_and_features_are_there_before_anyone_asks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(ahead, "EVERY", 0.02)
    made = new_project(tmp_path, 6)
    (tmp_path / "images" / "0002.png").unlink()
    sweep = Sweep(made.features)
    with made.store() as store:
        store.put_queue("farthest", [1, 2, 3], 1)
        worker = Ahead(made, Thumbnails(made.thumbs), sweep)
        worker.start(store)
        assert soon(lambda: len(list(made.thumbs.glob("*/*.webp"))) == 2)  # the second is gone, which stops nothing
        ids_N = np.arange(1, 7)
        arrays.write(made.features, "day-001", "a network", [(ids_N, np.eye(6))], ids_N, 6)
        store.put_queue("audit", [6], 1)  # what another process has queued meanwhile
        assert soon(lambda: len(list(made.thumbs.glob("*/*.webp"))) == 3)
        assert soon(lambda: sweep._searched is not None)
    worker.close()
    assert not worker._thread.is_alive()


def test_undecided_images_are_counted_when_asked_for_where_that_is_quick(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    made = new_project(tmp_path, 3)
    worker = Ahead(made, Thumbnails(made.thumbs), Sweep(made.features))
    monkeypatch.setattr(ahead, "QUICK", 60.0)
    with made.store() as store:
        assert worker.undecided(store) == 3
        store.record([Change(1, State.GIVEN, 1, None), Change(2, State.UNSURE, None, None)], "ann", "python")
        assert worker.undecided(store) == 1
        monkeypatch.setattr(ahead, "QUICK", 0.0)
        store.record([Change(3, State.REJECTED, None, None)], "ann", "python")
        assert worker.undecided(store) == 1  # as of a moment ago
