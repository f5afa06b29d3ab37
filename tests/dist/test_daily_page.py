"""The labeling page's process: how it begins and ends, and that whatever it has acknowledged outlives its death."""

import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
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
    """Labels images one by one, or accepts three at once, until the server is gone."""
    images = {image["id"]: image for image in browser.get("images", queue="free", size=1000)["images"]}
    for place, number in enumerate(numbers):
        own = [images[number]] if place % 4 else [images[other] for other in numbers[place : place + 3]]
        sent |= {image["id"] for image in own}
        try:
            if len(own) == 1:
                told = browser.label("free", own, 3)
            else:
                shown = [{"image": image["id"], "item": image["item"], "seen": None} for image in own]
                told = browser.post("accept", queue="free", key=browser.key(), images=shown)
        except (OSError, HTTPException):
            return
        for row in told["done"]:
            acknowledged[row["image"]] = row["event"]


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
    while not all(acknowledged) and process.poll() is None:
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
            state = store.current()
            before = store.last_event
        undecided = state.image[state.state <= 2].tolist()
        acknowledged, sent = kill_in_the_middle(start, project, float(random.uniform(0, 0.3)), undecided)
        known |= acknowledged
        with project.store() as store:
            assert store.check() == []
            check_stored(store.connection, known, acknowledged, sent, before)
    assert len(known) >= kills


def check_stored(
    connection: Any, known: dict[int, int], acknowledged: dict[int, int], sent: set[int], before: int
) -> None:
    """All that was acknowledged stands; nothing is stored that was not sent."""
    stands = dict(connection.execute("SELECT image, event FROM now WHERE event IS NOT NULL").fetchall())
    assert known.items() <= stands.items()
    made = dict(connection.execute("SELECT image, id FROM event WHERE kind = 'label' AND id > ?", (before,)).fetchall())
    assert acknowledged.items() <= made.items() and made.keys() <= sent


def test_a_kill_loses_nothing_that_was_acknowledged(tmp_path: Path, start: Start):
    killed_often(start, tmp_path, 3, 400)


@pytest.mark.long
def test_fifty_kills_lose_nothing_that_was_acknowledged(tmp_path: Path, start: Start):
    killed_often(start, tmp_path, 50, 950)
