"""Every page in a real browser, on a desktop and on a phone, light and dark: nothing is cut off, tiny or pale."""

import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from semisonic.config.run_config import RunConfig
from semisonic.daily.report.page import page as daily_page
from semisonic.data.sets.base import DataSet, Images
from semisonic.data.sets.splits import Split
from semisonic.pages.rendering import environment
from semisonic.run_page.facts import Facts, Seen
from semisonic.run_page.page import html as run_page
from semisonic.studies.declaration import Factor, Study
from semisonic.studies.labels_page import page as labels_page
from semisonic.studies.points import Point
from semisonic.studies.results import Result
from semisonic.studies.study_page import page as study_page
from semisonic.training.mistakes import Mistake
from tests.support.comparisons import compared
from tests.support.daily_reports import report
from tests.support.pages_in_browser import Fault, check, faults

pytestmark = pytest.mark.browser

DOT = "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7"


@pytest.fixture
def seen(chromium: Any, tmp_path: Path) -> Callable[..., list[Fault]]:
    """The faults of a page with this body, in the style of all pages."""

    def of(body: str, **options: Any) -> list[Fault]:
        made = environment().from_string(
            '{% extends "pages/base.html.j2" %}{% set title = "A page" %}{% block body %}' + body + "{% endblock %}"
        )
        (tmp_path / "page.html").write_text(made.render())
        return faults(chromium, tmp_path / "page.html", **options)

    return of


EVERYWHERE = {(width, scheme) for width in (1280, 390) for scheme in ("light", "dark")}
PHONE, LIGHT, DARK = ({at for at in EVERYWHERE if which in at} for which in (390, "light", "dark"))
FAULTS = {
    "image a": ('<img alt="" src="missing-a.png">', EVERYWHERE),
    "image b": ('<img alt="without b">', EVERYWHERE),
    "image c": ('<svg viewBox="0 0 9 9"><image href="data:image/png;base64,c"/></svg>', EVERYWHERE),
    "contrast d": ('<p style="color:#777b">pale d</p>', EVERYWHERE),
    "contrast e": ('<p style="color:#333">pale e</p>', DARK),
    "contrast f": ('<div style="opacity:.4"><p>pale f</p></div>', EVERYWHERE),
    "contrast g": (
        '<div style="background:#000;color:#fff"><p style="background:rgb(255 255 255 / .7)">pale g</p></div>', EVERYWHERE,
    ),
    "contrast h": ('<p style="color:color-mix(in oklab, var(--ink), var(--page) 70%)">pale h</p>', EVERYWHERE),
    "contrast i": ('<p style="color:#999;font-size:24px">large i</p>', LIGHT),
    "contrast j": (
        '<svg viewBox="0 0 99 20" width="99"><rect width="99" height="20" fill="#ddd"/>'
        '<text x="9" y="15" fill="#fff">pale j</text></svg>',
        EVERYWHERE,
    ),
    "contrast k": ('<details><summary>more</summary><p style="color:#8889">folded k</p></details>', EVERYWHERE),
    "small l": ('<p style="font-size:10.5px">tiny l</p>', EVERYWHERE),
    "small m": (
        '<svg viewBox="0 0 1000 30" style="width:100%"><text y="20" font-size="16" fill="var(--ink)">tiny m</text></svg>',
        PHONE,
    ),
    "id n": ('<p id="n">once</p><p id="n">twice</p>', EVERYWHERE),
}  # fmt: skip
"""By kind and letter: what is wrong, and at which widths and in which schemes; what is told ends in its letter."""
WIDE = {
    "div.all": ('<div class="all" style="width:1500px">wide</div>', EVERYWHERE),
    "b.phone": ('<b class="phone" style="display:block;width:600px">wide</b>', PHONE),
}


def test_planted_faults_are_found_and_nothing_else(seen: Callable[..., list[Fault]]):
    found: dict[str, set[tuple[int, str]]] = {}
    for fault in seen("".join(f"<p>Right.</p>{body}" for body, _ in FAULTS.values())):
        letter = re.search(r"(\w)(?:\.png|\"|  without an address)?$", fault.what.replace(" without b", "b "))
        found.setdefault(f"{fault.kind} {letter[1] if letter else fault.what}", set()).add((fault.width, fault.scheme))
    assert found == {name: where for name, (_, where) in FAULTS.items()}


@pytest.mark.parametrize("name", WIDE)
def test_a_document_wider_than_the_window_is_found(seen: Callable[..., list[Fault]], name: str):
    body, where = WIDE[name]
    found = seen(body)
    assert {(fault.width, fault.scheme) for fault in found} == where
    assert all(fault.kind == "overflow" and fault.what.endswith(f": {name}") for fault in found)


