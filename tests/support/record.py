"""Stores the outcome of a session of tests with the commit, machine and versions that it belongs to."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

ROOT = Path(__file__).parents[2]
FILE = ROOT / "benchmarks" / "results" / "test-long.json"


def record(config: pytest.Config, name: str, seconds: float, file: Path = FILE) -> None:
    """Replaces what the file holds under a name; other names stay. Called at the end of a session.

    name: the command, and behind a comma which part of it, as "make test-long, shared".
    """
    stored = json.loads(file.read_text()) if file.exists() else {}
    sys.path.append(str(ROOT / "benchmarks"))
    from measure import store

    found = outcome(config, seconds)
    command = name.partition(",")[0]
    store(file, stored | {name: found, "environment": found["environment"]}, "none: tests are counted", command)


def outcome(config: pytest.Config, seconds: float) -> dict[str, Any]:
    """How many tests ended how, in how many seconds, and the names of those that failed."""
    from measure import environment

    reporter: Any = config.pluginmanager.get_plugin("terminalreporter")
    counts = {
        kind: len(reporter.stats.get(kind, ())) for kind in ("passed", "failed", "error", "skipped", "deselected")
    }
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return {
        "environment": environment(device) | {"commit": commit()},
        "arguments": list(config.invocation_params.args),
        "seconds": round(seconds, 1),
        "counts": counts,
        "failures": [report.nodeid for kind in ("failed", "error") for report in reporter.stats.get(kind, ())],
    }


def commit() -> str:
    """The commit, with a + where a tracked file differs from it that is no result."""
    changed = git("status", "--porcelain", "--untracked-files=no", "--", ".", ":!benchmarks/results")
    return git("describe", "--always") + ("+" if changed else "")


def git(*arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else "unknown"
