"""A written configuration reads back as it was, for every algorithm."""

import pickle
from pathlib import Path

import pytest
import yaml

from semisonic.algorithms.registry import ALGORITHMS
from semisonic.config.command_line import resolve
from tests.support.command_line import config
from tests.support.recipes import chosen


def test_the_written_configuration_reads_back(tmp_path: Path):
    cfg = config("--seed", 4, "--optim.name", "adamw", "--max-hours", "1e-3", "--data.labels", "null")
    (tmp_path / "config.yaml").write_text(cfg.dump())
    assert config("--config", tmp_path / "config.yaml") == cfg
    assert yaml.safe_load(cfg.dump())["optim"]["name"] == "adamw"


@pytest.mark.usefixtures("no_files")
def test_a_written_configuration_reads_back_for_every_algorithm(tmp_path):
    for algorithm in ALGORITHMS:
        cfg = chosen("cifar10", algorithm)
        (tmp_path / "config.yaml").write_text(cfg.dump())
        assert resolve(["--config", str(tmp_path / "config.yaml")])[1] == cfg


def test_a_configuration_goes_to_another_process(tmp_path: Path):
    cfg = config("--addons.auxiliary.rotation", "0.5")
    assert pickle.loads(pickle.dumps(cfg)) == cfg
