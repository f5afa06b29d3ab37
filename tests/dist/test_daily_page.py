"""The labeling page's process: how it begins and ends, and that whatever it has acknowledged outlives its death."""

import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from http.client import HTTPException
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from semisonic.daily.project import Project
from semisonic.schema import ExitCode
from tests.support.labeling_page import Browser, give_scores, new_project
from tests.support.processes import Start, starting

REVIEWERS = ("ann", "bob")


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    with starting(tmp_path) as begin:
        yield begin


def begin_page(start: Start, project: Project, *options: str) -> tuple[subprocess.Popen, re.Match[str]]:
    """The process, once it serves, and its address: port and token."""
    process = start(sys.executable, "-m", "semisonic", "daily", project.folder, "page", "--port", "0", *options)
    assert process.stdout is not None
    printed = ""
    for line in process.stdout:
        printed += line
        if found := re.search(r"http://127\.0\.0\.1:(\d+)/#token=(\S+)", line):
            return process, found
    raise AssertionError(printed)


def test_ctrl_c_ends_the_page_as_it_ends_other_commands(tmp_path: Path, start: Start):
    process, address = begin_page(start, new_project(tmp_path, 2), "--who", "ann")
    browser = Browser(int(address[1]), address[2])
    assert browser.get("state")["who"] == "ann"
    process.send_signal(signal.SIGINT)
    rest = process.communicate(timeout=60)[0]
    assert (process.returncode, rest) == (ExitCode.INTERRUPTED, "error: interrupted\n")


def review(browser: Browser, numbers: list[int], acknowledged: dict[int, int], sent: set[int]) -> None:
    """Labels images, or accepts three at once where nobody has decided them, until the server is gone."""
    images = {image["id"]: image for image in browser.get("images", queue="free", size=1000)["images"]}
    for place in range(0, len(numbers), 3):
        own = [images[number] for number in numbers[place : place + 3]]
        undecided = all(image["state"] == "auto" for image in own)
        sent |= {image["id"] for image in own}
        try:
            if place % 2 and undecided:
                shown = [{"image": image["id"], "item": image["item"], "seen": image["event"]} for image in own]
                asked = [partial(browser.post, "accept", queue="free", key=browser.key(), images=shown)]
            else:
                asked = [partial(browser.label, "free", [image], 3) for image in own]
            for ask in asked:
                acknowledged |= {row["image"]: row["event"] for row in ask()["done"]}
        except (OSError, HTTPException):
            return


def kill_in_the_middle(
    start: Start, project: Project, seconds: float, open_images: list[int]
) -> tuple[dict[int, int], set[int]]:
    """What was acknowledged (image -> event), and which images were sent, of two reviewers at once."""
    process, address = begin_page(start, project)
    acknowledged: list[dict[int, int]] = [{}, {}]
    sent: list[set[int]] = [set(), set()]
    threads = [
        threading.Thread(
            target=review,
            args=(Browser(int(address[1]), address[2], who), open_images[place::2], acknowledged[place], sent[place]),
        )
        for place, who in enumerate(REVIEWERS)
    ]
    for thread in threads:
        thread.start()
    while not all(acknowledged) and any(thread.is_alive() for thread in threads):
        time.sleep(0.005)
    time.sleep(seconds)
    process.kill()
    process.wait()
    for thread in threads:
        thread.join()
    return acknowledged[0] | acknowledged[1], sent[0] | sent[1]


def killed_often(start: Start, folder: Path, kills: int, images: int) -> None:
    project = new_project(folder, images)
    random = np.random.default_rng(0)
    known: dict[int, int] = {}
    for _ in range(kills):
        with project.store() as store:
            give_scores(store, range(1, images + 1))  # whose labels are accepted
            before = store.last_event
        order = (random.permutation(images) + 1).tolist()
        acknowledged, sent = kill_in_the_middle(start, project, float(random.uniform(0, 0.3)), order)
        assert acknowledged
        with project.store() as store:
            assert store.check() == []
            known = check_stored(store.connection, known | acknowledged, sent - acknowledged.keys(), before)


def check_stored(connection: Any, known: dict[int, int], open_images: set[int], before: int) -> dict[int, int]:
    """All that was acknowledged stands, and nothing else, but for images whose answers were under way: those have the
    answer before or the new one, whole. Returns what stands."""
    stands = dict(connection.execute("SELECT image, event FROM now WHERE event IS NOT NULL").fetchall())
    assert stands.keys() - open_images == known.keys() - open_images
    for image in stands:
        assert stands[image] == known.get(image) or (image in open_images and stands[image] > before)
    return stands


def test_a_kill_loses_nothing_that_was_acknowledged(tmp_path: Path, start: Start):
    killed_often(start, tmp_path, 3, 400)


@pytest.mark.long
def test_fifty_kills_lose_nothing_that_was_acknowledged(tmp_path: Path, start: Start):
    killed_often(start, tmp_path, 50, 400)
