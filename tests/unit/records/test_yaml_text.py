"""Bounded YAML: texts that cost much or mean what no file of fields may are refused by line."""

from pathlib import Path

import pytest

from semisonic.records.yaml_text import parse_yaml, read_yaml
from semisonic.schema import UserError
from tests.support.fuzz import INPUTS, YAML_BOMBS, attack, yaml_files

VALID = {"seed": 1, "data": {"name": "digits", "classes": ["a", "b"], "labels": None}, "optim": {"lr": 0.03}, "x": True}
DEEP = "more than 64 sections and lists inside each other"
WRONG = {
    "a: 1\nb: 2\na: 3\n": "line 3: a is given twice",
    "a: 1\n" + "x" * 300 + ": 1\n": "line 2: a name of 300 characters; at most 256 are read",
    "a: {b: 1,\n  b: 2}\n": "line 2: b is given twice",
    "a: [" + "[" * 10_000: f"line 1: {DEEP}",
    "- " * 10_000: f"line 1: {DEEP}",
    YAML_BOMBS[0].decode(): "line 6: more than 300,000 values, aliases counted as what they stand for",
    "a: &a [*a]\n": "line 1: the alias a stands for nothing before it",
    "a: !!python/object/apply:os.system [ls]\n": "line 1: the tag tag:yaml.org,2002:python/object/apply:os.system is not read",
    "a: !own 1\n": "line 1: the tag !own is not read",
    "? [1]\n: 2\n": "line 1: a name is needed where a list, section or alias is",
    "a: 'x\n": "line 2: is not YAML (found unexpected end of stream)",
    "a: 1\n---\nb: 2\n": "line 2: is not YAML (but found another document)",
    'a: "\\ud800"\n': None,
    "a: \x07\n": None,
    "a: 0x_\n": None,
}


@pytest.mark.parametrize(("text", "message"), WRONG.items(), ids=[repr(text[:20]) for text in WRONG])
def test_wrong_text_has_its_line(text: str, message: str | None):
    with pytest.raises(UserError) as caught:
        parse_yaml(text, "a.yaml")
    (line,) = caught.value.messages
    assert line == f"a.yaml: {message}" if message else line.startswith("a.yaml: ") and line.isprintable()


def test_what_is_right_is_read(tmp_path: Path):
    """Aliases within bounds are, and dates are text."""
    text = "base: &base {lr: 0.1}\noptim: {<<: *base, name: sgd}\nday: 2001-99-99\nnames: [!!str 1, '2001-01-01']\n"
    assert parse_yaml(text, "a.yaml") == {
        "base": {"lr": 0.1}, "optim": {"lr": 0.1, "name": "sgd"}, "day": "2001-99-99", "names": ["1", "2001-01-01"]
    }  # fmt: skip
    (tmp_path / "a.yaml").write_bytes(b"\xef\xbb\xbfa: 1\n")
    assert read_yaml(tmp_path / "a.yaml") == {"a": 1} and parse_yaml("", "a.yaml") is None


@INPUTS
def test_any_yaml_is_read_or_refused(tmp_path: Path, inputs: int):
    attack(read_yaml, tmp_path / "config.yaml", yaml_files(VALID), inputs)
