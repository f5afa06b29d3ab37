"""The Triton kernels compile for GPUs that are not here, which their interpreter says nothing about."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.processes import ROOT

triton = pytest.importorskip("triton")
ASSEMBLER = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "ptxas"
pytestmark = pytest.mark.skipif(not ASSEMBLER.exists(), reason="this Triton comes without NVIDIA's assembler")

QUICK = ("ema", "sgd and ema", "augment", "augmix")
"""One case of every kernel."""


def compile_cases(folder: Path, capability: int, *names: str) -> dict[str, int]:
    """Bytes of machine code by case, compiled in a process whose Triton does not interpret, without a cache."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    environment |= {"TRITON_CACHE_DIR": str(folder), "PYTHONPATH": str(ROOT / "kernels")}
    command = [sys.executable, str(Path(__file__).with_name("compile_kernels.py")), str(capability), *names]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return {name: int(size) for name, size in (line.split(": ") for line in done.stdout.splitlines())}


def case_kernels() -> tuple[list[str], set[str]]:
    """Names of the cases, and of the kernels that they compile, read from the script: here Triton interprets."""
    tree = ast.parse(Path(__file__).with_name("compile_kernels.py").read_text())
    (cases,) = (n.value for n in tree.body if isinstance(n, ast.Assign) and ast.unparse(n.targets[0]) == "CASES")
    assert isinstance(cases, ast.Dict)
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and ast.unparse(node.func) == "Case"]
    return [ast.literal_eval(key) for key in cases.keys if key], {ast.unparse(call.args[0]) for call in calls}


def test_every_kernel_that_is_launched_has_a_case():
    launched = set()
    for path in (ROOT / "kernels").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            # KERNEL[grid](...)
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Subscript)
                and isinstance(node.func.value, ast.Name)
            ):
                launched.add(f"{path.stem}.{node.func.value.id}")
    launched = {name for name in launched if name.endswith("_kernel")}
    assert len(launched) > 3 and launched == case_kernels()[1]


def test_kernels_compile_for_hopper(tmp_path: Path):
    found = compile_cases(tmp_path, 90, *QUICK)
    assert tuple(found) == QUICK and all(size > 1000 for size in found.values())


@pytest.mark.slow
@pytest.mark.parametrize("capability", [80, 90, 100])
def test_every_case_compiles_for_three_generations(tmp_path: Path, capability: int):
    names = case_kernels()[0]
    assert list(compile_cases(tmp_path, capability, *names)) == names
