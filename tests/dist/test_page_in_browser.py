"""The labeling page in a real browser: everything by keyboard, nothing lost, nobody's text run as code."""

import http.client
import re
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from semisonic.daily.project import Project
from semisonic.daily.store import State
from tests.support import page_in_browser
from tests.support.page_in_browser import CLASSES, QUEUES, Person, serving, start

pytestmark = pytest.mark.browser

EVIL_FILE = '"><img src=x onerror=document.title=1>.png'
EVIL_CLASS = "<script>document.title=2</script>"


@pytest.fixture
def person(chromium: Any) -> Iterator[Callable[..., Person]]:
    """Opens a window of its own for somebody; all are closed at the end of the test."""
    opened: list[Person] = []

    def open_for(name: str = "Ada", **settings: Any) -> Person:
        opened.append(Person(chromium, name, **settings))
        return opened[-1]

    yield open_for
    for one in opened:
        one.close()


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return page_in_browser.project(tmp_path)


@pytest.fixture
def url(project: Project) -> Iterator[str]:
    with serving(project) as server:
        yield server.url


def said(project: Project) -> dict[int, tuple[State, str | None]]:
    """What people have said of each image by now: its state, and the name of its class."""
    with project.store() as store:
        assert store.check(files=False) == []
        names = {row.id: row.name for row in store.classes()}
        now = store.current()
    rows = zip(now.image.tolist(), now.state.tolist(), now.class_id.tolist(), strict=True)
    return {
        image: (State(state), names.get(class_id))
        for image, state, class_id in rows
        if State(state) not in (State.AUTO, State.UNLABELED)
    }


def sources(project: Project) -> Counter[tuple[str, str]]:
    with project.store() as store:
        return Counter(store.connection.execute("SELECT kind, source FROM event WHERE image IS NOT NULL").fetchall())


def test_forty_images_by_keyboard_alone_then_undo_and_the_rest_of_the_page(person, project, url):
    ada = person().open(url, "suspicious")
    first = QUEUES["suspicious"][0]
    keys = ("Space", "1", "2", "3", "x", "?", "Space", "3") * 5
    ada.press(*keys).settled()
    expected = {}
    for image, key in enumerate(keys, first):
        if key in "x?":
            expected[image] = (State.REJECTED if key == "x" else State.UNSURE, None)
        else:
            expected[image] = (State.REVIEWED, CLASSES[image % 3] if key == "Space" else CLASSES[int(key) - 1])
    given = dict.fromkeys(QUEUES["given"], (State.GIVEN, "cat"))
    assert said(project) == expected | given

    ada.press("u", "u", "u", "u", "u").settled()
    assert said(project) == {image: what for image, what in expected.items() if image < first + 35} | given
    assert ada.current() == first + 35 and ada.tones().count("open") == 25

    ada.press("Enter").settled()
    rest = {image: (State.REVIEWED, CLASSES[image % 3]) for image in range(first + 35, first + 60)}
    assert {image: what for image, what in said(project).items() if image >= first + 35} == rest | given
    assert sources(project)[("label", "page:accept")] == 25
    ada.sees("25 images accepted as shown").until(lambda: len(ada.tones()) == 20)  # the next page

    ada.press("u").settled().until(lambda: ada.tones().count("open") == 25)
    assert ada.problems == []


def test_a_queue_that_hides_the_guess_confirms_nothing(person, project, url):
    ada = person().open(url, "audit")
    assert not set(CLASSES) & set(ada.page.inner_text(".wall").split())
    ada.press("Space", "Enter").sees("This queue hides the guess")
    assert ada.tones() == ["open"] * 30
    ada.press("2", "2").settled()
    assert {image: what for image, what in said(project).items() if image < 31} == dict.fromkeys(
        (1, 2), (State.GIVEN, "dog")
    )


def test_two_reviewers_at_once(person, project, url):
    ada, ben = (person(name).open(url, "suspicious") for name in ("Ada", "Ben"))
    ben.press("2").settled()
    ada.press("1", "3").settled().sees("photo-031.png: Ben has said dog meanwhile; shown now.")
    assert [said(project)[image] for image in (31, 32)] == [(State.REVIEWED, "dog"), (State.REVIEWED, "horse")]
    ada.press("u").settled()  # the answer that was stored, and no other
    assert [said(project).get(image) for image in (31, 32)] == [(State.REVIEWED, "dog"), None]
    ada.press("3").settled().page.get_by_text("Say cat all the same").click()
    ada.until(lambda: said(project)[31] == (State.REVIEWED, "cat")).settled()
    ben.press("Enter").settled()
    ada.press("3", "Enter").settled().sees("Ben answered 57 images of these meanwhile; what they said is shown now.")
    assert said(project)[33] == (State.REVIEWED, "cat")


