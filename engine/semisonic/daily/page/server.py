"""The labeling page's server: this machine alone, and only who has the address that it prints.

It listens on 127.0.0.1. Whatever belongs to the project asks for a random token, which the printed address carries in
its fragment, so that no browser sends it by itself or to another place. A request whose Host header names another
machine is refused, or a foreign page could reach this one by a name that it makes point here. Images are asked for by
number: no path comes from a browser.
"""

import re
import secrets
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from typing import Any
from urllib.parse import SplitResult, parse_qsl, urlsplit

from semisonic.daily.page.api import Api
from semisonic.daily.page.requests import MOST_BYTES, Refused, read_json, wrong
from semisonic.daily.page.thumbnails import NoPicture, placeholder
from semisonic.daily.project import Project
from semisonic.daily.store import Conflict, DatabaseProblem, Store
from semisonic.pages.rendering import render
from semisonic.schema import UserError
from semisonic.text import dump_json, printable

HOST = "127.0.0.1"
PORT = 8765
IDLE = 60.0
"""Seconds that a connection may be silent, or one of its requests take to arrive."""

PATIENCE = 2.0
"""The same for the rest of a request that is refused."""
PASSED_OVER = 16 * MOST_BYTES
"""Bytes of a request that is too large which are read all the same, so that the browser can be told."""
CACHE_KB = 8_192
"""Of the store, for each connection: a browser has several."""

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
SECURITY = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
TYPES = {
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
FOR_EVER = "private, max-age=31536000, immutable"
"""How long a browser may keep an image's picture: its number stands for its content."""
_PICTURE = re.compile(r"/(thumb|image)/([1-9]\d{0,17})")


class PageServer(ThreadingHTTPServer):
    """One project's page. Each connection is a thread, and each thread that asks for it has a connection to the store.

    Raises OSError where the port cannot be had. port: 0 = any that is free.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, project: Project, port: int = PORT, who: str = "", token: str | None = None) -> None:
        super().__init__((HOST, port), Handler)
        self.token = token or secrets.token_urlsafe(24)
        self.hosts = {f"{name}:{self.server_port}" for name in (HOST, "localhost")}
        self.static = static_files()
        self.page = render("daily/page/page.html.j2").encode()
        self._project = project
        self._local = threading.local()
        try:
            self.api = Api(project, who)
        except BaseException:
            self.server_close()
            raise

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.server_port}/#token={self.token}"

    def store(self) -> Store:
        """The calling thread's connection."""
        if not hasattr(self._local, "store"):
            self._local.store = store = self._project.store()
            store.connection.execute(f"PRAGMA cache_size = -{CACHE_KB}")
        return self._local.store

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            if hasattr(self._local, "store"):
                self._local.store.close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), OSError):  # a browser that went away is no news
            traceback.print_exc()

    def server_close(self) -> None:
        super().server_close()
        if hasattr(self, "api"):
            self.api.close()


