"""What is carried to a GPU machine is put together there, in whatever order its pieces came."""

import hashlib
import io
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from tests.support.processes import ROOT


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout whose first run only says what of the packed folder it can import."""
    root = tmp_path / "checkout"
    (root / "benchmarks" / "gpu").mkdir(parents=True)
    shutil.copy(ROOT / "benchmarks" / "gpu.sh", root / "benchmarks")
    program = "import sys, carried\nprint(carried.VALUE, *sys.argv[1:])\n"
    (root / "benchmarks" / "gpu" / "first_run.py").write_text(program)
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w:xz") as archive:
        content = b"VALUE = 'carried over'\n"
        info = tarfile.TarInfo("./carried.py")
        info.size = len(content)
        archive.addfile(info, io.BytesIO(content))
    whole = written.getvalue()
    for folder, name, piece in ((".gpu", "00", whole[:100]), (".gpu1", "01", whole[100:])):
        (root / folder / "pieces").mkdir(parents=True)
        (root / folder / "pieces" / name).write_bytes(piece)
    (root / ".gpu" / "SHA256").write_text(f"{hashlib.sha256(whole).hexdigest()}  site.tar.xz\n")
    return root


def first_run(checkout: Path, *arguments: str) -> subprocess.CompletedProcess:
    own = os.environ | {"PYTHON": sys.executable, "PACKED": str(checkout.parent / "packed")}
    command = ["bash", str(checkout / "benchmarks" / "gpu.sh"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=own, timeout=100)


def test_pieces_that_came_one_after_the_other_are_put_together(checkout: Path):
    small, large = checkout / ".gpu", checkout / ".gpu1"
    small.rename(checkout / "later")  # the first call has one piece alone
    assert first_run(checkout, "keep").returncode == 0
    shutil.rmtree(large)
    (checkout / "later").rename(small)
    done = first_run(checkout, "speed", "--seconds", "9")
    assert done.stdout == "carried over speed --seconds 9\n", done.stderr
    shutil.rmtree(small)  # unpacked once, it is found again
    assert first_run(checkout).stdout == "carried over\n"


def test_a_piece_that_is_missing_is_told(checkout: Path):
    shutil.rmtree(checkout / ".gpu1")
    done = first_run(checkout)
    assert done.returncode == 2 and "missing or damaged" in done.stderr and done.stdout == ""