@pytest.mark.slow
def test_answers_given_after_a_kill_arrive_at_the_next_server(person, project):
    process, url = start(project)
    try:
        ada = person().open(url, "suspicious")
        ada.press("1", "2", "3").settled()
        process.send_signal(signal.SIGKILL)
        process.wait()
        ada.press("1", "x", "2", "u", "3").sees("3 unsent").sees("The server does not answer.")
        assert len(said(project)) == 3 + 5
        process, url = start(project, int(re.search(r":(\d+)/", url)[1]))
        ada.page.click("#unsent")  # tries now
        ada.sees("The server refuses this page: the token is missing")  # that of the killed one
        ada.open(url).settled()
    finally:
        process.kill()
        process.wait()
    stored = {image: what for image, what in said(project).items() if image in QUEUES["suspicious"]}
    words = ["cat", "dog", "horse", "cat", None, "horse"]
    assert stored == {
        image: (State.REJECTED if word is None else State.REVIEWED, word) for image, word in enumerate(words, 31)
    }
    assert sources(project)[("label", "page:suspicious")] == 6


def test_answers_given_offline_are_shown_as_unsent_and_stored_once(person, project, url):
    ada = person().open(url, "suspicious")
    ada.context.set_offline(True)
    ada.press("1", "2").sees("2 unsent").sees("The server does not answer.")
    assert ada.page.get_attribute(".tile", "data-status") == "unsent"
    ada.context.set_offline(False)
    ada.settled().sees("The server is back.")
    assert said(project)[31] == (State.REVIEWED, "cat") and sources(project)[("label", "page:suspicious")] == 2


@pytest.mark.slow
def test_an_answer_whose_confirmation_is_lost_is_stored_once_and_can_be_undone(person, project, url):
    ada = person().open(url, "suspicious")
    lost = []

    def lose_first(route):
        if lost:
            return route.continue_()
        lost.append(route.fetch())
        route.abort()

    ada.page.route("**/api/label", lose_first)
    ada.press("1").until(lambda: lost)
    assert said(project)[31] == (State.REVIEWED, "cat")
    ada.press("u").settled()
    assert 31 not in said(project) and sources(project)[("label", "page:suspicious")] == 1


@pytest.mark.slow
def test_a_second_thought_waits_for_the_first_to_be_stored(person, project, url):
    ada = person().open(url, "suspicious")
    held: list[Any] = []
    ada.page.route("**/api/label", lambda route: held.append(route) if not held else route.continue_())
    ada.press("1").until(lambda: held)
    ada.press("ArrowLeft", "2", "ArrowLeft", "3", "u")
    held[0].continue_()
    ada.until(lambda: said(project).get(31) == (State.REVIEWED, "dog")).settled()
    assert sources(project)[("label", "page:suspicious")] == 2
    ada.press("ArrowRight", "u")  # the second thought, wherever the person looks by now
    ada.until(lambda: said(project)[31] == (State.REVIEWED, "cat")).settled()


def test_what_the_server_will_never_take_is_told_and_not_tried_for_ever(person, project, url):
    ada = person().open(url, "suspicious")
    ada.page.route("**/api/label", lambda route: route.fulfill(status=400, json={"error": "no such class"}))
    ada.press("1").settled().sees("Not stored, photo-031.png: no such class")
    assert ada.tones()[0] == "error"