def static_files() -> dict[str, tuple[bytes, str]]:
    """The page's own files: an address's last part -> the content and its media type."""
    found = files("semisonic").joinpath("daily", "page", "static").iterdir()
    return {
        file.name: (file.read_bytes(), TYPES[kind])
        for file in found
        if (kind := file.name.rpartition(".")[2]) in TYPES
    }  # fmt: skip


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "semisonic"
    sys_version = ""
    timeout = IDLE
    wbufsize = -1
    disable_nagle_algorithm = True  # with both an answer leaves at once and as a whole
    server: PageServer

    def do_GET(self) -> None:
        self._answer(self._get)

    do_HEAD = do_GET

    def do_POST(self) -> None:
        self._answer(self._post)

    def _other(self) -> None:
        self._answer(self._refuse_method)

    do_PUT = do_DELETE = do_PATCH = do_OPTIONS = do_TRACE = do_CONNECT = _other

    # What is asked.

    def _answer(self, respond: Callable[[SplitResult], None]) -> None:
        """Whatever happens, the browser gets one line and the terminal what nobody foresaw."""
        self._read_body = False
        try:
            self._check_host()
            self.close_connection |= self.command in ("GET", "HEAD") and "Content-Length" in self.headers
            respond(_address(self.path))
        except Refused as refusal:
            self._send_error(refusal.status, str(refusal))
        except Conflict as conflict:
            self._send_error(HTTPStatus.CONFLICT, " ".join(conflict.messages))
        except DatabaseProblem as problem:  # a full disk or a busy file: the browser keeps the answer and tries again
            self._send_error(HTTPStatus.SERVICE_UNAVAILABLE, "; ".join(problem.messages))
        except UserError as error:
            self._send_error(HTTPStatus.BAD_REQUEST, "; ".join(error.messages))
        except (ConnectionError, TimeoutError):
            self.close_connection = True
        except Exception as error:
            traceback.print_exc()
            self._send_error(HTTPStatus.INTERNAL_SERVER_ERROR, f"the server failed ({type(error).__name__})")

    def _check_host(self) -> None:
        hosts = self.headers.get_all("Host", [])
        if len(hosts) != 1 or hosts[0].lower() not in self.server.hosts:
            raise Refused(HTTPStatus.FORBIDDEN, "this page is asked for by the address that it was started with")
        origin = self.headers.get("Origin")
        # A browser that must not tell where a request comes from says null; the token decides there.
        if origin not in (None, "null") and origin.lower() not in {f"http://{host}" for host in self.server.hosts}:
            raise Refused(HTTPStatus.FORBIDDEN, "another page may not use this one")

    def _check_token(self, given: str | None) -> None:
        if given is None or not secrets.compare_digest(given.encode("utf-8", "replace"), self.server.token.encode()):
            raise Refused(
                HTTPStatus.FORBIDDEN,
                "the token is missing or of another start; open the address that the command printed",
            )

    def _get(self, url: SplitResult) -> None:
        if url.path == "/":
            return self._send(HTTPStatus.OK, self.server.page, "text/html; charset=utf-8")
        if url.path.startswith("/static/") and (file := self.server.static.get(url.path[8:])):
            return self._send(HTTPStatus.OK, *file)
        query = _query(url)
        if found := _PICTURE.fullmatch(url.path):
            self._check_token(query.get("token"))
            return self._send_picture(found[1], int(found[2]))
        self._run("GET", url.path, query)

    def _post(self, url: SplitResult) -> None:
        self._run("POST", url.path, None)

    def _refuse_method(self, url: SplitResult) -> None:
        raise Refused(HTTPStatus.METHOD_NOT_ALLOWED, f"{self.command} is no request of this page")

    def _run(self, method: str, path: str, query: Mapping[str, str] | None) -> None:
        if not path.startswith("/api/"):
            raise Refused(HTTPStatus.NOT_FOUND, "there is nothing at this address")
        self._check_token(self.headers.get("X-Token"))
        call = self.server.api.call(method, path[5:])
        given = query if query is not None else self._json_body()
        self._send_json(HTTPStatus.OK, call(self.server.store(), given))

    def _json_body(self) -> dict[str, Any]:
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdecimal()) or "Transfer-Encoding" in self.headers:
            raise Refused(HTTPStatus.LENGTH_REQUIRED, "a request needs its length")
        if len(length) > 12 or int(length) > MOST_BYTES:
            raise Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"a request has at most {MOST_BYTES:,} bytes")
        if self.headers.get_content_type() != "application/json":
            raise Refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "a request is application/json")
        body = self.rfile.read(int(length))
        if len(body) < int(length):
            raise ConnectionAbortedError("the browser went away in the middle of a request")
        self._read_body = True
        return read_json(body)

    # What is answered.

    def _send_picture(self, kind: str, image: int) -> None:
        try:
            picture = self.server.api.picture(self.server.store(), image, whole=kind == "image")
        except NoPicture as problem:
            return self._send(HTTPStatus.GONE, *placeholder("no picture"), {"X-Problem": _header(str(problem))})
        self._send(HTTPStatus.OK, *picture, {"Cache-Control": FOR_EVER})

    def _send_json(self, status: HTTPStatus, value: Any) -> None:
        self._send(status, dump_json(value).encode(), "application/json")

    def _send_error(self, status: HTTPStatus, line: str) -> None:
        if self.command not in ("GET", "HEAD") and not self._read_body:
            self._pass_over_body()
        self._send_json(status, {"error": printable(line, 500)})

    def _pass_over_body(self) -> None:
        """Of a request that is refused: a browser that still sends would not see the answer."""
        self.close_connection = True  # what is left of it would be taken for the next request
        length = self.headers.get("Content-Length", "") if getattr(self, "headers", None) else ""
        left = int(length) if length.isascii() and length.isdecimal() and len(length) < 9 else 0
        self.connection.settimeout(PATIENCE)
        with suppress(OSError):
            while 0 < left <= PASSED_OVER and (piece := self.rfile.read(min(left, 2**16))):
                left -= len(piece)

    def _send(self, status: HTTPStatus, content: bytes, kind: str, headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (SECURITY | {"Cache-Control": "no-store"} | dict(headers or {})).items():
            self.send_header(name, value)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What the standard library finds wrong with a request, in the same form."""
        self.command = getattr(self, "command", None) or "GET"
        self.close_connection = True
        self._read_body = False
        self._send_error(HTTPStatus(code), f"not a request of this page: {message or HTTPStatus(code).phrase}")

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the terminal is for what a person must know, and addresses hold the token."""


def _address(text: str) -> SplitResult:
    try:
        return urlsplit(text)
    except ValueError:
        raise wrong("this is no address") from None


def _query(url: SplitResult) -> dict[str, str]:
    try:
        return dict(parse_qsl(url.query, keep_blank_values=True, max_num_fields=50))
    except ValueError:
        raise wrong("this address asks for too much at once") from None


def _header(text: str) -> str:
    """Text as the value of a header."""
    return printable(text, 300).encode("ascii", "backslashreplace").decode()
