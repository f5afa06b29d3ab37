"""Pictures of the labeling page for the documentation, taken of the real page in a browser.

    python benchmarks/page_pictures.py [--out docs/pictures] [--root FOLDER]

The project holds images of Fashion-MNIST. What stands for the network is a linear classifier of 300 of them: it is as
unsure as a network of a first day, and confuses the same classes. Needs playwright and Debian's chromium.
"""

import argparse
import io
import shutil
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from playwright.sync_api import Page, sync_playwright
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression

from daily_stream import FASHION, NAMES
from semisonic.daily.adding import add
from semisonic.daily.page.server import PageServer
from semisonic.daily.passes import arrays
from semisonic.daily.project import Project
from semisonic.daily.store import Change, ScoreBatch, State
from semisonic.data.sets.idx import find_idx, read_idx

IMAGES, TAUGHT = 1500, 300
"""Images of the project; images that the classifier learns from, which are others."""
MISTAKEN = 12
"""Given labels that are wrong."""
DESK, PHONE = {"width": 1280, "height": 800}, {"width": 390, "height": 844}
KEYS = "1234567890"
PACE = 900
"""Milliseconds between two answers."""
MOST_BYTES = 150_000


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("docs/pictures"), help="folder (default: %(default)s)")
    parser.add_argument("--root", type=Path, default=FASHION, help="of Fashion-MNIST (default: %(default)s)")
    args = parser.parse_args(argv)
    args.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        project, truth_N = make_project(Path(folder), args.root)
        with PageServer(project, 0, "Ada") as server:
            threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
            take_all(server.url, truth_N, args.out)
            server.shutdown()


def make_project(folder: Path, root: Path) -> tuple[Project, np.ndarray]:
    """A project on day 2, with the labels and scores of a day's training, and every queue filled; the true classes.

    Image i of the store is row i - 1, since files are added in the order of their names.
    """
    found, _ = find_idx(root, "FashionMNIST/raw")
    pixels_NHW, truth_N = read_idx(found["test images"], 3), read_idx(found["test labels"], 1).astype(np.int64)
    files = folder / "camera"
    files.mkdir()
    for row in range(IMAGES):
        Image.fromarray(pixels_NHW[row]).save(files / f"2026-11-28_{row:05}.png")
    project = Project.create(folder / "garments", NAMES, 28, who="Ada")
    add(project, files, "Ada", quiet=True)
    flat_ND = pixels_NHW.reshape(len(pixels_NHW), -1) / 255.0
    taught = slice(IMAGES, IMAGES + TAUGHT)
    model = LogisticRegression(max_iter=200).fit(flat_ND[taught], truth_N[taught])
    probability_NC = model.predict_proba(flat_ND[:IMAGES])
    fill(project, probability_NC, truth_N[:IMAGES])
    features_ND = PCA(32, random_state=0).fit_transform(flat_ND[:IMAGES])
    features_ND /= np.linalg.norm(features_ND, axis=1, keepdims=True)
    number_N = np.arange(1, IMAGES + 1)
    arrays.write(project.features, "day-001", "a network", [(number_N, features_ND)], number_N, 32)
    return project, truth_N[:IMAGES]


def fill(project: Project, probability_NC: np.ndarray, truth_N: np.ndarray) -> None:
    """Labels and queues."""
    generator = np.random.default_rng(0)
    order_NC = np.argsort(-probability_NC, axis=1)
    confidence_N = probability_NC.max(1)
    suspicion_N = np.argsort(np.argsort(-confidence_N)) / (len(truth_N) - 1)
    number_N = np.arange(1, len(truth_N) + 1)
    with project.store() as store:
        class_C = np.array([row.id for row in store.classes()])
        first_N, second_N = class_C[order_NC[:, 0]], class_C[order_NC[:, 1]]
        columns = (first_N, second_N, confidence_N, confidence_N, suspicion_N, generator.random(len(truth_N)))
        given = generator.choice(number_N, 60, replace=False).tolist()
        for place, image in enumerate(given):
            named = second_N[image - 1] if place < MISTAKEN else class_C[truth_N[image - 1]]
            store.record([Change(image, State.GIVEN, int(named), None)], "Ben", "import")
        store.take_over("day-001", [ScoreBatch(number_N, *columns)], "Ada")
        rest = [image for image in number_N[np.argsort(-suspicion_N)].tolist() if image not in given]
        store.open_day()
        store.put_queue("suspicious", rest[:140], 1)
        store.put_queue("audit", generator.choice(rest[140:], 100, replace=False).tolist(), 1)
        store.put_queue("farthest", generator.choice(rest[140:], 20, replace=False).tolist(), 2)
        store.put_queue("given", given[:MISTAKEN], 1)