def test_names_are_text_and_who_has_no_token_or_another_host_gets_nothing(person, tmp_path):
    project = page_in_browser.project(tmp_path, ["cat", EVIL_CLASS, "horse"], {31: EVIL_FILE})
    with serving(project) as server:
        ada = person().open(server.url, "suspicious").press("2").settled()
        ada.press("ArrowLeft", "g").sees(EVIL_FILE).press("u").settled().press("2")  # single, and its messages
        ada.press("h").sees(EVIL_CLASS).press("Escape", "/").page.keyboard.type("<script")
        ada.press("Enter", "g", "s").sees(EVIL_CLASS).press("Escape").settled()
        ada.queue("suspicious").page.select_option("[aria-label=Label]", label=EVIL_CLASS)
        ada.page.select_option("[aria-label='Runner-up']", label="horse")
        labels = "(all) => all.map((one) => one.textContent)"
        ada.until(lambda: {*ada.page.eval_on_selector_all(".words", labels)} == {EVIL_CLASS})
        assert ada.page.title() == "project · Semisonic"
        assert (
            ada.page.query_selector("img[src=x]") is None and ada.page.query_selector("main script, nav script") is None
        )
        assert ada.problems == []

        bare = person()
        bare.page.goto(server.url.split("#")[0])
        bare.sees("The address is not whole")
        assert bare.page.query_selector(".tile") is None

        token, host = server.token, f"127.0.0.1:{server.server_port}"
        assert status(server, "/api/state?who=Ada", {"Host": host, "X-Token": token}) == 200
        assert status(server, "/api/state?who=Ada", {"Host": host}) == 403
        assert status(server, f"/api/state?who=Ada&token={token}", {"Host": host}) == 403
        assert status(server, "/api/state?who=Ada", {"Host": "evil.example", "X-Token": token}) == 403
        assert status(server, "/", {"Host": "evil.example"}) == 403
        assert status(server, "/thumb/1", {"Host": host}) == 403
        for path in ("/image/../../../etc/passwd", "/static/../../../../../../etc/passwd", "/static/%2e%2e/server.py"):
            assert status(server, f"{path}?token={token}", {"Host": host, "X-Token": token}) == 404


def status(server: Any, path: str, headers: dict[str, str]) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port)
    connection.putrequest("GET", path, skip_host=True)
    for name, value in headers.items():
        connection.putheader(name, value)
    connection.endheaders()
    reply = connection.getresponse()
    reply.read()
    connection.close()
    return reply.status


def test_a_phone(person, project, url):
    ada = person(viewport={"width": 390, "height": 800}, has_touch=True, is_mobile=True).open(url, "suspicious")
    wide = "[document.documentElement.scrollWidth, document.body.scrollWidth].every((width) => width <= 390)"
    assert ada.page.evaluate(wide)
    ada.page.locator(".tile").nth(2).tap()
    ada.page.get_by_role("button", name="horse").tap()
    ada.settled()
    assert said(project)[33] == (State.REVIEWED, "horse")
    ada.page.get_by_role("button", name="Single").tap()
    ada.page.wait_for_selector(".shot")
    assert ada.page.evaluate(wide)
    ada.page.click("#help")
    assert ada.page.evaluate(wide)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_main_texts_stand_out_from_what_is_behind_them(person, url, scheme):
    ada = person(color_scheme=scheme).open(url, "suspicious").press("Space", "1", "x", "?")
    ratios = ada.page.evaluate(
        CONTRASTS,
        "#project, #hint, .tab, .count, .words, .second, .answer, .class, .pager span, .pager .primary, #progress .pale",
    )
    assert len(ratios) > 50 and min(ratios.values()) >= 4.5, {
        text: ratio for text, ratio in ratios.items() if ratio < 4.5
    }
    nameless = "(all) => all.filter((one) => !(one.innerText || one.ariaLabel)).map((one) => one.outerHTML)"
    assert ada.page.eval_on_selector_all("button, input, select, [role=option]", nameless) == []
    dark = ada.page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 23, 27)"
    assert dark == (scheme == "dark")
    if not dark:
        ada.page.click("#theme")  # the system's colors; then dark, whatever those are
        assert ada.page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 23, 27)"


def test_the_colors_are_those_of_all_pages():
    package = files("semisonic")
    pages = (package / "pages" / "templates" / "style.css.j2").read_text(encoding="utf-8")
    own = (package / "daily" / "page" / "static" / "app.css").read_text(encoding="utf-8")
    colors = re.findall(r"--[\w-]+: #\w+;", pages)
    assert len(colors) > 20 and [color for color in colors if color not in own] == []


CONTRASTS = """(selector) => {
  const channels = (color) => color.match(/[\\d.]+/g).map(Number);
  const light = (color) => {
    const [r, g, b] = channels(color).slice(0, 3).map((c) => c / 255).map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const color = getComputedStyle(at).backgroundColor;
      if ((channels(color)[3] ?? 1) === 1) return color;
    }
    return "rgb(255, 255, 255)";
  };
  const found = {};
  document.querySelectorAll(selector).forEach((element, at) => {
    const [a, b] = [light(getComputedStyle(element).color), light(behind(element))];
    if (element.innerText.trim() && !element.closest(":disabled")) found[`${at} ${element.innerText}`] = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  });
  return found;
}"""


