"""What becomes of answers: stored once, in conflict, accepted, and taken back."""

import threading
from pathlib import Path
from typing import Any

from semisonic.daily.project import Project
from semisonic.daily.store import Change, State, Store
from tests.support.labeling_page import Browser, give_scores, new_project, served

CAT, DOG, HORSE = 1, 2, 3


def now(project: Project, image: int) -> tuple[State, int | None]:
    with project.store() as store:
        found = store.now_of(image)
    assert found is not None
    return found.state, found.class_id


def shown(browser: Browser, queue: str, **more: Any) -> dict[int, dict[str, Any]]:
    return {image["id"]: image for image in browser.get("images", queue=queue, **more)["images"]}


def test_a_label_is_reviewed_where_a_guess_was_shown_and_given_where_none_was(project: Project, browser: Browser):
    suspicious, audit = shown(browser, "suspicious"), shown(browser, "audit")
    browser.label("suspicious", [suspicious[24]], HORSE)
    browser.label("audit", [audit[1]], CAT)
    assert now(project, 24) == (State.REVIEWED, HORSE) and now(project, 1) == (State.GIVEN, CAT)
    with project.store() as store:
        assert [store.event(store.last_event - back).source for back in (1, 0)] == ["page:suspicious", "page:audit"]
        assert store.event(store.last_event).run == "day-001" and store.check() == []


def test_an_image_without_a_guess_is_given_in_every_queue(tmp_path: Path):
    made = new_project(tmp_path, 3)
    with served(made) as browser:
        browser.label("free", [shown(browser, "free")[2]], DOG)
        assert now(made, 2) == (State.GIVEN, DOG)


def test_rejected_and_unsure(project: Project, browser: Browser):
    images = shown(browser, "free")
    browser.label("free", [images[5]], "rejected")
    browser.label("free", [images[6]], "unsure")
    assert now(project, 5) == (State.REJECTED, None) and now(project, 6) == (State.UNSURE, None)


def test_a_change_that_is_sent_twice_is_one(project: Project, browser: Browser):
    image = shown(browser, "suspicious")[24]
    change = browser.change(image, HORSE)
    first = browser.post("label", queue="suspicious", changes=[change])
    with project.store() as store:
        last = store.last_event
    assert browser.post("label", queue="suspicious", changes=[change])["done"] == first["done"]
    with project.store() as store:
        assert store.last_event == last
    other = browser.post("label", queue="suspicious", changes=[change | {"answer": {"class": CAT}}])
    assert not other["done"] and "was sent before, with another change" in other["errors"][0]["message"]


def test_of_one_request_what_can_be_stored_is(project: Project, browser: Browser):
    """Conflicts and mistakes are told by their keys, and keep nothing else back."""
    images = shown(browser, "suspicious")
    Browser(browser.port, browser.token, "bob").label("suspicious", [images[23]], HORSE)
    changes = [
        browser.change(images[24], CAT, "good"),
        browser.change(images[23], CAT, "late"),
        browser.change(images[22], 99, "no class"),
        browser.change(images[21], CAT, "forged", item=images[20]["item"]),
        browser.change(images[20], CAT, "broken", item=images[20]["item"][:-2] + "aa"),
        browser.change(images[19], CAT, "both") | {"answer": {"class": CAT, "state": "unsure"}},
        browser.change(images[18], CAT, "good too"),
    ]
    told = browser.post("label", queue="suspicious", changes=changes)
    assert [row["key"] for row in told["done"]] == ["good", "good too"]
    assert {row["key"]: row["message"].split(":")[-1].strip() for row in told["errors"]} == {
        "no class": "there is no class 99",
        "forged": "the item is another image's",
        "broken": "no item of this page",
        "both": "an answer is a class or a state",
    }
    (conflict,) = told["conflicts"]
    assert conflict["key"] == "late" and conflict["image"] == 23 and "bob has labeled it horse" in conflict["message"]
    assert (
        conflict["now"]["class"] == HORSE and conflict["now"]["state"] == "reviewed" and conflict["now"]["who"] == "bob"
    )
    assert now(project, 23) == (State.REVIEWED, HORSE) and now(project, 21)[0] == State.AUTO
    # Having seen it, the reviewer may insist.
    again = browser.change(images[23], CAT, seen=conflict["now"]["event"])
    assert browser.post("label", queue="suspicious", changes=[again])["done"] and now(project, 23)[1] == CAT