def test_what_is_right_is_no_fault(seen: Callable[..., list[Fault]]):
    """What scrolls in its place, large pale text, dark text on light cells, what nobody sees, and what is not to be
    read."""
    assert not seen(
        f'<img alt="" src="{DOT}"><div class="scroll"><div style="width:3000px">wide</div></div>'
        '<p style="color:#767676;background:#fff">the least</p><p style="color:#8a8a8a;background:#fff;font-size:24px">large</p>'
        '<p style="color:#8a8a8a;background:#fff;font-size:19px;font-weight:700">bold</p>'
        '<p hidden style="color:#fff">hidden</p><button disabled style="color:#999;background:#fff">off</button>'
        '<svg viewBox="0 0 99 20" width="99"><rect width="99" height="20" fill="#eee"/><text x="9" y="15" fill="#111">on it</text>'
        '<title style="font-size:1px">spoken</title></svg>'
        '<div class="plot"><svg viewBox="0 0 2000 30" style="min-width:2000px"><rect x="1800" width="200" height="30" fill="#008"/>'
        '<text x="1850" y="20" fill="#fff">out of sight</text></svg></div>'
    )


def test_what_is_allowed_is_no_fault_and_what_looks_alike_is_told_once(seen: Callable[..., list[Fault]]):
    body = '<pre><i style="color:#888;font-size:9px">one</i> <i style="color:#888;font-size:9px">two</i></pre>'
    assert not seen(body, allowed=["pre"])
    assert Counter(fault.kind for fault in seen(body, widths=[390])) == {"contrast": 1, "small": 2}
    assert '"one" and 1 more' in seen(body, widths=[390], schemes=["light"])[0].what


def test_the_page_of_a_comparison(chromium: Any, tmp_path: Path):
    check(chromium, compared(tmp_path))


def test_the_page_of_the_study_of_labels(chromium: Any, tmp_path: Path):
    points = [
        Point("fixmatch", way, labels, {seed: 30 / labels + seed for seed in range(3)})
        for way in ("random", "balanced", "typical") for labels in (10, 40, 100, 250)
    ]  # fmt: skip
    (tmp_path / "labels.html").write_text(labels_page(points, ["10 labels are enough."], 10))
    check(chromium, tmp_path / "labels.html")


def test_the_page_of_a_run(chromium: Any, tmp_path: Path):
    names = ["cat", "a very long name of a class that needs more than a line"]
    classes = [*names, *map(str, range(18))]
    lines: list[dict[str, Any]] = [
        {"step": step, "kind": "train", "train/loss": 3 / step, "train/threshold": [0.5, 0.9] * 10, "lr": 0.1 / step,
         "train/coverage": 0.2, "train/pseudo_label_precision": 0.7, "train/class_share": [0.05] * 20}
        for step in range(1, 30)
    ]  # fmt: skip
    lines += [
        {"step": step, "kind": "eval", "test/top1": 50 - step, "test_raw/top1": 60 - step, "test/loss": 1.0}
        for step in (5, 10, 20, 29)
    ]
    rng = np.random.default_rng(0)
    ones = (1.0, 1.0, 1.0)
    images = Images(rng.integers(0, 256, (40, 8, 8, 3), np.uint8), np.arange(40) % 20)
    data = DataSet("planted", tuple(classes), 8, ones, ones, False, 1, images, images)
    facts = Facts(
        tmp_path, RunConfig(steps=30), {"status": "failed", "step": 29, "steps": 30, "reason": "no " * 60}, None, lines,
        Split(np.arange(20), np.arange(40), np.array([], np.int64)), {"classes": classes, "step": 20, "elapsed": 3.0},
    )  # fmt: skip
    confusion = (rng.integers(0, 30, (20, 20)) * rng.integers(0, 2, (20, 20)) + 40 * np.eye(20, dtype=int)).tolist()
    seen = Seen(
        "test", 29, confusion, [Mistake(place, place % 20, 1, 0.9) for place in range(40)], data, "Some words. " * 9
    )
    (tmp_path / "run.html").write_text(run_page(facts, seen))
    check(chromium, tmp_path / "run.html")


def test_the_page_of_a_study(chromium: Any, tmp_path: Path):
    factor = Factor("decay of the average", "FixMatch", "fixmatch", "0.999", {"0.9": "fixmatch:ema.decay=0.9"})
    study = Study("ema", "What does the average change?", "the average", (factor,), ("A note.",))
    found = {
        own: Result(own, 400, 90_000, {seed: 9.0 + 3 * place + seed / 4 for seed in range(3)}, [12.0])
        for place, own in enumerate(study.settings())
    }
    about = {
        "data": "digits",
        "labels": 40,
        "model": "small",
        "steps": 400,
        "seeds": [0, 1, 2],
        "hardware": "a computer",
    }
    about |= {"versions": {"torch": "2"}, "commit": None, "time": "today", "command": "semisonic study ema " * 9}
    (tmp_path / "ema.html").write_text(
        study_page(study, found, {**about, "factors": [{"said": "It differs."}], "compared": 1})
    )
    check(chromium, tmp_path / "ema.html")


def test_the_report_of_a_day(chromium: Any, tmp_path: Path):
    (tmp_path / "day.html").write_text(daily_page(report(), dict.fromkeys(range(100), DOT)))
    check(chromium, tmp_path / "day.html")
