"""What is carried to a GPU machine, how it is put together there, and the check of batches made on the GPU."""

import hashlib
import io
import os
import shutil
import struct
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from semisonic.algorithms.base import Batch
from tests.support.processes import ROOT

if str(ROOT / "benchmarks" / "gpu") not in sys.path:
    sys.path.append(str(ROOT / "benchmarks" / "gpu"))

import check_data
import prune_fatbin

# Fat binaries.


def entry(kind: int, capability: int, payload: bytes) -> bytes:
    header = struct.pack("<HHIQ", kind, 0x101, 64, len(payload)) + bytes(12) + struct.pack("<I", capability)
    return header.ljust(64, b"\0") + payload


def fat_binary(*entries: bytes) -> bytes:
    body = b"".join(entries)
    return struct.pack("<IHHQ", 0xBA55ED50, 1, 16, len(body)) + body


def test_one_capability_is_left_and_every_byte_after_it_keeps_its_place():
    kept, other, text = entry(2, 90, b"hopper" * 8), entry(2, 80, b"ampere" * 50), entry(1, 90, b"assembly" * 9)
    library = b"head" + fat_binary(other, kept, text) + b"middle" + fat_binary(kept) + b"tail"
    data = bytearray(library)
    assert prune_fatbin.prune(data, 90) == len(other) + len(text)
    freed = bytes(len(other) + len(text))
    assert bytes(data) == b"head" + fat_binary(kept) + freed + b"middle" + fat_binary(kept) + b"tail"
    assert prune_fatbin.prune(data, 90) == 0  # it is read as a fat binary again


def test_what_holds_nothing_for_the_capability_is_left_as_it_is():
    library = (
        fat_binary(entry(2, 80, b"x" * 40), entry(1, 90, b"y" * 40)) + struct.pack("<I", 0xBA55ED50) + b"by chance"
    )
    data = bytearray(library)
    assert prune_fatbin.prune(data, 90) == 0 and bytes(data) == library


def test_a_library_is_copied(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "a.so").write_bytes(fat_binary(entry(2, 80, bytes(2**20)), entry(2, 90, b"code")))
    prune_fatbin.main(str(tmp_path / "a.so"), str(tmp_path / "b.so"), "90")
    assert (tmp_path / "b.so").stat().st_size == (tmp_path / "a.so").stat().st_size
    assert capsys.readouterr().out == "a.so: 1 of 1 MiB zeroed\n"


# The packed folder on the other machine.


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


# Batches.

CPU = torch.device("cpu")


@pytest.mark.filterwarnings("ignore:The external source node")
def test_the_check_of_batches_finds_them_the_same(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Both on the CPU; on a GPU the check compares what can differ."""
    monkeypatch.setattr(check_data, "VARIANTS", check_data.VARIANTS[1:3])
    assert check_data.check(CPU, steps=4) == 0
    found = capsys.readouterr().out
    assert found.count("the same") == 2 and "--algorithm.strong augmix - images" in found


def batches(steps: int) -> Iterator[Batch]:
    none = torch.empty(0, dtype=torch.int64)
    for step in range(steps):
        image = torch.full((4, 3, 8, 8), step, dtype=torch.uint8)
        keys = torch.arange(4) + step
        yield Batch({"weak": image}, keys, keys, {"strong": image + 1}, keys, none, keys, {}, {})


def test_the_check_of_batches_names_step_and_tensor():
    found = check_data.late_copies(batches(3), 3, CPU)
    assert check_data.differences(found, batches(3), 0.0) == []
    found[1][".u['strong']"][0, 0, 0, 0] += 1
    found[2][".u_key"][3] += 1
    image, key = check_data.differences(found, batches(3), 0.0)
    assert image == "step 1, .u['strong']: 0.13% of the values differ" and key.startswith("step 2, .u_key: 25.00%")
    assert check_data.differences(found, batches(3), 0.01) == [key]  # for keys there is no tolerance