def test_of_two_answers_to_one_image_the_first_stands(project: Project, browser: Browser):
    image = shown(browser, "free")[9]
    changes = [
        browser.change(image, CAT, "one"),
        browser.change(image, DOG, "two"),
        browser.change(image, DOG, "three"),
    ]
    told = browser.post("label", queue="free", changes=changes)
    (stored,) = told["done"]
    assert (stored["key"], now(project, 9)[1]) == ("one", CAT)
    assert [(row["key"], row["now"]["event"]) for row in told["conflicts"]] == [
        ("two", stored["event"]), ("three", stored["event"]),
    ]  # fmt: skip


def test_a_correction_is_made_on_the_event_of_the_answer_before(project: Project, browser: Browser):
    image = shown(browser, "audit")[3]
    first = browser.label("audit", [image], CAT)["done"][0]
    stale = browser.post("label", queue="audit", changes=[browser.change(image, DOG)])
    assert stale["conflicts"] and now(project, 3)[1] == CAT
    browser.post("label", queue="audit", changes=[browser.change(image, DOG, seen=first["event"])])
    assert now(project, 3) == (State.GIVEN, DOG)


def accept(browser: Browser, queue: str, images: list[dict[str, Any]], key: str = "rest") -> Any:
    own = [{"image": image["id"], "item": image["item"], "seen": image["event"]} for image in images]
    return browser.post("accept", queue=queue, key=key, images=own)


def test_accepting_a_page_confirms_what_was_shown_in_one_event_each(project: Project, browser: Browser):
    images = shown(browser, "suspicious", size=5)
    Browser(browser.port, browser.token, "bob").label("suspicious", [images[22]], HORSE)
    told = accept(browser, "suspicious", list(images.values()))
    assert [row["image"] for row in told["done"]] == [24, 23, 21, 20]
    assert [row["image"] for row in told["conflicts"]] == [22]
    assert len({row["event"] for row in told["done"]}) == 4
    for image in (24, 23, 21, 20):
        assert now(project, image) == (State.REVIEWED, images[image]["class"])
    assert accept(browser, "suspicious", list(images.values()))["done"] == told["done"]  # sent again, as after a kill
    assert [image["id"] for image in browser.get("images", queue="suspicious", size=2)["images"]] == [19, 18]


def test_what_is_accepted_is_what_was_shown_and_not_what_a_run_says_since(project: Project, browser: Browser):
    image = shown(browser, "suspicious")[24]
    with project.store() as store:
        give_scores(store, range(1, 24), "day-001-2")  # now image 24 has no label at all
    accept(browser, "suspicious", [image])
    assert now(project, 24) == (State.REVIEWED, image["class"])


def test_a_blind_queue_has_nothing_to_accept(project: Project, browser: Browser):
    image = shown(browser, "audit")[1]
    body = {"who": "ann", "queue": "audit", "key": "k", "images": [{"image": 1, "item": image["item"]}]}
    status, line = browser.refused("POST", "/api/accept", body)
    assert status == 400 and line.startswith("the queue audit shows no labels")
    told = accept(browser, "free", [image])  # shown blind, and sent as if it had been seen elsewhere
    assert not told["done"] and told["errors"][0]["message"] == "it has no label to accept"


def test_decided_images_are_not_accepted_again_but_in_the_queues_of_such_images(project: Project, browser: Browser):
    browser.label("free", [shown(browser, "free")[9]], HORSE)
    image = shown(browser, "free")[9]
    assert accept(browser, "free", [image])["errors"][0]["message"] == "a person has decided it already"
    with project.store() as store:
        store.put_queue("given", [9], 1)
    assert accept(browser, "given", [shown(browser, "given")[9]], "other")["done"]
    assert now(project, 9) == (State.REVIEWED, HORSE) and shown(browser, "given") == {}


def test_undo_any_number_of_times(project: Project, browser: Browser):
    images = shown(browser, "suspicious")
    events = [browser.label("suspicious", [images[number]], HORSE)["done"][0]["event"] for number in (24, 23, 22)]
    assert browser.get("state")["progress"]["looks_today"] == 3
    (last,) = browser.post("undo", event=events[2])["undone"]
    assert (last["image"], last["state"], last["class"]) == (22, "auto", images[22]["class"])
    assert [row["image"] for row in browser.post("undo", count=5)["undone"]] == [23, 24]
    assert browser.post("undo", count=1)["undone"] == [] and browser.get("state")["progress"]["looks_today"] == 0
    assert list(shown(browser, "suspicious")) == list(images)  # back where they were
    again = browser.change(images[22], DOG, seen=last["now_event"])
    assert browser.post("label", queue="suspicious", changes=[again])["done"] and now(project, 22)[1] == DOG
    with project.store() as store:
        assert store.check() == []