def take_all(url: str, truth_N: np.ndarray, out: Path) -> None:
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        desk = open_page(browser, url, viewport=DESK)
        answer(open_queue(desk, "audit"), truth_N, 9)
        take(desk, out / "page-audit.png")
        answer(open_queue(desk, "suspicious"), truth_N, 9)
        take(desk, out / "page-grid.png")
        open_queue(desk, "suspicious").keyboard.press("g")
        answer(desk, truth_N, 2)
        take(desk, out / "page-single.png")
        open_queue(desk, "free").keyboard.press("g")
        sweep(desk, truth_N, NAMES.index("dress"))
        take(desk, out / "page-sweep.png")
        dark = {"color_scheme": "dark", "has_touch": True, "is_mobile": True, "device_scale_factor": 2}
        phone = open_queue(open_page(browser, url, viewport=PHONE, **dark), "suspicious")
        answer(phone, truth_N, 2)
        take(phone, out / "page-phone.png")
        browser.close()


def answer(page: Page, truth_N: np.ndarray, count: int) -> None:
    """Answers as a person would that knows the truth, at a person's pace."""
    for _ in range(count):
        shown = page.query_selector(".tile.current, .verdict")
        words, image = shown.query_selector(".words, strong").inner_text(), shown.get_attribute("data-image")
        if image is None:  # a single image
            page.keyboard.press("Space")
        else:
            known = truth_N[int(image) - 1]
            page.keyboard.press("Space" if words == NAMES[known] else KEYS[known])
        page.wait_for_timeout(PACE)


def sweep(page: Page, truth_N: np.ndarray, known: int) -> None:
    """Opens the sweep of the first image of a class, and takes out what is of others."""
    while truth_N[int(page.get_attribute(".tile.current", "data-image")) - 1] != known:
        page.keyboard.press("ArrowRight")
    page.keyboard.press("s")
    page.wait_for_selector(".sweep")
    for tile in page.query_selector_all(".sweep .tile"):
        if truth_N[int(tile.get_attribute("data-image")) - 1] != known:
            tile.click()
    page.keyboard.press("ArrowLeft")


def open_page(browser: Any, url: str, **settings: Any) -> Page:
    page: Page = browser.new_context(**settings).new_page()
    page.add_init_script("localStorage['semisonic.who'] ??= '\"Ada\"'")
    page.goto(url)
    page.wait_for_selector(".tile")
    return page


def open_queue(page: Page, queue: str) -> Page:
    page.click(f'[data-queue="{queue}"]')
    page.wait_for_selector(f'body:has([data-queue="{queue}"][aria-selected="true"]) #stage[aria-busy="false"]')
    return page


def take(page: Page, file: Path) -> None:
    page.wait_for_load_state("networkidle")
    page.wait_for_timeout(1000)  # for what fades, and the server's word on the answers
    page.evaluate("scrollTo(0, 0)")
    Image.open(io.BytesIO(page.screenshot())).convert("RGB").save(file, optimize=True)
    size = file.stat().st_size
    print(f"{file}: {size:,} bytes")
    if size > MOST_BYTES:
        raise SystemExit(f"{file} has more than {MOST_BYTES:,} bytes")


if __name__ == "__main__":
    main()
