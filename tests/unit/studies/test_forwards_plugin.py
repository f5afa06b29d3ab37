"""Only runs that name the plug-in know the study's algorithm."""

from pathlib import Path

import pytest

import semisonic.studies
from semisonic.algorithms.registry import ALGORITHMS
from semisonic.config.command_line import resolve
from semisonic.schema import UserError
from tests.support.registries import restored

FILE = Path(semisonic.studies.__file__).with_name("forwards_plugin.py")
NAME = "mixmatch-forwards"


def test_a_run_that_names_the_plug_in_has_the_algorithm_with_mixmatch_s_own_settings_and_no_other_run_has():
    asked = ["--device", "cpu", "--batch.unlabeled-ratio", "1"]
    with restored():
        cfg = resolve(["--plugin", str(FILE), "--algorithm", NAME, *asked])[1]
        usual = resolve(["--algorithm", "mixmatch", *asked])[1]
        assert cfg.algorithm.forwards == "interleaved" and NAME in ALGORITHMS
    assert [Path(plugin.path).name for plugin in cfg.plugins] == [FILE.name]
    assert cfg.algorithm.model_dump(exclude={"name", "forwards"}) == usual.algorithm.model_dump(exclude={"name"})
    assert (cfg.batch, cfg.optim, cfg.steps) == (usual.batch, usual.optim, usual.steps)
    assert NAME not in ALGORITHMS
    with pytest.raises(UserError, match=NAME):
        resolve(["--algorithm", NAME, *asked])
