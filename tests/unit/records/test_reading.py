"""Bounded reading of files: every kind of wrong content has its line."""

import json
import os
from pathlib import Path

import pytest

from semisonic.records import reading
from semisonic.schema import UserError
from tests.support.fuzz import INPUTS, attack, json_files

VALID = {"status": "running", "step": 3, "reason": None, "numbers": [0.5, 2, [1]], "inner": {"a": {"b": "é"}}}
WRONG: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "is empty"),
    "spaces": (b" \n", "is empty"),
    "cut": (b'{"a": 1', "line 1: is not JSON (Expecting ',' delimiter)"),
    "not UTF-8": (b'{"a": "\xff"}', "is not text in UTF-8 (byte 7)"),
    "UTF-16": ('{"a": 1}'.encode("utf-16"), "is not text in UTF-8 (byte 0)"),
    "null bytes": (b'{"a": 1}\0\0', "is not text (null byte at character 8)"),
    "twice": (b'{"a": 1, "b": 2, "b": 3}', "b: is given twice"),
    "deep": (b"[" * 100_000, "more than 64 sections and lists inside each other"),
    "deeper than is read": (b"[" * 66 + b"]" * 66, "more than 64 sections and lists inside each other"),
    "digits": (b'{"a": ' + b"9" * 5000 + b"}", "holds a number that is out of range"),
    "large": (b'{"a": [1, 9223372036854775808]}', "a.1: a number that is out of range"),
    "null character": (b'{"a": {"b": "x\\u0000"}}', "a.b: has a null character"),
    "half a character": (b'{"a": "\\ud800"}', "a: has half a character (a lone surrogate)"),
    "in a name": (b'{"a": {"\\u0000": 1}}', "a.\\x00: has a null character"),
}


@pytest.mark.parametrize(("content", "message"), WRONG.values(), ids=WRONG)
def test_wrong_content_has_its_line(tmp_path: Path, content: bytes, message: str):
    path = tmp_path / "status.json"
    path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        reading.read_json(path)
    assert caught.value.messages == [f"{path}: {message}"]


def test_what_is_no_file_has_its_line(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe")  # nobody writes into it
    (tmp_path / "folder").mkdir()
    wanted = {
        "pipe": "a named pipe, not a regular file",
        "folder": "a folder, not a regular file",
        "none": "No such file or directory",
    }
    for name, message in wanted.items():
        with pytest.raises(UserError) as caught:
            reading.read_json(tmp_path / name)
        assert caught.value.messages == [f"{tmp_path / name}: {message}"]
    with pytest.raises(UserError, match="cannot be the path of a file"):
        reading.read_bytes(Path("a\0b"), 10)


def test_a_file_over_the_limit_is_not_read(tmp_path: Path):
    path = tmp_path / "status.json"
    with path.open("wb") as file:
        file.truncate(2**40)  # of which the disk holds nothing
    with pytest.raises(UserError, match=r"is larger than 1 MB, the most that such a file may have"):
        reading.read_json(path)


def test_valid_content_is_read_and_a_mark_is_skipped(tmp_path: Path):
    path = tmp_path / "status.json"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(VALID).encode())
    assert reading.read_json(path) == VALID


def test_lines_that_are_whole(tmp_path: Path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"a": 1}\n{"a": 2}\n{"a"')
    assert reading.lines_of(path, 100, reading.parse_json) == [{"a": 1}, {"a": 2}]
    path.write_text('{"a": 1}\n{"a"\n')
    with pytest.raises(UserError, match=r"metrics.jsonl: line 2: line 1: is not JSON"):
        reading.lines_of(path, 100, reading.parse_json)


def test_values_in_messages_are_short_and_printable():
    assert reading.shown("a\x1b[31m" + "b" * 200).startswith(r"'a\x1b[31mbbb")
    assert len(reading.shown("b" * 200)) <= 60 and reading.shown(10**5000) == "a number that is out of range"
    assert [reading.shown(value) for value in ([1], {"a": 1}, None, 2.5)] == [
        "a list of 1", "an object of 1 entries", "null", "2.5"
    ]  # fmt: skip


@INPUTS
def test_any_json_is_read_or_refused(tmp_path: Path, inputs: int):
    attack(reading.read_json, tmp_path / "status.json", json_files(VALID), inputs)
