"""A library keeps the code of one capability, and every byte its place."""

import struct
from pathlib import Path

import pytest

import prune_fatbin


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
