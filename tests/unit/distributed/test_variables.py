"""Variables of a launcher that has gone, or that somebody has set for something else: one line, before anything fails."""

import os

import pytest

from semisonic import cli
from semisonic.config.execution import Surroundings
from semisonic.distributed.rendezvous import check_launcher
from semisonic.distributed.variables import LeftOver, local_world_size, rank, variable_problems, world_size
from semisonic.schema import ExitCode

RANKS = {"RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": "29500"}
OF_A_LAUNCHER = {
    "alone": {},
    "torchrun": RANKS | {"LOCAL_WORLD_SIZE": "2", "TORCHELASTIC_USE_AGENT_STORE": "True", "OMP_NUM_THREADS": "1"},
    "torchrun inside srun with PMI": RANKS | {"PMI_SIZE": "4", "PMI_RANK": "3"},
    "one rank, its local one unsaid": {"RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "h", "MASTER_PORT": "1"},
    "a task of one": {"PMI_SIZE": "1", "PMI_RANK": "0", "OMPI_COMM_WORLD_SIZE": "1", "WORLD_SIZE": "1"},
    "an address and nobody there": {"MASTER_ADDR": "node1", "MASTER_PORT": "what"},
    "a batch job's": {"SLURM_NTASKS": "4", "SLURM_PROCID": "2", "SLURM_LOCALID": "2"},
    "threads in levels": {"OMP_NUM_THREADS": "4,2"},
}
LEFT_OVER = [
    ({"PMI_SIZE": "4", "PMI_RANK": "0"}, "PMI_SIZE=4: is set without RANK; unset PMI_SIZE"),
    ({"OMPI_COMM_WORLD_SIZE": "2"}, "unset OMPI_COMM_WORLD_SIZE to train alone, or start several ranks with torchrun"),
    ({"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}, "WORLD_SIZE=2, LOCAL_WORLD_SIZE=2: are set without RANK; unset WO"),
    ({"LOCAL_RANK": "0"}, "LOCAL_RANK=0: is set without RANK"),
    ({"TORCHELASTIC_USE_AGENT_STORE": "True"}, "TORCHELASTIC_USE_AGENT_STORE=True: is set without RANK"),
    ({"RANK": ""}, "RANK=: is no number of a rank or of ranks; unset RANK"),
    ({"LOCAL_RANK": "abc", "RANK": "-1"}, "RANK=-1, LOCAL_RANK=abc: are no numbers of ranks; unset RANK LOCAL_RANK"),
    ({"PMI_SIZE": "many"}, "PMI_SIZE=many: is no number"),
    ({"WORLD_SIZE": "0"}, "WORLD_SIZE=0: is no number"),
    ({"WORLD_SIZE": "9" * 5000}, "is no number"),
    ({"RANK": "0"}, "RANK=0: is set without WORLD_SIZE, MASTER_ADDR, MASTER_PORT"),
    ({**RANKS, "LOCAL_RANK": "0", "RANK": "2"}, "RANK=2, WORLD_SIZE=2: do not go together; unset RANK WORLD_SIZE"),
    ({**RANKS, "LOCAL_WORLD_SIZE": "1"}, "LOCAL_RANK=1, LOCAL_WORLD_SIZE=1: do not go together"),
    ({**RANKS, "LOCAL_WORLD_SIZE": "3"}, "LOCAL_WORLD_SIZE=3, WORLD_SIZE=2: do not go together"),
    ({k: v for k, v in RANKS.items() if k != "LOCAL_RANK"}, "RANK=1: is set without LOCAL_RANK"),
    ({**RANKS, "MASTER_PORT": "70000"}, "MASTER_PORT=70000: is no port"),
    ({**RANKS, "OMP_NUM_THREADS": "4,2"}, "OMP_NUM_THREADS=4,2: give a whole number, or unset"),
    ({"ACCELERATE_USE_CPU": "maybe"}, "ACCELERATE_USE_CPU=maybe: give true or false, or unset"),
    ({"ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "x"}, "ACCELERATE_GRADIENT_ACCUMULATION_STEPS=x: give a whole number"),
]  # fmt: skip


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch):
    for name in list(os.environ):
        if name.startswith(("ACCELERATE_", "OMPI_", "PMI_", "MV2_", "MPI_", "SLURM_", "TORCHELASTIC_", "MASTER_")):
            monkeypatch.delenv(name)
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "OMP_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("env", OF_A_LAUNCHER.values(), ids=OF_A_LAUNCHER)
def test_what_a_launcher_sets_and_what_nobody_reads_is_no_mistake(env: dict[str, str]):
    assert variable_problems(env) == []


@pytest.mark.parametrize("env, line", LEFT_OVER)
def test_what_is_left_over_is_one_line_and_nothing_fails_before(
    env: dict[str, str], line: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
):
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    assert len(variable_problems(env)) == 1 and line in variable_problems(env)[0]
    around = Surroundings.here()
    assert around.world_size == world_size() >= 1 and around.cores >= 1 and rank() >= 0 and local_world_size() >= 1
    with pytest.raises(LeftOver):
        check_launcher("cpu")
    assert cli.dispatch(["train", "--steps", "none"]) == ExitCode.USER
    shown = capfd.readouterr().err
    assert line in shown and len(shown.splitlines()) == 1, "every rank tells it, and none of the fields' mistakes"


@pytest.mark.parametrize("argv", [["--version"], ["train", "--list"], ["train", "--help"], ["train", "--print-config"]])
def test_what_trains_nothing_works_whatever_is_set(
    argv: list[str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
):
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "PMI_SIZE"):
        monkeypatch.setenv(name, "")
    assert cli.dispatch(argv) == ExitCode.OK and capfd.readouterr().err == ""
