"""A store that is killed at any moment has all that it has acknowledged, and nothing half."""

import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from semisonic.daily.store import ANY, Change, State, Store
from semisonic.schema import UserError
from tests.support.daily import WHO, batch, new_image, new_store

IMAGES = 30


def test_a_new_store_is_on_its_first_day(tmp_path: Path):
    with new_store(tmp_path) as store:
        assert (store.day, store.last_event, store.run, len(store.current())) == (1, 3, None, 0)
    with pytest.raises(UserError, match="there is a store already"):
        Store.create(store.path, ["a", "b"], WHO)
    with pytest.raises(UserError, match="there is a class a already"):
        Store.create(tmp_path / "other.db", ["a", "a"], WHO)
    assert not (tmp_path / "other.db").exists()


def work(path: Path, seed: int, tell: Callable[[str], object]) -> None:
    """Changes a store in all ways, and tells the key of each label that is stored."""
    rng = random.Random(seed)
    with Store.open(path) as store:
        for number in range(10**6):
            match rng.randint(1, 8):
                case 1:
                    store.undo_last(WHO, 2)
                case 2:
                    folder = path.parent / "new"
                    store.add_images([new_image(folder, f"{seed}-{number}-{i}.png", "cat") for i in range(20)], WHO)
                case 3:
                    store.take_over(f"run-{seed}-{number}", [batch([1, 2, 3] * (IMAGES // 3))], WHO)
                    store.accept(store.current().image, store.run or "", WHO, {})
                case 4:
                    store.add_class(f"class {seed}-{number}", WHO)  # a kill may leave the others merged
                    names = [row.name for row in store.classes()]
                    event = store.merge_classes(names[0], names[1], WHO)
                    store.undo([event], WHO)
                case 5 if number % 3 == 0:
                    store.freeze("run")
                case _:
                    keys = [f"{seed}-{number}-{i}" for i in range(rng.randint(1, 4))]
                    images = [rng.randint(1, IMAGES) for _ in keys]
                    changes = [Change(image, State.GIVEN, 3, ANY, key) for image, key in zip(images, keys, strict=True)]
                    tell("?" + "".join(f"{key} " for key in keys))
                    store.record(changes, WHO, "page:free")
                    tell("!" + "".join(f"{key} " for key in keys))


def live(path: Path, seed: int) -> tuple[set[str], set[str]]:
    """A process that works until it is killed; the keys that it has asked to store, and those that were."""
    reading, writing = os.pipe()
    if (child := os.fork()) == 0:
        try:
            os.close(reading)
            work(path, seed, lambda text: os.write(writing, text.encode()))
        finally:
            os._exit(1)
    os.close(writing)
    told = os.read(reading, 1)
    time.sleep(random.Random(seed).uniform(0, 0.15))
    os.kill(child, signal.SIGKILL)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL, "it ended by itself"
    while piece := os.read(reading, 2**16):
        told += piece
    os.close(reading)
    parts = [part.split() for part in told.decode().replace("?", "\n?").replace("!", "\n!").splitlines() if part]
    asked = {key.lstrip("?") for part in parts if part[0][0] == "?" for key in part}
    return asked, {key.lstrip("!") for part in parts if part[0][0] == "!" for key in part}


@pytest.mark.parametrize("kills", [5, pytest.param(50, marks=pytest.mark.long)])
def test_what_was_acknowledged_is_there_after_kills(tmp_path: Path, kills: int):
    new_store(tmp_path, IMAGES).close()
    path = tmp_path / "labels.db"
    acknowledged: set[str] = set()
    unknown: set[str] = set()
    for seed in range(kills):
        asked, done = live(path, seed)
        acknowledged |= done
        unknown |= asked - done
        with Store.open(path) as store:
            assert store.check() == []
            rows = store.connection.execute("SELECT key FROM event WHERE key IS NOT NULL").fetchall()
            stored = {row[0] for row in rows}
            assert acknowledged <= stored <= acknowledged | unknown
            assert len(stored - acknowledged) <= 4 * (seed + 1), "at most the last call of each life"
    assert len(acknowledged) > kills