def test_one_undo_takes_a_whole_action_back_and_is_stored_once(project: Project, browser: Browser):
    images = shown(browser, "suspicious", size=3)
    events = [row["event"] for row in accept(browser, "suspicious", list(images.values()))["done"]]
    told = browser.post("undo", events=events, key="back")
    assert sorted(row["event"] for row in told["undone"]) == events
    assert browser.post("undo", events=events, key="back")["undone"] == told["undone"]
    assert browser.post("undo", count=1, key="more")["undone"] == []
    browser.label("free", [shown(browser, "free")[2]], CAT)
    first = browser.post("undo", count=1, key="once")["undone"]
    assert first and browser.post("undo", count=1, key="once")["undone"] == first


def test_what_a_blind_queue_did_not_show_an_undo_does_not_tell(browser: Browser):
    event = browser.label("audit", [shown(browser, "audit")[1]], HORSE)["done"][0]["event"]
    (told,) = browser.post("undo", event=event)["undone"]
    assert (told["state"], told["class"]) == ("unlabeled", None)
    (again,) = browser.post("undo", event=told["now_event"])["undone"]
    assert (again["state"], again["class"]) == ("given", HORSE)
    (back,) = browser.post("undo", event=again["now_event"])["undone"]
    assert (back["state"], back["class"]) == ("unlabeled", None)


def test_a_conflict_in_a_blind_queue_tells_what_people_say_alone(browser: Browser):
    image = shown(browser, "audit")[1]
    bob = Browser(browser.port, browser.token, "bob")
    event = bob.label("audit", [image], HORSE)["done"][0]["event"]
    (conflict,) = browser.label("audit", [image], CAT)["conflicts"]
    assert (conflict["now"]["state"], conflict["now"]["class"]) == ("given", HORSE)
    bob.post("undo", event=event)
    (conflict,) = browser.label("audit", [image], CAT)["conflicts"]
    assert (conflict["now"]["state"], conflict["now"]["class"]) == ("unlabeled", None)


def test_undo_of_what_cannot_be(browser: Browser):
    event = browser.label("free", [shown(browser, "free")[2]], CAT)["done"][0]["event"]
    browser.post("undo", event=event)
    assert "it is undone already" in browser.refused("POST", "/api/undo", {"who": "ann", "event": event})[1]
    assert "there is none of this number" in browser.refused("POST", "/api/undo", {"who": "ann", "event": 10**6})[1]
    assert "it is no answer on an image" in browser.refused("POST", "/api/undo", {"who": "ann", "event": 1})[1]
    for body in ({}, {"event": 1, "count": 1}):
        assert "what is to be undone" in browser.refused("POST", "/api/undo", {"who": "ann", **body})[1]


def test_two_reviewers_at_once(tmp_path: Path):
    """Each image is the first's who answers, the other is told, and nothing of it is lost."""
    made = new_project(tmp_path, 30)
    told: dict[str, list[Any]] = {}

    def review(browser: Browser, answer: int) -> None:
        images = browser.get("images", queue="free", size=30)["images"]
        begin.wait()
        told[browser.who] = [browser.label("free", [image], answer) for image in images]

    with served(made) as ann:
        begin = threading.Barrier(2)
        people = [(ann, CAT), (Browser(ann.port, ann.token, "bob"), DOG)]
        threads = [threading.Thread(target=review, args=person) for person in people]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    stored = {who: {row["image"] for answer in rows for row in answer["done"]} for who, rows in told.items()}
    lost = {who: {row["image"] for answer in rows for row in answer["conflicts"]} for who, rows in told.items()}
    assert stored["ann"] | stored["bob"] == set(range(1, 31)) and not stored["ann"] & stored["bob"]
    assert lost == {"ann": stored["bob"], "bob": stored["ann"]}
    with made.store() as store:
        check_labels(store, stored)


def check_labels(store: Store, stored: dict[str, set[int]]) -> None:
    current = store.current()
    labels = dict(zip(current.image.tolist(), current.class_id.tolist(), strict=True))
    assert labels == dict.fromkeys(stored["ann"], CAT) | dict.fromkeys(stored["bob"], DOG)
    assert store.check() == []


def test_an_answer_of_a_command_is_a_conflict_too(project: Project, browser: Browser):
    image = shown(browser, "free")[7]
    with project.store() as store:
        store.record([Change(7, State.REVIEWED, HORSE, None)], "carl", "import")
    assert browser.label("free", [image], CAT)["conflicts"][0]["now"]["who"] == "carl"
