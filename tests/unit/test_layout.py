"""Imports run one way, and the project names nothing outside itself."""

import ast
import sys
from pathlib import Path

from tests.support.processes import ROOT

ENGINE, KERNELS = ROOT / "engine" / "semisonic", ROOT / "kernels" / "semisonic_kernels"


def imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {node.module or ""} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def offenders(folder: Path, forbidden: tuple[str, ...], allowed: tuple[str, ...] = ()) -> list[str]:
    return [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in sorted(folder.rglob("*.py"))
        if path.name not in allowed
        for name in sorted(imports(path))
        if any(name == bad or name.startswith(bad + ".") for bad in forbidden)
    ]


def test_kernels_import_torch_and_triton_only():
    for path in KERNELS.rglob("*.py"):
        roots = {name.partition(".")[0] for name in imports(path)} - {""} - sys.stdlib_module_names
        assert roots <= {"torch", "triton", "semisonic_kernels"}, path


def test_algorithms_and_models_know_neither_trainer_nor_data_nor_accelerate():
    above = tuple(
        f"semisonic.{name}" for name in ("trainer", "data", "run", "config", "commandline", "state", "cli", "report")
    )
    assert offenders(ENGINE / "algorithms", (*above, "accelerate")) == []
    assert offenders(ENGINE / "models", (*above, "accelerate", "semisonic.algorithms")) == []


def test_data_know_neither_the_trainer_nor_algorithms():
    above = tuple(f"semisonic.{name}" for name in ("trainer", "run", "config", "commandline", "state", "cli", "optim"))
    assert offenders(ENGINE / "data", (*above, "semisonic.algorithms")) == []


def test_the_trainer_knows_no_algorithm_by_name():
    assert (
        offenders(ENGINE, ("semisonic.algorithms.fixmatch", "semisonic.algorithms.supervised"), ("registry.py",)) == []
    )


def test_accelerate_is_imported_where_runs_are_wired_only():
    allowed = (
        "trainer.py",
        "runtime.py",
        "trackers.py",
        "run.py",
        "tracker_names.py",
        "parallel.py",
        "fit.py",
        "stepper.py",
    )
    assert offenders(ENGINE, ("accelerate",), allowed) == []
