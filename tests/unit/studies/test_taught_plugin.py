"""Only runs that name the plug-in know the study's algorithms."""

from pathlib import Path

import pytest

import semisonic.studies
from semisonic.algorithms.registry import ALGORITHMS
from semisonic.config.command_line import resolve
from semisonic.schema import UserError
from tests.support.registries import restored

FILE = Path(semisonic.studies.__file__).with_name("taught_plugin.py")


@pytest.mark.parametrize("name", ["mixmatch", "fixmatch"])
def test_the_average_teaches_with_the_method_s_own_settings(name: str):
    asked = ["--data", "digits", "--device", "cpu", "--no-baseline"]
    with restored():
        cfg = resolve(["--plugin", str(FILE), "--algorithm", f"taught-{name}", *asked])[1]
        usual = resolve(["--algorithm", name, *asked])[1]
        assert cfg.algorithm.model_dump(exclude={"name"}) == usual.algorithm.model_dump(exclude={"name"})
        assert (cfg.batch, cfg.optim, cfg.steps, cfg.ema) == (usual.batch, usual.optim, usual.steps, usual.ema)
    assert f"taught-{name}" not in ALGORITHMS
    with pytest.raises(UserError, match=f"taught-{name}"):
        resolve(["--algorithm", f"taught-{name}", *asked])
