"""Labels as JSON of Label Studio: a task for each image, with an annotation of what a person said or a prediction.

`data.path` and `data.hash` name the image, so that the way back does not depend on the address under which Label Studio
shows it. A skipped task (`was_cancelled`) is an unsure image.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, unquote_to_bytes, urlsplit

from semisonic.checkpoint.atomic_files import replace, stage_parts
from semisonic.daily.exchange.rows import Row, event_of, hash_of
from semisonic.records.reading import read_json
from semisonic.schema import UserError
from semisonic.text import dump_json, plain_text, utf8_text

LOCAL = "/data/local-files/?d="
"""Where Label Studio shows files of its own machine, below its document root, which has to be / for these."""
MOST_BYTES = 2**28
NAMES = {"from_name": "choice", "to_name": "image", "type": "choices"}
"""Of a result: those of the labeling set-up `<Choices name="choice" toName="image">`."""
KEPT = ("state", "who", "at", "run", "exported")
"""Fields of a row that `data` holds as text."""
PEOPLE = ("given", "reviewed")
SKIPPED = ("rejected", "unsure")
SHOWN = ("auto", "accepted")
"""States of a label that a person has seen before an answer."""


def write_tasks(path: Path, rows: Iterable[Row]) -> int:
    """Writes the tasks whole or not at all; returns their number. Raises OSError, and `UserError` where the file would
    be larger than is read again."""
    count, size = 0, 0

    def parts() -> Iterator[bytes]:
        nonlocal count, size
        for row in rows:
            part = (("[\n" if count == 0 else ",\n") + dump_json(task_of(row))).encode()
            count, size = count + 1, size + len(part)
            if size > MOST_BYTES:
                raise UserError(
                    f"--to label-studio: {count:,} images make a file of over {MOST_BYTES / 2**20:.0f} MB, and Label "
                    "Studio is for about 100,000 a project; name fewer with --days or --states"
                )
            yield part
        yield b"[]\n" if count == 0 else b"\n]\n"

    replace(stage_parts(path, parts()), path)
    return count


def task_of(row: Row) -> dict[str, Any]:
    data: dict[str, Any] = {
        "image": LOCAL + quote(row.path.lstrip("/"), errors="surrogateescape"),
        "path": utf8_text(row.path),
        "hash": row.hash.hex() if row.hash else "",
        **{name: utf8_text(getattr(row, name) or "") for name in KEPT},
        "event": "" if row.event is None else str(row.event),
    }
    task: dict[str, Any] = {"data": data}
    result = [{**NAMES, "value": {"choices": [utf8_text(row.label)]}}]
    if row.state in PEOPLE:
        task["annotations"] = [{"was_cancelled": False, "result": result}]
    elif row.state in SKIPPED:
        task["annotations"] = [{"was_cancelled": True, "result": []}]
    elif row.label:
        task["predictions"] = [{"model_version": row.run, "score": row.certainty, "result": result}]
    return task


class _Wrong(Exception):
    """What is wrong with a task."""


def read_tasks(path: Path, problems: list[str]) -> Iterator[Row]:
    """What the tasks of a file say; what is wrong with one goes to `problems`. Raises `UserError` where the file is no
    list of tasks."""
    tasks = read_json(path, MOST_BYTES, f"import: {path}")
    if not isinstance(tasks, list):
        raise UserError(f"import: {path}: is no list of tasks; export JSON from Label Studio, not JSON-MIN or others")
    for number, task in enumerate(tasks, start=1):
        try:
            yield _row_of(task, f"task {number}")
        except _Wrong as error:
            problems.append(f"task {number}: {error}")


def _row_of(task: Any, where: str) -> Row:
    data = task.get("data") if isinstance(task, dict) else None
    if not isinstance(data, dict):
        raise _Wrong("has no data")
    label, state = _said(task, _text(data, "state"))
    try:
        event, digest = event_of(_text(data, "event")), hash_of(_text(data, "hash"))
    except ValueError:
        raise _Wrong("data.event must be a whole number and data.hash 32 hexadecimal digits, or both empty") from None
    who, at, run = (_text(data, name) for name in ("who", "at", "run"))
    exported = _text(data, "exported") if "exported" in data else None
    return Row(_path(data), label, state, who, at, run, None, event, digest, exported, where=where)


def _text(data: Mapping[str, Any], name: str) -> str:
    value = data.get(name)
    if value is None:
        return ""
    if not isinstance(value, str | int):
        raise _Wrong(f"data.{name} is no text")
    return plain_text(str(value))


def _path(data: Mapping[str, Any]) -> str:
    """The image's path: `data.path`, or else what its address says of a local file."""
    if path := _text(data, "path"):
        return path
    address = _text(data, "image")
    if address.startswith(LOCAL):
        return "/" + parse_qs(urlsplit(address).query, errors="surrogateescape").get("d", [""])[0].lstrip("/")
    if address.startswith("file://"):
        return unquote_to_bytes(urlsplit(address).path).decode(errors="surrogateescape")
    if not address or "://" in address:
        raise _Wrong("names no file: data.path is missing, and data.image is no local file's address")
    return address


def _said(task: Mapping[str, Any], state: str) -> tuple[str, str]:
    """The label and state that a task says: of its annotations, or else of its predictions."""
    annotations = _list(task, "annotations")
    answers = {_answer(entry, state) for entry in annotations}
    if len(answers) > 1:
        raise _Wrong(f"has {len(annotations)} annotations that differ; keep one")
    if answers:
        return answers.pop()
    predicted = {choice for entry in _list(task, "predictions") if (choice := _choice(entry))}
    label = predicted.pop() if len(predicted) == 1 else ""
    return label, state if state in SHOWN else "unlabeled"


def _answer(entry: Any, state: str) -> tuple[str, str]:
    if not isinstance(entry, dict):
        raise _Wrong("has an annotation that is no object")
    if entry.get("was_cancelled"):
        return "", state if state in SKIPPED else "unsure"
    if not (choice := _choice(entry)):
        raise _Wrong("has an annotation without a choice")
    if state in SHOWN:
        return choice, "reviewed"
    return choice, state if state in PEOPLE else ""


def _choice(entry: Any) -> str:
    """The class that an annotation or prediction names; empty: none. A set-up may ask for more than the class: what it
    calls as ours does counts, or else all."""
    results = _list(entry, "result")
    own = [result for result in results if isinstance(result, dict) and result.get("from_name") == NAMES["from_name"]]
    named: list[str] = []
    for result in own or results:
        value = result.get("value") if isinstance(result, dict) else None
        choices = value.get("choices") if isinstance(value, dict) else None
        if isinstance(choices, list):
            named += [plain_text(choice).strip() for choice in choices if isinstance(choice, str)]
    if len(set(named)) > 1:
        raise _Wrong(f"has {len(set(named))} choices; an image has one class")
    return named[0] if named else ""


def _list(holder: Any, name: str) -> Sequence[Any]:
    value = holder.get(name) if isinstance(holder, dict) else None
    if value is None:
        return []
    if not isinstance(value, list):
        raise _Wrong(f"has {name} that are no list")
    return value
