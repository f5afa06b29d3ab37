"""Hidden repeats: which images come twice, what the browser learns of them, and what becomes of the answers."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from semisonic.daily.page import repeats
from semisonic.daily.project import Project
from semisonic.daily.store import State
from tests.support.labeling_page import Browser, give_scores, new_project, served

CAT, DOG = 1, 2
COUNT = 40


@pytest.fixture
def audited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Project, Browser]]:
    """Every look is to be repeated, once three others are between; images 1 to 8 were looked at."""
    monkeypatch.setattr(repeats, "OWN", 1.0)
    monkeypatch.setattr(repeats, "APART", 3)
    monkeypatch.setattr(repeats, "OTHERS", 0.0)
    made = new_project(tmp_path, COUNT)
    with made.store() as store:
        give_scores(store, range(1, COUNT + 1))
        store.put_queue("audit", range(1, COUNT + 1), 1)
    with served(made) as browser:
        for image in page(browser, size=8):
            browser.label("audit", [image], CAT)
        yield made, browser


def page(browser: Browser, **more: Any) -> list[dict[str, Any]]:
    return browser.get("images", queue="audit", **more)["images"]


def test_repeats_look_like_every_other_image(audited: tuple[Project, Browser]):
    _, browser = audited
    shown = page(browser, size=12)
    numbers = [image["id"] for image in shown]
    twice = [image for image in shown if image["id"] <= 8]
    assert len(shown) == len(set(numbers)) == 12 and 1 <= len(twice) <= 4
    for image in shown:
        assert len(image["item"]) == len(shown[0]["item"]) and image.keys() == shown[0].keys()
        hidden = ("event", "class", "guess", "runner_up", "suspicion", "distance")
        assert {name: image[name] for name in hidden} == dict.fromkeys(hidden) and image["state"] == "unlabeled"
    assert [image["id"] for image in page(browser, size=12)] == numbers  # also when the page is loaded again
    assert numbers != sorted(numbers)  # they are among the others


def test_no_image_is_left_out_for_a_repeat(audited: tuple[Project, Browser]):
    _, browser = audited
    found, after = [], {}
    while True:
        told = browser.get("images", queue="audit", size=10, **after)
        found += [image["id"] for image in told["images"]]
        if told["next"] is None:
            break
        after = {"after": told["next"]}
    assert set(found) >= set(range(9, COUNT + 1)) and len(found) == len(set(found))


def test_the_audit_goes_on_until_the_repeats_are_answered(audited: tuple[Project, Browser]):
    """Pages are fetched ahead, before there is anything to repeat: what comes then is a last page of the audit."""
    _, browser = audited
    for image in page(browser, size=60):
        browser.label("audit", [image], CAT)
    audit = next(queue for queue in browser.get("state")["queues"] if queue["name"] == "audit")
    assert (
        audit["left"] == COUNT - 3 - 5
    )  # without the last three looks, which are too near, and five repeats of before
    found = []
    while rest := page(browser):
        browser.label("audit", rest, CAT)
        found += [image["id"] for image in rest]
    assert len(found) == len(set(found)) == audit["left"]


def test_without_an_audit_nothing_is_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Repeats alone in the audit would be known for what they are, and taken for the audit of a day without one."""
    monkeypatch.setattr(repeats, "OWN", 1.0)
    made = new_project(tmp_path, COUNT)
    with made.store() as store:
        store.put_queue("farthest", range(1, 31), 1)
    with served(made) as browser:
        browser.label("farthest", browser.get("images", queue="farthest", size=30)["images"], CAT)
        queues = {queue["name"]: queue["left"] for queue in browser.get("state")["queues"]}
        assert (queues["farthest"], queues["audit"], page(browser)) == (0, 0, [])
        with made.store() as store:
            store.put_queue("audit", [40], 1)
        assert len(page(browser)) > 1


def answered(project: Project) -> list[tuple[int, State, int | None]]:
    with project.store() as store:
        assert store.check() == []
        return [(look.image, look.state, look.class_id) for look in store.second_looks()]


def test_an_answer_changes_nothing_that_stands_and_comes_with_an_event(audited: tuple[Project, Browser]):
    project, browser = audited
    twice = next(image for image in page(browser, size=12) if image["id"] <= 8)
    change = browser.change(twice, DOG)
    told = browser.post("label", queue="audit", changes=[change])
    assert told["done"][0]["event"] > 0 and told["done"][0]["image"] == twice["id"]
    assert browser.post("label", queue="audit", changes=[change])["done"] == told["done"]
    assert answered(project) == [(twice["id"], State.GIVEN, DOG)]
    with project.store() as store:
        found = store.now_of(twice["id"])
        assert found is not None and found.class_id == CAT
        assert store.queue("second-look").tolist() == [twice["id"]]  # the two answers differ
    assert twice["id"] not in [image["id"] for image in page(browser, size=12)]


def test_an_answer_can_be_corrected_and_taken_back(audited: tuple[Project, Browser]):
    project, browser = audited
    twice = next(image for image in page(browser, size=12) if image["id"] <= 8)
    first = browser.label("audit", [twice], DOG)["done"][0]["event"]
    second = browser.post("label", queue="audit", changes=[browser.change(twice, CAT, seen=first)])["done"][0]["event"]
    assert answered(project) == [(twice["id"], State.GIVEN, CAT)]
    with project.store() as store:
        assert store.queue("second-look").tolist() == []
    assert browser.refused("POST", "/api/undo", {"who": "ann", "event": first})[0] == 400
    (told,) = browser.post("undo", events=[second], key="back")["undone"]
    assert (told["image"], told["state"], told["class"]) == (twice["id"], "unlabeled", None) and told[
        "now_event"
    ] > second
    assert browser.post("undo", events=[second], key="back")["undone"] == [told]
    assert answered(project) == [] and twice["id"] in [image["id"] for image in page(browser, size=12)]


def test_the_newest_answer_may_be_one_on_a_repeat(audited: tuple[Project, Browser]):
    project, browser = audited
    shown = page(browser, size=12)
    twice = next(image for image in shown if image["id"] <= 8)
    fresh = next(image for image in shown if image["id"] > 8)
    browser.label("audit", [fresh], CAT)
    browser.label("audit", [twice], CAT)
    assert [row["image"] for row in browser.post("undo", count=2)["undone"]] == [twice["id"], fresh["id"]]
    assert answered(project) == []


def test_other_reviewers_repeat_a_few_too(audited: tuple[Project, Browser], monkeypatch: pytest.MonkeyPatch):
    _, browser = audited
    bob = Browser(browser.port, browser.token, "bob")
    for image in page(bob, size=4):
        bob.label("audit", [image], DOG)
    assert all(image["id"] > 8 for image in page(bob, size=20))
    monkeypatch.setattr(repeats, "OTHERS", 1.0)
    assert any(image["id"] <= 8 for image in page(bob, size=20))


def test_about_a_twentieth_comes_twice(tmp_path: Path):
    made = new_project(tmp_path, 0)
    with served(made) as browser, made.store():
        from semisonic.daily.page.api import Api

        seal = Api(made).seal
        drawn = sum(seal.draw(f"repeat ann\n{image}") < repeats.OWN for image in range(2000))
    assert 60 < drawn < 140 and browser.who == "ann"
