"""Exit codes: their numbers, and the error that each belongs to."""

import json

from semisonic.distributed.consistency import Diverged, RanksDiffer
from semisonic.schema import ExitCode, UserError, exit_code
from tests.support.processes import ROOT


def test_exit_codes_are_those_that_job_scripts_know():
    """These numbers are outside of the project too: none may ever change."""
    assert {code.name: int(code) for code in ExitCode} == {
        "OK": 0, "ERROR": 1, "USER": 2, "DIVERGED": 3, "LOST": 4, "LEFT_OUT": 5, "STOPPED": 75, "INTERRUPTED": 130,
    }  # fmt: skip
    script = (ROOT / "launch" / "slurm" / "train.sbatch").read_text()
    assert f'"stopped {ExitCode.STOPPED}") again' in script and f'"failed {ExitCode.LOST}") again' in script
    assert f"exit codes {ExitCode.USER} and {ExitCode.DIVERGED}" in script


def test_every_error_knows_its_exit_code():
    errors = {UserError(""): 2, Diverged(""): 3, RanksDiffer(""): 4, KeyboardInterrupt(): 130, ValueError(): 1}
    assert [exit_code(error) for error in errors] == list(errors.values())
    assert json.dumps({"exit_code": ExitCode.LOST}) == '{"exit_code": 4}'
