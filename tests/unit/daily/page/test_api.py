"""What the page is told: its state, images of its queues, and classes."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any
from unittest.mock import patch

import pytest

from semisonic.daily.page import tally
from semisonic.daily.project import Project
from semisonic.text import printable
from semisonic.version import __version__
from tests.support.daily import seen
from tests.support.labeling_page import CLASSES, Browser, draw


def test_state(reading: Browser):
    told = reading.get("state")
    queues = {queue["name"]: queue for queue in told["queues"]}
    assert (told["project"], told["day"], told["run"], told["who"]) == ("project", 1, "day-001", "ann")
    assert told["classes"] == [
        {"id": number, "name": name, "key": str(number)} for number, name in enumerate(CLASSES, 1)
    ]
    assert list(queues) == ["farthest", "audit", "suspicious", "given", "second-look", "free"]
    assert [queue["left"] for queue in queues.values()] == [4, 3, 12, 0, 0, 21]
    assert [queue["blind"] for queue in queues.values()] == [True, True, False, False, False, False]
    assert queues["farthest"]["title"] == "First images" and all(queue["hint"] for queue in queues.values())
    assert told["progress"] == {"looks_today": 0, "per_minute": None, "minutes_left": None}
    assert told["sweep"] is False and told["version"] == __version__


def test_what_waits_in_the_audit_is_not_counted_elsewhere(project: Project, browser: Browser):
    with project.store() as store:
        store.put_queue("audit", [24, 23], 1)
    left = {queue["name"]: queue["left"] for queue in browser.get("state")["queues"]}
    assert (left["suspicious"], left["audit"], left["free"]) == (10, 5, 19)
    assert len(browser.get("images", queue="suspicious")["images"]) == 10


def test_the_command_names_the_reviewer_where_the_browser_does_not(project: Project):
    from semisonic.daily.page.api import Api

    api = Api(project, "carl")
    with project.store() as store:
        assert api.state(store, {})["who"] == "carl" and api.state(store, {"who": "dora"})["who"] == "dora"
    api.close()


def test_an_image_is_told_with_what_the_network_says_but_not_in_a_blind_queue(reading: Browser):
    shown = reading.get("images", queue="suspicious", size=1)["images"][0]
    assert {name: shown[name] for name in ("id", "event", "state", "class", "guess", "runner_up", "suspicion")} == {
        "id": 24, "event": None, "state": "auto", "class": 1, "guess": 1, "runner_up": 2, "suspicion": 1.0,
    }  # fmt: skip
    assert (shown["name"], shown["day"], shown["width"], shown["height"]) == ("0024.png", 1, 8, 6)
    for queue in ("audit", "farthest"):
        for image in reading.get("images", queue=queue)["images"]:
            assert image["state"] == "unlabeled"
            assert {image[name] for name in ("event", "class", "guess", "runner_up", "suspicion", "distance")} == {None}
        for asked in ("class=1", "pair=1,2", "low=0.5", "high=0.5", "sort=suspicious"):
            status, line = reading.refused("GET", f"/api/images?who=ann&queue={queue}&{asked}")
            assert status == 400 and "without what the network says" in line
        assert reading.get("images", queue=queue, text="000")["images"]


def test_pages_follow_each_other(reading: Browser):
    first = reading.get("images", queue="suspicious", size=8, class_="", text="")
    second = reading.get("images", queue="suspicious", size=8, after=first["next"])
    assert [image["id"] for image in first["images"] + second["images"]] == list(range(24, 12, -1))
    assert second["next"] is None and first["left"] == 12


@pytest.mark.parametrize(
    ("asked", "line"),
    [
        ("", "queue: Field required"), ("queue=none", "queue: there is none called none"),
        ("queue=free&size=0", "size: "), ("queue=free&size=5000", "size: "), ("queue=free&after=x", "after: no place"),
        ("queue=free&after=nan,1", "after: no place"), ("queue=free&after=1.0,1;2", "after: no place"),
        ("queue=free&class=x", "class: "), ("queue=free&class=-1", "class: "), ("queue=free&pair=1", "pair: "),
        ("queue=free&low=2", "low: "), ("queue=free&low=0.9&high=0.1", "low: must not be above high"),
        ("queue=free&class=1&pair=1,2", "pair: its first class"), ("queue=free&sort=random", "sort: "),
        (f"queue=free&text={'x' * 201}", "text: "), ("queue=free&day=0", "day: "),
    ],
)  # fmt: skip
def test_questions_that_are_none(reading: Browser, asked: str, line: str):
    status, told = reading.refused("GET", f"/api/images?who=ann&{asked}")
    assert status == 400 and told.startswith(line)


def test_names_are_text_whatever_they_hold(project: Project, browser: Browser):
    hostile = '"><img src=x onerror=alert(1)>.png'
    with project.store() as store:
        names = (hostile, "line\nbreak\x1b[2J.png", b"\xff.png".decode("utf-8", "surrogateescape"))
        store.add_images([seen(draw(project.folder / name, 100 + place)) for place, name in enumerate(names)], "ann")
    made = browser.post("classes", name="<script>alert(1)</script>")
    assert made["name"] == "<script>alert(1)</script>" and made["key"] == "4"
    shown = browser.get("images", queue="free", size=3)["images"]
    assert [image["name"] for image in shown[::-1]] == [hostile, "line\\nbreak\\x1b[2J.png", "\\xff.png"]
    assert all(image["name"] == printable(image["name"]) for image in shown)
    thumbs = [browser.ask("GET", f"/thumb/{image['id']}?token={browser.token}").status for image in shown]
    assert thumbs == [200, 200, 200]


def test_a_class_is_added_once(project: Project, browser: Browser):
    made = browser.post("classes", name=" owl ", key="0b7c-2")
    assert made == browser.post("classes", name="owl") == {"id": 4, "name": "owl", "key": "4"}
    assert [row["name"] for row in browser.get("state")["classes"]] == [*CLASSES, "owl"]
    assert Project.open(project.folder).settings.classes[-1] == "owl"
    with ThreadPoolExecutor(6) as pool:
        added = list(pool.map(lambda number: browser.post("classes", name=f"x{number // 2}"), range(6)))
    assert len({one["id"] for one in added}) == 3
    with project.store() as store:
        assert list(Project.open(project.folder, pytest.fail).settings.classes) == [row.name for row in store.classes()]
    image = browser.get("images", queue="free", size=1)["images"][0]
    assert browser.label("free", [image], 4)["done"]
    for name in ("", "  ", "x" * 201):
        assert browser.refused("POST", "/api/classes", {"who": "ann", "name": name})[0] == 400


def test_pace_and_minutes_left(project: Project, browser: Browser):
    """Ten looks, six seconds each, and a pause that does not count."""
    images = browser.get("images", queue="suspicious", size=10)["images"]
    with patch("semisonic.daily.store.events.datetime") as clock:
        begin = datetime.now(UTC).replace(microsecond=0)
        for place, image in enumerate(images):
            clock.now.return_value = begin + timedelta(seconds=6 * place + (600 if place > 5 else 0))
            told: Any = browser.label("suspicious", [image], 1)
    left = sum(queue["left"] for queue in browser.get("state")["queues"] if queue["name"] != "free")
    assert told["progress"] == {"looks_today": 10, "per_minute": 10.0, "minutes_left": -(-left // 10)}
    assert browser.get("state", who="bob")["progress"] == {"looks_today": 0, "per_minute": None, "minutes_left": None}
    done = {queue["name"]: queue["done"] for queue in browser.get("state")["queues"]}
    assert done["suspicious"] == 10 and sum(done.values()) == 10


class Tomorrow(datetime):
    @classmethod
    def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
        return datetime.now(tz) + timedelta(days=1)


def test_looks_of_yesterday_are_not_those_of_today(project: Project, browser: Browser):
    images = browser.get("images", queue="suspicious", size=3)["images"]
    assert browser.label("suspicious", images[:2], 1)["progress"]["looks_today"] == 2
    with patch("semisonic.daily.store.events.datetime", Tomorrow), patch.object(tally, "datetime", Tomorrow):
        assert browser.label("suspicious", images[2:], 1)["progress"]["looks_today"] == 1
        begun_anew = tally.Tally()
        with project.store() as store:
            begun_anew.follow(store.connection)
        assert begun_anew.progress("ann").looks == 1 and len(begun_anew.looks()) == 1