@pytest.mark.slow
def test_keys_are_assigned_and_kept(person, project, url):
    ada = person().open(url, "suspicious")
    ada.page.get_by_text("Assign keys").click()
    ada.page.get_by_label("Key of dog").press("x")
    ada.sees("“x” is a key of this page")
    ada.page.get_by_label("Key of dog").press("k")
    ada.press("Escape", "k").settled()
    ada.page.reload()
    ada.page.wait_for_selector(".tile")
    ada.queue("suspicious").press("2", "k").settled()
    assert said(project)[31] == said(project)[32] == (State.REVIEWED, "dog") and 33 not in said(project)


def test_a_sweep_labels_a_wall_and_leaves_the_odd_one_out(person, project, url):
    ada = person().open(url, "suspicious").press("s")
    ada.page.wait_for_selector(".sweep")
    marked = ada.page.eval_on_selector_all(".sweep .tile", "(tiles) => tiles.map((tile) => Number(tile.dataset.image))")
    assert len(marked) == 51 and not {*marked} & {*QUEUES["audit"]}  # which are shown in the audit alone
    assert {image % 3 for image in marked[:42]} == {31 % 3}  # all that are like it
    ada.press("ArrowRight", "Space", "2").settled().sees("50 images: dog. One undo (u) takes all back.")
    wall = {image for image, what in said(project).items() if what == (State.REVIEWED, "dog")}
    assert wall == {*marked} - {marked[1]}
    ada.press("u").settled()
    assert said(project) == dict.fromkeys(QUEUES["given"], (State.GIVEN, "cat"))
    assert sources(project) == {
        ("label", "import"): 5,
        ("label", "page:suspicious"): 1,
        ("label", "page:sweep"): 49,
        ("undo", "command"): 50,
    }


def test_a_class_among_three_hundred_is_found_by_typing_and_a_new_one_is_made(person, tmp_path):
    project = page_in_browser.project(tmp_path, [f"kind {i:03d}" for i in range(299)] + ["Übersee-Möwe"])
    with serving(project) as server:
        ada = person().open(server.url, "suspicious")
        ada.press("/").page.keyboard.type("mow")
        ada.press("Enter").settled()
        ada.press("/").page.keyboard.type("27")
        ada.press("ArrowDown", "Enter").settled()
        # The dialog answers once it is closed, which may be after a look at what is unsent.
        ada.until(lambda: {31, 32} <= said(project).keys())
        assert [said(project)[image][1] for image in (31, 32)] == ["Übersee-Möwe", "kind 271"]
        ada.press("n").page.keyboard.type("albatross")
        ada.press("Enter").sees("New class: albatross. Find (/) labels this image with it.")
        ada.press("/").page.keyboard.type("albatr")
        ada.press("Enter").until(lambda: 33 in said(project))
        assert said(project)[33] == (State.REVIEWED, "albatross")


def test_the_reviewer_is_asked_once_and_a_picture_that_cannot_be_shown_says_so(person, project, url):
    eva = person("")
    page = eva.page
    page.route("**/thumb/112?*", lambda route: route.abort())
    page.goto(url)
    page.get_by_label("Your name").wait_for()
    page.keyboard.type("Eva")  # in place of the name that is proposed
    page.keyboard.press("Enter")
    page.get_by_text("cannot be shown").wait_for()
    page.reload()
    page.wait_for_selector(".tile")
    assert page.inner_text("#reviewer") == "Eva" and page.query_selector("dialog") is None


def test_labels_of_people_are_accepted_where_they_wait_and_a_queue_says_what_is_left(person, project, url):
    ada = person().open(url, "given").press("2", "Enter").settled().sees("4 images accepted as shown")
    given = {image: said(project)[image] for image in QUEUES["given"]}
    assert Counter(given.values()) == {(State.REVIEWED, "dog"): 1, (State.REVIEWED, "cat"): 4}
    ada.sees("This queue is done")
    ada.queue("farthest").press("1", *["ArrowRight"] * 9, "PageDown", "PageDown").settled().sees(
        "The end of this queue"
    )
    ada.sees("Go on with Farthest (9)").press("Enter").until(lambda: len(ada.tones()) == 9)


@pytest.mark.slow
def test_pages_are_fetched_ahead_and_what_people_decided_is_not_accepted_again(person, url):
    ada = person()
    asked: list[str] = []
    ada.page.on("request", lambda request: asked.append(request.url))
    ada.open(url, "suspicious").until(lambda: any("/thumb/110?" in address for address in asked))
    asked.clear()
    ada.press("PageDown").until(lambda: len(ada.tones()) == 20)
    assert not [address for address in asked if "/api/images" in address]

    ada.queue("free").press("Enter").settled().sees("55 images accepted as shown")  # five have a person's label
    ada.press("Enter").sees("Page 2")
