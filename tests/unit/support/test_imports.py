"""What tests share lies in tests/support, so that a test module can be moved, split or removed by itself."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[3]


def imported(text: str) -> set[str]:
    """The modules that a text imports, absolutely and relatively, and the names taken from them."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {node.module or ""} | {f"{node.module or ''}.{alias.name}" for alias in node.names}
    return found


def modules_of_tests(text: str) -> set[str]:
    """Those that are modules of tests; `from ... import test_*` of a function counts too."""
    return {name for name in imported(text) if any(part.startswith("test_") for part in name.split("."))}


def test_no_test_module_is_imported():
    offenders = {
        str(path.relative_to(ROOT)): found
        for folder in ("tests", "benchmarks")
        for path in sorted((ROOT / folder).rglob("*.py"))
        if (found := modules_of_tests(path.read_text()))
    }
    assert offenders == {}


def test_every_form_of_such_an_import_is_found():
    forms = (
        "import tests.unit.test_a",
        "from tests.unit import test_a",
        "from .test_a import b",
        "def f():\n    import test_a",
    )
    assert all(modules_of_tests(form) for form in forms)
    assert not modules_of_tests("import torch.testing\nfrom tests.support.algorithms import make")
