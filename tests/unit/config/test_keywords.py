"""Keywords say what options say: the same configuration, and the same messages."""

from pathlib import Path

import numpy as np
import pytest

from semisonic.config.command_line import assemble, parse_arguments, resolve
from semisonic.config.keywords import keyword_arguments
from semisonic.config.run_config import RunConfig
from semisonic.schema import UserError


def configuration(**fields) -> RunConfig:
    return assemble(*keyword_arguments(fields))


def test_keywords_are_the_command_line_s_fields():
    asked = configuration(
        steps=np.int64(9), algorithm="vat", optim={"name": "adamw", "betas": (0.8, 0.9)}, out=Path("there"),
        log={"trackers": ()}, baseline=False, **{"data.labels": None, "batch.labeled": 8},
    )  # fmt: skip
    line = "--steps 9 --algorithm vat --optim adamw --optim.betas 0.8,0.9 --out there --log.trackers none --no-baseline"
    assert asked == resolve([*line.split(), "--data.labels", "null", "--batch.labeled", "8"])[1]


@pytest.mark.parametrize(
    ("fields", "argv"),
    [
        ({"stepz": 3}, "--stepz 3"),
        ({"algorithm": "fixmach"}, "--algorithm fixmach"),
        ({"algorithm": {"name": "supervised", "threshold": 1}}, "--algorithm supervised --algorithm.threshold 1"),
        ({"batch": {"labeled": 30, "micro": 7}}, "--batch.labeled 30 --batch.micro 7"),
        ({"data": "cifar11", "model": "wrn-1-1"}, "--data cifar11 --model wrn-1-1"),
        ({"data": {"labels": 41}}, "--data.labels 41"),
        ({"optim": {"lr": {"start": "1"}}}, "--optim.lr.start 1"),
        ({"steps": "many", "seed": "x"}, "--steps many --seed x"),
        ({"init": "nowhere"}, "--init nowhere"),
    ],
)
def test_messages_are_the_command_line_s(fields: dict, argv: str):
    found = []
    for ask in (lambda: configuration(**fields), lambda: assemble(*parse_arguments(argv.split()))):
        with pytest.raises(UserError) as caught:
            ask()
        found.append(caught.value.messages)
    assert found[0] == found[1] and found[0]


def test_a_field_given_twice_and_old_names():
    _, problems = keyword_arguments({"optim.lr": 1, "optim": {"lr": 2}})
    assert problems == ["optim.lr: given twice"]
    arguments, _ = keyword_arguments({"batch": {"labelled": 8}})
    assert arguments.fields == {"batch.labeled": 8} and arguments.notes == [
        "batch.labelled is now called batch.labeled"
    ]
