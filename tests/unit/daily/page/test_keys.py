"""The keys of classes."""

import re
from importlib.resources import files

from semisonic.daily.page.keys import TAKEN, keys_of


def test_digits_then_letters_of_the_name():
    names = [f"class {number}" for number in range(10)] + ["Bird", "bear", "xenon", "Ünse", "鳥", "b"]
    assert keys_of(names) == [*"1234567890", "b", "e", "o", "a", "c", "d"]


def test_a_class_that_is_called_by_a_digit_has_that_digit():
    assert keys_of([*"0123456789"]) == [*"0123456789"]
    assert keys_of(["cat", "2", "dog", "1", "10", "bird", ""]) == [*"324", "1", *"567"]
    assert keys_of([*"9876543210", "bird"])[-1] == "b"


def test_where_there_are_more_classes_than_keys_the_rest_has_none():
    found = keys_of(["name"] * 40)
    given = [key for key in found if key is not None]
    assert len(set(given)) == len(given) == 36 - len(TAKEN) and found[-1] is None


def test_no_class_has_a_key_of_the_page():
    script = files("semisonic").joinpath("daily", "page", "static", "keys.js").read_text()
    commands = set(re.findall(r'key: "([a-z])"', script))
    assert commands and commands <= TAKEN
