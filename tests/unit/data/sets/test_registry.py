"""Data sets by name: mistakes in their configuration, overrides, and a cheap import."""

import subprocess
import sys

import pytest

from semisonic.data.sets.base import DataConfig
from semisonic.data.sets.registry import data_problems, load_data_set


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"name": "cifar"}, "data.name: there is no data set 'cifar'; did you mean cifar10? valid: digits, mnist,"),
        ({"size": 32}, "data.size: the images of digits are 16 pixels wide, not 32"),
        ({"pad": 16}, "data.pad: a margin of 16"),
        ({"csv": "a.csv"}, "data.csv: only for data.name=folder"),
        ({"split": "none.npz"}, "data.split: no such file"),
        ({"labels": 0}, "data.labels: 0 labeled images"),
        ({"labels": 45}, "data.labels: 45 is not the same number"),
        ({"labels": 1400}, "data.labels: 1400 labeled and 0 held-out images asked for"),
        ({"labels": 1350}, "need 135 of every class, but the rarest one has only 134"),
    ],
)
def test_mistakes_in_the_configuration(fields, expected):
    (line,) = data_problems(DataConfig(**fields))
    assert line.startswith(expected) or expected in line


def test_all_mistakes_at_once():
    lines = data_problems(DataConfig(size=32, pad=99, labels=45, held_out=7))
    assert [line.split(":")[0] for line in lines] == ["data.size", "data.pad", "data.held_out", "data.labels"]


def test_overrides_reach_the_data_set():
    data = load_data_set(DataConfig(flip=True, pad=0))
    assert (data.flip, data.pad) == (True, 0)


def test_importing_is_cheap():
    heavy = "('torch', 'torchvision', 'sklearn', 'PIL')"
    code = f"import semisonic.data.sets.registry, sys; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
