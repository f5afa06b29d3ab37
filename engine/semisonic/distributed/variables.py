"""The variables by which a launcher tells a process its place among the ranks, and what is wrong with them.

They outlive their launcher: a shell inside `srun`, a script that exports WORLD_SIZE for something else. What reads them
afterwards, here, in Accelerate and in torch, takes any of them for the truth, or fails in the middle.
"""

import os
from collections.abc import Mapping

from semisonic.schema import UserError

PLACE = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
ADDRESS = ("MASTER_ADDR", "MASTER_PORT")
STORE = "TORCHELASTIC_USE_AGENT_STORE"
MPI = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE", "MPI_LOCALNRANKS", "PMI_RANK", "OMPI_COMM_WORLD_RANK",
       "MV2_COMM_WORLD_RANK", "MPI_LOCALRANKID", "OMPI_COMM_WORLD_LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_SIZE",
       "MV2_COMM_WORLD_LOCAL_RANK", "MV2_COMM_WORLD_LOCAL_SIZE")  # fmt: skip
"""What MPI's launchers set, and Accelerate reads where the others are missing."""
SIZES = ("WORLD_SIZE", "LOCAL_WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")
"""Where one of these is 1, nobody else is announced."""
SWITCHES = ("ACCELERATE_USE_CPU", "ACCELERATE_DEBUG_MODE", "ACCELERATE_CPU_AFFINITY", "FORK_LAUNCHED")
NUMBERS = ("ACCELERATE_GRADIENT_ACCUMULATION_STEPS",)
NUMBERS_OF_RANKS = (*NUMBERS, "OMP_NUM_THREADS")
"""What Accelerate takes for a number; the second, which may be several to OpenMP, where there are ranks."""
SAYS = ("y", "yes", "t", "true", "on", "1", "n", "no", "f", "false", "off", "0")
"""What Accelerate takes for a yes or a no."""
START = "start several ranks with torchrun or accelerate launch"


class LeftOver(UserError):
    """Variables that no launcher sets so. Shown by every process: which of them is rank 0 is not known."""

    everywhere = True


def rank() -> int:
    """The number of this process among the ranks; 0 where nothing says one."""
    return _number("RANK", 0)


def world_size() -> int:
    """How many ranks there are; 1 where nothing says how many."""
    return _number("WORLD_SIZE", 1)


def local_world_size() -> int:
    """How many of them run on this machine; 1 as above."""
    return _number("LOCAL_WORLD_SIZE", 1)


def _number(name: str, least: int) -> int:
    """For all that must work whatever the environment says, such as --help."""
    text = os.environ.get(name, "")
    return max(least, int(text)) if _whole(text) else least


def check_variables() -> None:
    """Raises `LeftOver` where ranks could not start with what the environment says, or would all train by themselves.

    For every command that takes the process for a rank. Whether the others are there is not looked at.
    """
    if problems := variable_problems(os.environ):
        raise LeftOver(problems)


def variable_problems(env: Mapping[str, str]) -> list[str]:
    """What is wrong with the variables: a line for all that must be unset together, or none."""
    strange = [f"{name}={env[name]}" for name in (*PLACE, *MPI) if name in env and not _whole(env[name])]
    strange += [f"{name}={env[name]}" for name in SIZES if name in env and _whole(env[name]) and int(env[name]) == 0]
    if strange:
        return [_line(strange, "are no numbers of ranks" if len(strange) > 1 else "is no number of a rank or of ranks")]
    return (_of_ranks(env) if "RANK" in env else _left_over(env)) + _of_accelerate(env)


def _of_ranks(env: Mapping[str, str]) -> list[str]:
    """Of a process that is one of several, or of one."""
    needed = ("WORLD_SIZE", *ADDRESS)
    several = int(env.get("WORLD_SIZE", "1")) > 1
    if missing := [name for name in (*needed, *(["LOCAL_RANK"] if several else [])) if not env.get(name)]:
        return [_line([f"RANK={env['RANK']}"], f"is set without {', '.join(missing)}")]
    for place, size in (("RANK", "WORLD_SIZE"), ("LOCAL_RANK", "LOCAL_WORLD_SIZE"), ("LOCAL_WORLD_SIZE", "WORLD_SIZE")):
        if place in env and size in env and int(env[place]) >= int(env[size]) + (place == "LOCAL_WORLD_SIZE"):
            return [_line([f"{place}={env[place]}", f"{size}={env[size]}"], "do not go together")]
    port = env["MASTER_PORT"]
    if not _whole(port) or int(port) > 65535:
        return [_line([f"MASTER_PORT={port}"], "is no port")]
    return []


def _left_over(env: Mapping[str, str]) -> list[str]:
    """Of a process that no launcher of ranks has started, whatever MASTER_ADDR and MASTER_PORT say."""
    found = [f"{name}={env[name]}" for name in SIZES if int(env.get(name, "1")) > 1]
    found += [f"LOCAL_RANK={env['LOCAL_RANK']}"] if "LOCAL_RANK" in env else []
    found += [f"{STORE}={env[STORE]}"] if env.get(STORE) == "True" else []
    if not found:
        return []
    return [_line(found, f"{'are' if len(found) > 1 else 'is'} set without RANK")]


def _of_accelerate(env: Mapping[str, str]) -> list[str]:
    strange = [f"{name}={env[name]}" for name in SWITCHES if name in env and env[name].lower() not in SAYS]
    problems = [f"{', '.join(strange)}: give true or false, or unset"] if strange else []
    names = NUMBERS_OF_RANKS if "RANK" in env else NUMBERS
    numbers = [f"{name}={env[name]}" for name in names if name in env and not _whole(env[name])]
    return problems + ([f"{', '.join(numbers)}: give a whole number, or unset"] if numbers else [])


def _line(found: list[str], what: str) -> str:
    names = " ".join(text.partition("=")[0] for text in found)
    return f"{', '.join(found)}: {what}; unset {names} to train alone, or {START}"


def _whole(text: str) -> bool:
    """Whether it is a whole number from 0 on that anybody means."""
    return text.isascii() and text.isdecimal() and len(text) < 10
