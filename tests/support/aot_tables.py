"""Tables of what is known without a GPU, made in processes of their own, and what is wrong with them."""

import importlib
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from tests.support.processes import ROOT

Job = tuple[str, str, list[str]]
"""Part, fault that is planted or "", cases."""
WORKER = ROOT / "tests" / "unit" / "benchmarks" / "aot_worker.py"


def without_gpu() -> Any:
    """The script, whose folder tests/unit/benchmarks/conftest.py adds to the path."""
    return importlib.import_module("without_gpu")


def made(*jobs: Job, seconds: float = 850) -> list[dict[str, Any]]:
    """The jobs' tables, from one process; this one is as it was afterwards."""
    before = torch.cuda.is_available(), dist.is_initialized()
    with tempfile.TemporaryDirectory() as caches:
        done = subprocess.run(
            [sys.executable, str(WORKER), json.dumps(jobs)], capture_output=True, text=True,
            env=without_gpu().environment(Path(caches)), cwd=ROOT, timeout=seconds,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    assert (torch.cuda.is_available(), dist.is_initialized()) == before
    return json.loads(done.stdout.splitlines()[-1])


def stored(part: str) -> dict[str, Any]:
    script = without_gpu()
    return script.read_table(script.file_of(part, script.RESULTS))


def wrong(part: str, table: dict[str, Any]) -> list[str]:
    """What is worse than stored or against the rules; prints whether counts were compared."""
    script = without_gpu()
    worse, notes = script.complaints(script.module_of(part), table, stored(part))
    print(*notes, sep="\n")
    return worse
