"""What files of a run hold: values out of bounds are refused, and every entry says what it is."""

import inspect

import pytest
from pydantic import ValidationError

from semisonic.records import entries
from semisonic.records.entries import Chosen, Record, Status


def test_unknown_entries_are_kept_and_wrong_types_refused():
    assert Status.model_validate({"status": "running", "step": 1, "steps": 2, "new": 3}).model_extra == {"new": 3}
    with pytest.raises(ValidationError, match="steps"):
        Status.model_validate({"status": "running", "step": 1, "steps": "2"})


def test_percents_are_bounded():
    assert Chosen.model_validate({"step": 1, "test_top1": 100}).test_top1 == 100
    with pytest.raises(ValidationError, match="test_top1"):
        Chosen.model_validate({"step": 1, "test_top1": 100.5})


def test_every_class_says_what_it_is_or_is_an_entry_of_one_that_does():
    kinds = [kind for _, kind in inspect.getmembers(entries, inspect.isclass) if issubclass(kind, Record)]
    assert len(kinds) > 10 and all(kind.model_config["extra"] == "allow" for kind in kinds)
