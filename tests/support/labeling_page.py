"""A labeling project of small images, its page served, and a browser's requests to it."""

import http.client
import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlencode
from uuid import uuid4

import numpy as np
from PIL import Image

from semisonic.daily.page.server import PageServer
from semisonic.daily.project import Project
from semisonic.daily.store import NewImage, ScoreBatch, Store
from tests.support.daily import seen

CLASSES = ("cat", "dog", "horse")


def draw(path: Path, number: int, side: int = 8) -> Path:
    """A PNG of one color, another for each number."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (side, side), (number % 256, number // 256 % 256, 7)).save(path)
    return path


def new_project(folder: Path, count: int, classes: Sequence[str] = CLASSES, who: str = "ann") -> Project:
    """A project on day 1 with so many images, numbered from 1 in the order of their names."""
    project = Project.create(folder / "project", classes, 8, who=who)
    images = [seen(draw(folder / "images" / f"{number:04}.png", number)) for number in range(1, count + 1)]
    with project.store() as store:
        store.add_images(images, who)
    return project


def rows_only(store: Store, count: int, first: int = 1) -> None:
    """Images of which there is no file."""
    store.add_images(
        (
            NewImage(
                f"/data/day/{number % 97:02}/photo-{number:07}.jpg", number.to_bytes(16, "big"), 1, 1, 1, 8, 8, None
            )
            for number in range(first, first + count)
        ),
        "ann",
    )


def give_scores(store: Store, images: Sequence[int], run: str = "day-001") -> None:
    """A run's labels: class 1 or 2 by turns, the runner-up the next class, the later images the more suspicious."""
    image = np.array(images, np.int64)
    count = len(image)
    suspicion = np.arange(count) / max(1, count - 1)
    classes = 1 + (image % 2)
    batch = ScoreBatch(image, classes, classes + 1, 1 - suspicion, 1 - suspicion, suspicion, np.full(count, np.nan))
    store.take_over(run, [batch], "ann")


class Browser:
    """Requests of one person; a connection of its own for each thread that makes one."""

    def __init__(self, port: int, token: str, who: str = "ann") -> None:
        self.port, self.token, self.who = port, token, who
        self._local = threading.local()

    def ask(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None, raw: bytes | None = None
    ) -> SimpleNamespace:
        """status, headers, content (bytes), and `json` where it is that."""
        if not hasattr(self._local, "connection"):
            self._local.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection = self._local.connection
        sent = {"X-Token": self.token, "Host": f"127.0.0.1:{self.port}"} | (headers or {})
        data = raw if body is None else json.dumps(body).encode()
        if data is not None:
            sent.setdefault("Content-Type", "application/json")
        try:
            connection.request(method, path, data, {name: value for name, value in sent.items() if value is not None})
            reply = connection.getresponse()
            content = reply.read()
        except OSError:
            connection.close()
            raise
        found = SimpleNamespace(status=reply.status, headers=reply.headers, content=content, json=None)
        if reply.headers.get_content_type() == "application/json":
            found.json = json.loads(content)
        return found

    def get(self, name: str, /, **query: Any) -> Any:
        """The answer of /api/NAME, which must be one."""
        asked = {"who": self.who, **{key.rstrip("_"): value for key, value in query.items()}}
        found = self.ask("GET", f"/api/{name}?{urlencode(asked)}")
        assert found.status == 200, found.json
        return found.json

    def post(self, name: str, /, **body: Any) -> Any:
        found = self.ask("POST", f"/api/{name}", {"who": self.who, **body})
        assert found.status == 200, found.json
        return found.json

    def refused(self, method: str, path: str, body: Any = None, **more: Any) -> tuple[int, str]:
        """The status of a request that is not carried out, and its one line."""
        found = self.ask(method, path, body, **more)
        assert found.json is not None and "\n" not in found.json["error"]
        return found.status, found.json["error"]

    def key(self) -> str:
        """A new one: a key that was sent before would be taken for the same answer."""
        return str(uuid4())

    def change(self, image: dict[str, Any], answer: Any, key: str | None = None, **more: Any) -> dict[str, Any]:
        """answer: a class' number, or a state."""
        told = {"state": answer} if isinstance(answer, str) else {"class": answer}
        own = {"image": image["id"], "item": image["item"], "seen": image["event"]}
        return {"key": key or self.key(), "answer": told, **own, **more}

    def label(self, queue: str, images: Sequence[dict[str, Any]], answer: Any) -> Any:
        return self.post("label", queue=queue, changes=[self.change(image, answer) for image in images])


@contextmanager
def served(project: Project, who: str = "ann") -> Iterator[Browser]:
    """The project's page, in threads of this process."""
    with PageServer(project, 0) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield Browser(server.server_port, server.token, who)
        finally:
            server.shutdown()
            thread.join()
