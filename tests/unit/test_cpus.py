"""CPUs that a process may use: the time that control groups leave it counts, by either version, and nothing fails."""

import math
import os
from pathlib import Path

import pytest

from semisonic import cpus


@pytest.mark.parametrize(
    ("own", "files", "expected"),
    [
        ("0::/\n", {"cpu.max": "200000 100000\n"}, 2.0),
        ("0::/\n", {"cpu.max": "max 100000\n"}, math.inf),
        ("0::/a/b\n", {"a/b/cpu.max": "max 100000\n", "a/cpu.max": "150000 100000\n"}, 1.5),
        ("0::/not/seen/inside\n", {"cpu.max": "50000 100000\n"}, 0.5),
        ("4:memory:/x\n1:cpu,cpuacct:/job\n", {"cpu,cpuacct/job/cpu.cfs_quota_us": "300000\n",
                                               "cpu,cpuacct/job/cpu.cfs_period_us": "100000\n"}, 3.0),
        ("1:cpu:/\n", {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, math.inf),
        ("0::/\n", {"cpu.max": ""}, math.inf),
        ("nonsense\n", {"cpu.max": "1 0\n"}, math.inf),
        (None, {}, math.inf),
    ],
)  # fmt: skip
def test_the_quota_of_a_group_and_of_those_around_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own: str | None, files: dict[str, str], expected: float
):
    monkeypatch.setattr(cpus, "OWN", tmp_path / "own")
    monkeypatch.setattr(cpus, "ROOT", tmp_path / "cgroup")
    if own is not None:
        (tmp_path / "own").write_text(own)
    for name, content in files.items():
        (tmp_path / "cgroup" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "cgroup" / name).write_text(content)
    assert cpus.quota() == expected
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    assert cpus.usable_cpus() == (8 if math.isinf(expected) else math.ceil(expected))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("processor : 0\nflags\t\t: fpu avx512_bf16\nvmx flags : x\n", True),
        ("flags : amx_bf16 amx_tile\nflags : avx512_bf16\n", True),
        ("flags : avx512_bf16\nflags : avx512f\n", False),
        ("flags : avx512f avx512_vnni\n", False),
        ("model name : avx512_bf16\n", False),
        ("Features : asimd bf16\n", False),
        (None, False),
    ],
)
def test_every_cpu_has_the_instructions_or_none_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str | None, expected: bool
):
    monkeypatch.setattr(cpus, "INFO", tmp_path / "cpuinfo")
    if text is not None:
        (tmp_path / "cpuinfo").write_text(text)
    assert cpus.multiply_bf16() is expected
