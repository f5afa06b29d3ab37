"""How many CPUs a process may use: those it may run on, and no more than a container or job has time for; and whether
they multiply in bf16.

A container of two CPUs on a node of 128 sees all of them. What starts a thread or process for each would be halted most
of the time, and takes 64 times the memory.
"""

import math
import os
from pathlib import Path

OWN = Path("/proc/self/cgroup")
ROOT = Path("/sys/fs/cgroup")
INFO = Path("/proc/cpuinfo")
BF16 = {"avx512_bf16", "amx_bf16"}
"""Flags of x86 processors with instructions for products in bf16; what others do is slower than float32."""


def usable_cpus() -> int:
    """CPUs of this process, at least one; its ranks share them."""
    cpus, limit = len(os.sched_getaffinity(0)), quota()
    return cpus if math.isinf(limit) else max(1, min(cpus, math.ceil(limit)))


def multiply_bf16() -> bool:
    """Whether every CPU of this machine has instructions for products in bf16."""
    lines = [line.partition(":") for line in _lines(INFO)]
    flags = [set(value.split()) for name, _, value in lines if name.strip() == "flags"]
    return bool(flags) and all(own & BF16 for own in flags)


def quota() -> float:
    """CPUs' worth of time that the groups of this process have together, in any period; infinite where none is set."""
    return min((limit for folder in _groups() for limit in (_second(folder), _first(folder))), default=math.inf)


def _groups() -> list[Path]:
    """The folders of this process's control groups that may limit its time, and of those around them."""
    found: dict[Path, None] = {}
    for line in _lines(OWN):
        number, controllers, group = [*line.split(":", 2), "", ""][:3]
        names = controllers.split(",")
        if number != "0" and "cpu" not in names:
            continue
        # Both versions may be there; a container's own group may be the root of what it sees.
        for root in (ROOT, ROOT / "unified") if number == "0" else (ROOT / controllers, ROOT / "cpu"):
            place = root / group.lstrip("/")
            found |= dict.fromkeys([place, *(parent for parent in place.parents if parent.is_relative_to(root))])
    return list(found)


def _second(folder: Path) -> float:
    """By version 2: `200000 100000`, or `max 100000`."""
    quota, period = [*_words(folder / "cpu.max"), "", ""][:2]
    return _share(quota, period)


def _first(folder: Path) -> float:
    """By version 1, where -1 is no limit."""
    return _share(*(" ".join(_words(folder / f"cpu.cfs_{name}_us")) for name in ("quota", "period")))


def _share(quota: str, period: str) -> float:
    known = quota.isascii() and quota.isdecimal() and period.isascii() and period.isdecimal()
    return int(quota) / int(period) if known and int(quota) and int(period) else math.inf


def _words(path: Path) -> list[str]:
    return [word for line in _lines(path) for word in line.split()]


def _lines(path: Path) -> list[str]:
    """Of a text file; none where it cannot be read."""
    try:
        return path.read_text().splitlines()
    except (OSError, UnicodeDecodeError):
        return []
