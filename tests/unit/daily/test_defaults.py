"""What the trainings of a new project begin with."""

import pytest

from semisonic.config.command_line import Arguments, assemble
from semisonic.daily.defaults import defaults, under


def flat(fields: dict, before: str = "") -> dict:
    found = {}
    for name, value in fields.items():
        found |= flat(value, f"{before}{name}.") if isinstance(value, dict) else {f"{before}{name}": value}
    return found


@pytest.mark.parametrize("size", (8, 64, 224))
def test_they_are_fields_of_a_training(size: int):
    fields = flat(defaults(size))
    made = assemble(
        Arguments({"data.name": "digits", **{name: value for name, value in fields.items() if name[:4] != "data"}}), []
    )
    assert (made.batch.labeled, made.batch.unlabeled, made.steps) == (32, 96, 1000)


def test_given_fields_win_and_bring_their_own_kind():
    found = under({"steps": 5, "optim": {"lr": 0.5}, "data": {"flip": False}}, 14)
    assert found["steps"] == 5 and found["optim"] == {"name": "sgd", "lr": 0.5}
    assert found["data"] == {"crop_area": 0.7, "flip": False} and found["model"] == {"name": "small"}
    assert under({"algorithm": {"name": "mixmatch"}}, 14)["algorithm"] == {"name": "mixmatch"}
    assert under({"optim": {"name": "adamw"}}, 14)["optim"] == {"name": "adamw"}
    assert under({"model": {"name": "resnet50"}}, 14)["optim"]["lr"] == 0.03
