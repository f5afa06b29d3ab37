"""What pytest shows and how long it lets a test on a GPU run, as set in pyproject.toml and conftest.py."""

import subprocess
import sys
from pathlib import Path

from tests.conftest import GPU_SECONDS, QUICK_SECONDS, ROOT


def run(*arguments: object) -> str:
    """What a pytest of its own prints, with this project's settings."""
    command = [sys.executable, *map(str, arguments), "-c", str(ROOT / "pyproject.toml"), "-p", "no:cacheprovider"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, cwd=ROOT)
    return done.stdout + done.stderr


def test_a_failure_shows_warnings_but_not_what_torch_traces(tmp_path: Path):
    lines = [
        "import logging, torch",
        "def test_that_fails():",
        '    torch.compile(lambda x: x + 1, backend="eager")(torch.zeros(3))',
        '    logging.getLogger("semisonic").warning("worth knowing")',
        "    assert False",
    ]
    (tmp_path / "test_one.py").write_text("\n".join(lines))
    found = run("-m", "pytest", "--rootdir", tmp_path, tmp_path / "test_one.py")
    assert "1 failed" in found and "worth knowing" in found
    assert "DEBUG" not in found and "torch.__trace" not in found


LISTS = """
import sys, pytest

class Lists:
    def pytest_collection_finish(self, session):
        for item in session.items:
            limits = [mark.args[0] for mark in item.iter_markers("timeout")]
            print("found", item.name, limits, bool(item.get_closest_marker("gpu")))

pytest.main(sys.argv[1:], plugins=[Lists()])
"""


def test_every_test_has_a_time_limit_and_the_shortest_on_a_gpu():
    found = run(
        "-c",
        LISTS,
        "--collect-only",
        ROOT / "tests" / "gpu" / "test_writer.py",
        ROOT / "tests" / "unit" / "kernels" / "test_mixup.py",
    )
    rows = [line for line in found.splitlines() if line.startswith("found")]
    on_gpu = [row for row in rows if row.endswith("True")]
    assert len(on_gpu) > 1 and all(f" [{GPU_SECONDS}] " in row for row in on_gpu)
    assert len(rows) > len(on_gpu) and all(f" [{QUICK_SECONDS}] " in row for row in rows if row not in on_gpu)


def test_a_time_limit_ends_the_test_and_not_the_session(tmp_path: Path):
    """As `make test-gpu` runs: the worker of a test that hangs ends, another one goes on, and both are reported."""
    lines = ["import time", "def test_hangs():", "    time.sleep(60)", "def test_passes():", "    pass"]
    (tmp_path / "test_two.py").write_text("\n".join(lines))
    options = [
        "--numprocesses",
        "1",
        "--timeout",
        "2",
        "--timeout-method",
        "thread",
        "--junitxml",
        tmp_path / "tests.xml",
    ]
    found = run("-m", "pytest", "--rootdir", tmp_path, tmp_path / "test_two.py", *options)
    assert "1 failed, 1 passed" in found and "test_hangs" in found
    written = (tmp_path / "tests.xml").read_text()
    assert 'tests="2"' in written and "crashed" in written
