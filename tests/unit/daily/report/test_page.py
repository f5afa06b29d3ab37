"""The page of a report: every number in it, names as text, and something to say where there is nothing."""

from html.parser import HTMLParser
from pathlib import Path

import pytest

from semisonic.daily.report.model import ClassFacts, Far
from semisonic.daily.report.page import page, place, shifts
from tests.support.daily_reports import EVIL, NAMES, accuracy, estimate, report, shown, unaudited
from tests.support.page_in_browser import browser

URI = "data:image/webp;base64,AA=="


class Seen(HTMLParser):
    """Tags, attributes, and the text of a page; its tags are closed as they were opened."""

    def __init__(self, page: str):
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(page)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in ("img", "meta", "br", "line", "circle", "polyline"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data.replace("\u00a0", " ")


def test_the_page_has_all_there_is():
    seen = Seen(page(report(), dict.fromkeys(range(100), URI)))
    for words in (
        "Day 3 of wardrobe", "96.8 %", "95 % interval 95.2 to 98.4", "is not a measurement", "surer than it is right",
        "Check the audit", "about ±1.7 points", "27 of 40", "no label before", "too few checked to say (n = 8)", "taken for",
        "added the class bag", "the camera was moved", "people have labeled 10", "8 as bag, 2 as unsure.", "rank 1",
        "new", "12,340", "semisonic daily wardrobe page", "no repeats yet",
    ):  # fmt: skip
        assert words in seen.text, words
    assert seen.tags.count("svg") == 3 and seen.tags.count("img") == 9 + 15 + 8
    assert all((value or "") == URI for name, value in seen.attributes if name == "src")
    assert "cannot be shown" not in seen.text


def test_names_are_text():
    names = (EVIL, *(f"{EVIL}{k}" for k in range(9)))
    far = Far(ranked_by=EVIL, looked=1, labels=[], typical=None, groups=[[shown(1, EVIL, EVIL)]])
    made = report(names, project=EVIL, far=far, accuracy=accuracy(run=EVIL, of=EVIL))
    seen = Seen(page(made, {}))
    assert not {"script", "img"} & set(seen.tags) and not any(name.startswith("on") for name, _ in seen.attributes)
    assert seen.text.count(EVIL) > 30 and "cannot be shown" in seen.text


def test_an_empty_project_has_a_page():
    nothing = unaudited(run=None, of="day 1", labels=0, by_people=0, by_network=0, drawn=0, waiting=0, confidence=None)
    made = report(
        day=1, event=0, at="", images=0, images_in_all=0, states={}, accuracy=nothing, queues=[], classes=[], confusions=[],
        corrections=0, far=None, given=None, reviewers=[], steps=[], course=[], changes=[], pace_known=False,
    )  # fmt: skip
    seen = Seen(page(made, {}))
    for words in (
        "Nothing has happened yet",
        "No image of day 1 has a label yet",
        "Nobody has looked",
        "On day 1 all is new",
        "None are known",
    ):
        assert words in seen.text, words


def test_without_an_audit_the_page_claims_no_accuracy():
    text = Seen(page(report(accuracy=unaudited()), {})).text
    assert "is not known yet" in text and "of the labels are right" not in text and "210 images drawn at random" in text


def test_labels_that_are_all_people_s_are_no_figure_of_the_network_s():
    assert "of the labels are right" in Seen(page(report(), {})).text
    assert "of the labels are right" not in Seen(page(report(accuracy=accuracy(by_network=0)), {})).text


def test_a_queue_without_a_look_says_nothing_of_labels_before():
    looked = next(one for one in report().queues if one.compared)

    def says(looks: int) -> bool:
        other = looked.model_copy(update={"looks": looks, "compared": 0, "errors": 0})
        return "no label before" in Seen(page(report(queues=[looked, other]), {})).text

    assert says(3) and not says(0)


def test_an_interval_has_a_place_on_its_scale():
    assert place(estimate(0.95, 0.03), zoom=True) == {"floor": 0.9, "low": 20, "width": 60, "value": 50}
    assert place(estimate(0.6, 0.4)) == {"floor": 0.0, "low": 20, "width": 80, "value": 60}
    assert place(estimate(1.0, 0.0))["width"] == 0.5


@pytest.mark.parametrize("rows", [30, 1000])
def test_many_classes_are_folded(rows: int):
    classes = [
        ClassFacts(
            id=k,
            name=f"c{k}",
            status="active",
            by_people=1,
            by_network=2,
            looked=0,
            right=0,
            precision=None,
            today=k,
            yesterday=1,
        )
        for k in range(rows)
    ]
    content = page(report(classes=classes), {})
    assert content.count(f"{rows - 25} more classes") == 2 and len(content) < 700 * rows + 60_000


def test_shares_are_compared_with_the_day_before():
    changes = {row["name"]: row for row in shifts(report().classes)}
    assert (
        changes[NAMES[8]]["new"]
        and changes[NAMES[8]]["bar"] == 50
        and sum(row["today"] for row in changes.values()) == pytest.approx(1)
    )
    assert shifts([one.model_copy(update={"yesterday": None}) for one in report().classes]) == []


@pytest.mark.browser
def test_a_phone_shows_all_of_it_and_names_do_nothing(tmp_path: Path):
    far = Far(ranked_by="a", looked=1, labels=[], typical=None, groups=[[shown(k, "x" * 300, EVIL) for k in range(9)]])
    made = report((EVIL, "y" * 300, *NAMES[2:]), project=f"{EVIL}{'z' * 300}", far=far)
    (tmp_path / "day.html").write_text(page(made, dict.fromkeys(range(0, 100, 2), URI)))
    said: list[str] = []
    with browser() as opened:
        for width, scheme in ((390, "dark"), (1280, "light")):
            window = opened.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
            window.on("console", lambda message: said.append(message.text))
            window.goto((tmp_path / "day.html").as_uri())
            assert window.evaluate("document.documentElement.scrollWidth") == width
            assert window.evaluate("document.scripts.length") == 0 and window.title() == f"Day 3 of {made.project}"
            dark = window.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 23, 27)"
            assert dark == (scheme == "dark")
    assert said == []
