"""Who may ask the page's server for what: Host, token, addresses, methods and bodies."""

import socket
from contextlib import suppress
from pathlib import Path
from unittest.mock import patch

import pytest

from semisonic.daily.page import server
from semisonic.daily.page.requests import MOST_BYTES
from semisonic.daily.project import Project
from semisonic.daily.store.database import DatabaseProblem
from tests.support.labeling_page import Browser, new_project, served

STATE = "/api/state?who=ann"


def test_the_page_and_its_files_need_no_token_and_hold_nothing_of_the_project(reading: Browser):
    page = reading.ask("GET", "/", headers={"X-Token": ""})
    script = reading.ask("GET", "/static/app.js", headers={"X-Token": ""})
    assert (page.status, page.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert (script.status, script.headers["Content-Type"]) == (200, "text/javascript; charset=utf-8")
    assert reading.token.encode() not in page.content + script.content and b"cat" not in page.content


def test_every_answer_has_the_security_headers(reading: Browser):
    for path in ("/", "/static/app.js", STATE, f"/thumb/1?token={reading.token}", "/nothing"):
        headers = reading.ask("GET", path).headers
        policy = dict(part.split(" ", 1) for part in headers["Content-Security-Policy"].split("; "))
        assert policy["script-src"] == policy["style-src"] == "'self'" and policy["frame-ancestors"] == "'none'"
        assert headers["X-Content-Type-Options"] == "nosniff" and headers["Referrer-Policy"] == "no-referrer"
    assert reading.ask("GET", STATE).headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("host", ["evil.example:PORT", "evil.example", "127.0.0.1", "127.0.0.1:1", "[::1]:PORT", ""])
@pytest.mark.parametrize("path", [STATE, "/", "/thumb/1?token=TOKEN"])
def test_a_foreign_host_is_refused(reading: Browser, host: str, path: str):
    headers = {"Host": host.replace("PORT", str(reading.port))}
    status, line = reading.refused("GET", path.replace("TOKEN", reading.token), headers=headers)
    assert (status, line) == (403, "this page is asked for by the address that it was started with")


def test_localhost_is_this_machine_too(reading: Browser):
    assert reading.ask("GET", STATE, headers={"Host": f"LocalHost:{reading.port}"}).status == 200


def test_another_page_is_refused(reading: Browser):
    assert reading.refused("GET", STATE, headers={"Origin": "http://evil.example"})[0] == 403
    assert reading.refused("GET", STATE, headers={"Origin": f"http://127.0.0.1:{reading.port + 1}"})[0] == 403
    assert reading.ask("GET", STATE, headers={"Origin": f"http://127.0.0.1:{reading.port}"}).status == 200


@pytest.mark.parametrize("token", ["", "wrong", "é", "TOKEN "])
def test_without_the_token_nothing_of_the_project_is_told(reading: Browser, token: str):
    given = token.replace("TOKEN", reading.token[:-1])
    for method, path in (("GET", STATE), ("GET", "/api/nothing"), ("POST", "/api/label"), ("POST", "/api/undo")):
        raw = b"{}" if method == "POST" else None
        status, line = reading.refused(method, path, raw=raw, headers={"X-Token": given.encode().decode("latin-1")})
        assert status == 403 and line.startswith("the token is missing or of another start")
    for path in ("/thumb/1", "/image/1", f"/thumb/1?token={reading.token[:-1]}", "/thumb/999?token="):
        assert reading.refused("GET", path)[0] == 403


@pytest.mark.parametrize(
    "path",
    [
        "/image/../../etc/passwd", "/image/..%2f..%2fetc%2fpasswd", "/thumb/1/../2", "/thumb/-1", "/thumb/0", "/thumb/01",
        "/thumb/1e3", "/thumb/99999999999999999999", "/static/../server.py", "/static/..%2fserver.py", "/static/",
        "/static/templates/page.html.j2", "/static//etc/passwd", "/api/", "/api/nothing", "/favicon.ico", "//etc/passwd",
        "/thumb/25", "/thumb/%31",
    ],
)  # fmt: skip
def test_there_is_nothing_at_other_addresses(reading: Browser, path: str):
    status, line = reading.refused("GET", f"{path}?token={reading.token}")
    assert status == 404 and "passwd" not in line


def test_addresses_that_are_none(reading: Browser):
    assert reading.refused("GET", "http://[::1/") == (400, "this is no address")
    assert reading.refused("GET", f"{STATE}&{'a=1&' * 60}")[0] == 400


def test_a_body_where_none_belongs_is_no_next_request(reading: Browser):
    """Whoever gets one request through may not hide another in it."""
    with socket.create_connection(("127.0.0.1", reading.port)) as raw:
        inner = b"GET /static/app.js HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n\r\n" % reading.port
        raw.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nContent-Length: %d\r\n\r\n" % (reading.port, len(inner)))
        raw.sendall(inner)
        raw.settimeout(10)
        received = b""
        with suppress(ConnectionResetError):
            while piece := raw.recv(2**16):
                received += piece
    assert received.count(b"HTTP/1.1 ") == 1


def test_methods(reading: Browser):
    for method in ("PUT", "DELETE", "PATCH", "OPTIONS"):
        assert reading.refused(method, STATE)[0] == 405
    assert reading.refused("POST", STATE, {})[0] == 405 and reading.refused("GET", "/api/label")[0] == 405
    head = reading.ask("HEAD", "/")
    assert (head.status, head.content) == (200, b"") and int(head.headers["Content-Length"]) > 100
    assert reading.refused("FETCH", STATE)[0] == 501


@pytest.mark.parametrize(
    ("raw", "headers", "status"),
    [
        (b"x" * (MOST_BYTES + 1), {}, 413),
        (None, {"Content-Length": "9" * 30}, 413),
        (None, {"Content-Length": "-1"}, 411),
        (None, {"Content-Length": "1_0"}, 411),
        (b"{}", {"Content-Length": "2", "Transfer-Encoding": "chunked"}, 411),
        (b"{}", {"Content-Type": "text/plain"}, 415),
        (b"{", {}, 400), (b"[]", {}, 400), (b"\xff", {}, 400), (b"[" * 100_000, {}, 400), (b'{"who": NaN}', {}, 400),
    ],
)  # fmt: skip
def test_bodies_that_are_none(reading: Browser, raw: bytes | None, headers: dict[str, str], status: int):
    assert reading.refused("POST", "/api/label", raw=raw, headers=headers)[0] == status
    assert reading.get("state")["day"] == 1  # and the server goes on


@pytest.mark.parametrize(
    ("body", "line"),
    [
        ({}, "who: Field required"),
        ({"who": "ann", "queue": "free", "changes": []}, "changes: List should have at least 1 item"),
        ({"who": "\x1b[2J", "queue": "free", "changes": [{}]}, "changes.0.image: Field required"),
        ({"who": "ann", "queue": "../x", "changes": ["CHANGE"]}, "queue: there is none called ../x; one of audit"),
        ({"who": "\x1b[2J", "queue": "free", "changes": ["CHANGE"]}, "who: the name of who is reviewing"),
        ({"who": "a" * 101, "queue": "free", "changes": ["CHANGE"]}, "who: String should have at most 100"),
        ({"who": "ann", "queue": "free", "changes": ["CHANGE"] * 1001}, "changes: List should have at most 1000"),
    ],
)
def test_requests_of_another_form(reading: Browser, body: dict, line: str):
    change = {"key": "k", "image": 1, "item": "i", "answer": {"class": 1}}
    if "changes" in body:
        body = body | {"changes": [change if one == "CHANGE" else one for one in body["changes"]]}
    status, told = reading.refused("POST", "/api/label", body)
    assert status == 400 and told.startswith(line)


def test_an_unforeseen_error_is_told_to_the_terminal_alone(browser: Browser, capfd: pytest.CaptureFixture[str]):
    with patch("semisonic.daily.page.api.keys_of", side_effect=ZeroDivisionError("secret")):
        assert browser.refused("GET", STATE) == (500, "the server failed (ZeroDivisionError)")
    assert "ZeroDivisionError: secret" in capfd.readouterr().err


def test_a_store_that_cannot_write_is_no_mistake_of_the_browser(browser: Browser):
    """It keeps its answers and tries again, which it would not for a request that is wrong."""
    image = browser.get("images", queue="free")["images"][0]
    body = {"who": "ann", "queue": "free", "changes": [browser.change(image, 1)]}
    with patch("semisonic.daily.store.labels.append", side_effect=DatabaseProblem("labels.db: the disk is full")):
        assert browser.refused("POST", "/api/label", body) == (503, "labels.db: the disk is full")
    assert browser.label("free", [image], 1)["done"]


def test_nothing_is_printed(reading: Browser, capfd: pytest.CaptureFixture[str]):
    reading.get("state")
    reading.refused("GET", "/nothing")
    with socket.create_connection(("127.0.0.1", reading.port)) as raw:
        raw.sendall(b"NONSENSE\r\n\r\n")
        assert b"not a request of this page" in raw.recv(1000)
    with socket.create_connection(("127.0.0.1", reading.port)) as raw:
        raw.sendall(b"POST /api/label HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nContent-Length: 9\r\n" % reading.port)
        raw.sendall(b"Content-Type: application/json\r\nX-Token: %s\r\n\r\n{" % reading.token.encode())
    assert reading.get("state")["day"] == 1
    out, err = capfd.readouterr()
    assert (out, err) == ("", "")


def test_connections_to_the_store_end_with_their_threads(project: Project):
    with served(project) as browser:
        closed = []
        with patch.object(server.Store, "close", lambda store: closed.append(store)):
            browser.get("state")
            browser._local.connection.close()
            assert browser.get("state")["day"] == 1
            for _ in range(100):
                if closed:
                    break
                browser.get("state")
    assert len(closed) == 1


def test_each_start_has_a_token_of_its_own(tmp_path: Path):
    made = new_project(tmp_path, 0)
    with server.PageServer(made, 0) as first, server.PageServer(made, 0) as second:
        assert first.token != second.token and len(first.token) >= 32
        assert first.url == f"http://127.0.0.1:{first.server_port}/#token={first.token}"
        assert first.server_address[0] == "127.0.0.1"
