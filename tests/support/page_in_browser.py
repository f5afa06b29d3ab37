"""Projects for the labeling page, a server for them in this process or in one of its own, and a browser."""

import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from semisonic.daily.page.server import PageServer
from semisonic.daily.passes import arrays
from semisonic.daily.project import Project
from semisonic.daily.store import Change, ScoreBatch, State
from tests.support.daily import seen

CLASSES = ("cat", "dog", "horse")
RUN = "day-001"
QUEUES = {"audit": range(1, 31), "suspicious": range(31, 111), "farthest": range(111, 121), "given": range(121, 126)}
"""Numbers of the images in each queue; 125 to 160 are in none."""
IMAGES = 160


def project(
    folder: Path, classes: Sequence[str] = CLASSES, names: Mapping[int, str] | None = None, images: int = IMAGES
) -> Project:
    """A project on day 2 whose images have guesses; the guess of image i is class i modulo 3, features lie by guess.

    names: of the files of some images, by number.
    """
    made = Project.create(folder / "project", classes, size=8, who="Ada")
    files = folder / "images"
    files.mkdir()
    number_N = np.arange(1, images + 1)
    guess_N = number_N % min(3, len(classes))
    with made.store() as store:
        new = [
            seen(_draw(files / (names or {}).get(i, f"photo-{i:03d}.png"), i, int(guess_N[i - 1]))) for i in number_N
        ]
        store.add_images(new, "Ada")
        ids = np.array([row.id for row in store.classes()])
        columns = (ids[guess_N], ids[(guess_N + 1) % len(ids)], np.full(images, 0.6), np.full(images, 0.7))
        score = ScoreBatch(number_N, *columns, 1 - number_N / (images + 1), number_N / images)
        store.take_over(RUN, [score], "Ada")
        for image in QUEUES["given"]:
            store.record([Change(image, State.GIVEN, int(ids[0]), None)], "Ada", "import")
        for name, numbers in QUEUES.items():
            store.put_queue(name, [i for i in numbers if i <= images], 1)
        store.open_day()
    features_ND = np.eye(16, dtype=np.float16)[guess_N] + 0.01 * np.random.default_rng(0).random((images, 16))
    features_ND /= np.linalg.norm(features_ND, axis=1)[:, None]
    arrays.write(made.features, RUN, "a network", [(number_N, features_ND)], number_N, 16)
    return made


def _draw(file: Path, number: int, guess: int) -> Path:
    pixels = np.full((24, 24, 3), (number * 7 % 256, 80 * guess, 255 - number), np.uint8)
    Image.fromarray(pixels).save(file)
    return file


@contextmanager
def serving(project: Project) -> Iterator[PageServer]:
    """The page of a project, in a thread of this process."""
    with PageServer(project, port=0, who="ada") as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def start(project: Project, port: int = 0) -> tuple[subprocess.Popen[str], str]:
    """The command that serves the page, in a process that can be killed; and the address that it prints."""
    code = (
        "import sys; from semisonic.daily.page.serving import serve; from semisonic.daily.project import Project; "
        "serve(Project.open(sys.argv[1]), int(sys.argv[2]), 'ada')"
    )
    command = [sys.executable, "-c", code, str(project.folder), str(port)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONUNBUFFERED": "1"})
    assert process.stdout is not None
    for line in process.stdout:
        if found := re.search(r"http://\S+", line):
            return process, found[0]
    raise AssertionError(f"the page ended with status {process.wait()}")


@contextmanager
def browser() -> Iterator[Any]:
    """Debian's Chromium. Skips the tests where there is none."""
    playwright = pytest.importorskip("playwright.sync_api")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("no chromium")
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield opened
        opened.close()


class Person:
    """Somebody at the page, in a browser window of their own. `problems` is what the page's console complained of."""

    def __init__(self, browser: Any, name: str = "Ada", **settings: Any) -> None:
        self.name = name
        self.context = browser.new_context(**{"viewport": {"width": 1280, "height": 800}, **settings})
        self.context.add_init_script(  # about:blank, which comes first, has no storage
            f"if (origin !== 'null') localStorage['semisonic.who'] ??= '\"{name}\"'"
        )
        self.page = self.context.new_page()
        self.page.set_default_timeout(20_000)
        self.problems: list[str] = []
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.on("console", lambda said: self.problems.append(said.text) if said.type == "error" else None)

    def close(self) -> None:
        self.context.close()

    def open(self, url: str, queue: str | None = None) -> "Person":
        self.page.goto("about:blank")  # an address that differs in its fragment alone would load nothing
        self.page.goto(url)
        self.page.wait_for_selector('#stage[aria-busy="false"]')
        return self.queue(queue) if queue else self

    def queue(self, name: str) -> "Person":
        self.page.click(f'[data-queue="{name}"]')
        self.page.wait_for_selector(f'body:has([data-queue="{name}"][aria-selected="true"]) #stage[aria-busy="false"]')
        return self

    def press(self, *keys: str) -> "Person":
        for key in keys:
            self.page.keyboard.press(key)
        return self

    def until(self, true: Callable[[], Any], seconds: float = 20) -> "Person":
        """Waits, in steps: the page's policy forbids playwright's own way, which evaluates text."""
        deadline = time.monotonic() + seconds
        while not true():
            assert time.monotonic() < deadline, f"the page shows {self.page.inner_text('body')!r}"
            self.page.wait_for_timeout(20)
        return self

    def settled(self) -> "Person":
        """Waits until the server has confirmed all answers."""
        return self.until(lambda: self.unsent() == 0)

    def unsent(self) -> int:
        """How many entries the browser keeps for a server that has not confirmed them."""
        return self.page.evaluate(
            "Object.keys(localStorage).filter((name) => name.startsWith('semisonic.unsent.')).length"
        )

    def sees(self, text: str) -> "Person":
        """Waits for a text in sight."""
        self.page.get_by_text(text).filter(visible=True).first.wait_for()
        return self

    def current(self) -> int:
        """The image that keys answer."""
        return int(self.page.get_attribute(".tile.current", "data-image"))

    def tones(self) -> list[str]:
        """What is said of each image of the page: open, right, changed, rejected, unsure or error."""
        return self.page.eval_on_selector_all(".tile", "(tiles) => tiles.map((tile) => tile.dataset.tone)")
