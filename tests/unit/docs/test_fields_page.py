"""The page of all fields."""

import re
from typing import Annotated

import pytest
from pydantic import BaseModel, Field

from _extension.fields_page import configuration, constraint, number
from semisonic.config.fields import describe_fields
from tests.support.processes import ROOT


class Limits(BaseModel):
    between: int = Field(1, ge=0, lt=2**20)
    above: float = Field(1.0, gt=0, le=1e9)
    pair: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] = (0.0, 0.0)
    word: str = Field("a", min_length=1)
    free: bool = True


@pytest.fixture(scope="module")
def text() -> str:
    """The whole page."""
    return configuration(ROOT / "engine" / "semisonic")


@pytest.mark.parametrize(
    "name, expected",
    [
        ("between", "at least 0, below 2^20"),
        ("above", "above 0, at most 1e9"),
        ("pair", "at least 0, below 1"),
        ("word", "not empty"),
        ("free", ""),
    ],
)
def test_limits_are_said_in_words(name: str, expected: str):
    assert constraint(Limits.model_fields[name]) == expected


def test_numbers_are_as_people_write_them():
    assert [number(value) for value in (1, 4096, 10_000, 2**63, 10**9, 0.5, 1e20)] == [
        "1", "4,096", "10,000", "2^63", "1e9", "0.5", "1e20",
    ]  # fmt: skip


def test_every_field_is_on_the_page_once_with_its_type_and_the_files_that_read_it(text: str):
    fields = [(name, kind) for name, kind, _, _ in describe_fields() if not name.startswith("algorithm.")]
    assert re.findall(r"^:::\{field\} (\S+)\n`(.*?)`", text, re.MULTILINE) == fields
    unread = [part.partition("\n")[0] for part in text.split(":::{field} ")[1:] if "Read in " not in part]
    assert unread == []


def test_a_field_says_what_another_value_does_to_a_run_that_goes_on(text: str):
    entry = dict(part.split("\n", 1) for part in text.split(":::{field} ")[1:])
    assert "it must stay as it was." in entry["seed"]
    assert "it may be another." in entry["eval.batch"]
    assert "another path to the same content" in entry["init"]
