"""Arrays of .npy and .npz: what NumPy writes is read as NumPy reads it; everything else is refused before it costs."""

import io
import os
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from semisonic.records.arrays import open_arrays, read_array
from semisonic.schema import UserError
from tests.support.fuzz import INPUTS, attack, npy, npy_files, npz, npz_files

VALUES = np.arange(12, dtype=np.int16).reshape(3, 4)
FORMS = {
    "plain": VALUES,
    "Fortran": np.asfortranarray(VALUES),
    "big-endian": VALUES.astype(">i2"),
    "one number": np.array(7),
    "floats": VALUES.astype(np.float32),
    "booleans": VALUES > 3,
    "empty": VALUES[:0],
    "text": np.array("text"),
}


@pytest.mark.parametrize("form", FORMS)
def test_what_numpy_writes_is_read(form: str, tmp_path: Path):
    array = FORMS[form]
    np.save(tmp_path / "a.npy", array)
    np.savez_compressed(tmp_path / "a.npz", one=array, two=VALUES)
    found = [read_array(tmp_path / "a.npy", kinds="biufU")]
    with open_arrays(tmp_path / "a.npz") as stored:
        assert stored.names == ["one", "two"]
        found.append(stored.read("one"))
        assert stored.header("one").shape == array.shape
    for own in found:
        assert np.array_equal(own, array) and own.dtype == array.dtype.newbyteorder("=")


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_all_versions_of_the_format_are_read(version: tuple[int, int], tmp_path: Path):
    with (tmp_path / "a.npy").open("wb") as file:
        np.lib.format.write_array(file, VALUES, version=version)
    assert np.array_equal(read_array(tmp_path / "a.npy"), VALUES)


def _header(text: bytes) -> bytes:
    return b"\x93NUMPY\x01\0" + struct.pack("<H", len(text)) + text


REFUSED: dict[str, tuple[bytes, str]] = {
    "pickled objects": (npy(np.array([{}], dtype=object)), "holds Python objects, which are not loaded"),
    "records": (npy(np.zeros(2, [("a", "<i4")])), "holds records; save numbers"),
    "dates": (npy(np.zeros(2, "M8[s]")), "holds the type <M8[s]; save numbers"),
    "complex numbers": (npy(np.zeros(2, complex)), "holds the type <c16; save numbers"),
    "a terabyte in a header": (npy(np.zeros(2), shape=(10**12,)), "8,000,000,000,000 bytes, and holds 16: truncated"),
    "a product past 2^64": (npy(np.zeros(2), shape=(2**40, 2**40)), "and holds 16: truncated or damaged"),
    "a negative side": (npy(np.zeros(2), shape=(-1,)), "has a shape that none can have: (-1,)"),
    "a side that is no number": (npy(np.zeros(2), shape="x"), "has a shape that none can have: x"),
    "forty sides": (npy(np.zeros(1), shape=(1,) * 40), "has a shape that none can have"),
    "more than it says": (npy(np.zeros(2)) + b"more", "and holds 20: truncated or damaged"),
    "half of it": (npy(np.zeros(8))[:-8], "64 bytes, and holds 56: truncated"),
    "half of its header": (npy(np.zeros(8))[:40], "ends within its header"),
    "another version": (b"\x93NUMPY\x09\0" + bytes(20), "is an .npy of version 9"),
    "a header of a gigabyte": (b"\x93NUMPY\x02\0" + struct.pack("<I", 2**30), "has a header of 1,073,741,824 bytes"),
    "a header of brackets": (_header(b"[" * 60_000), "has a damaged header"),
    "a header that is code": (_header(b"__import__('os').abort()"), "has a damaged header"),
    "a header that is no dict": (_header(b"{[]: 1}"), "has a damaged header"),
    "nothing": (b"", "is no .npy, or damaged"),
    "another file": (b"\x89PNG\r\n\x1a\n" * 9, "is no .npy, or damaged"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_no_array_of_numbers_is_refused(what: str, tmp_path: Path):
    content, reason = REFUSED[what]
    (tmp_path / "a.npy").write_bytes(content)
    (tmp_path / "a.npz").write_bytes(npz({"one": content}))
    with pytest.raises(ValueError) as caught:
        read_array(tmp_path / "a.npy")
    assert reason in str(caught.value)
    with pytest.raises(ValueError) as caught, open_arrays(tmp_path / "a.npz") as stored:
        stored.read("one")
    assert str(caught.value).startswith("its array one ") and reason in str(caught.value)
    assert "allow_pickle" not in str(caught.value)


def _zip(change: Callable[[zipfile.ZipFile], object], **options: Any) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", **options) as archive:
        change(archive)
    return file.getvalue()


def _encrypted() -> bytes:
    content = bytearray(_zip(lambda archive: archive.writestr("one.npy", npy(VALUES))))
    for signature, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(signature) + flags] |= 1
    return bytes(content)


def _method(number: int) -> bytes:
    content = bytearray(_zip(lambda archive: archive.writestr("one.npy", npy(VALUES))))
    for signature, place in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        content[content.index(signature) + place] = number
    return bytes(content)


ARCHIVES: dict[str, tuple[bytes, str]] = {
    "a single array": (npy(VALUES), "is a single array; an .npz with named arrays is needed"),
    "no zip": (b"PK\x03\x04 no zip at all", "is no .npz, or damaged"),
    "cut": (npz({"one": npy(np.arange(999))})[:-30], "is no .npz, or damaged"),
    "one name twice": (npz({"one": npy(VALUES)}, ["one"]), "holds the array one twice"),
    "many names": (
        _zip(lambda archive: [archive.writestr(f"{n}.npy", b"") for n in range(1001)]), "holds 1,001 arrays; at most"
    ),
    "encrypted": (_encrypted(), "its array one is damaged"),
    "another compression": (_method(98), "its array one is damaged"),
    "changed": (
        npz({"one": npy(VALUES)}).replace(b"PK\x03\x04", b"PK\x03\x05", 1), "its array one is damaged"
    ),
    "another name at its place, of hundreds of letters": (
        npz({"one": npy(np.random.default_rng(0).random(200))}).replace(b"\x07\0\0\0one", b"\x07\x02\0\0one", 1),
        "its array one is damaged (File name in directory",
    ),
    "a bomb": (npz({"one": npy(np.zeros(2**22))}), "would be 33,554,560 bytes out of "),
}  # fmt: skip


@pytest.mark.parametrize("what", ARCHIVES)
def test_what_is_no_archive_of_arrays_is_refused(what: str, tmp_path: Path):
    content, reason = ARCHIVES[what]
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(ValueError) as caught, open_arrays(tmp_path / "a.npz") as stored:
        stored.read("one")
    assert reason in str(caught.value) and len(str(caught.value)) < 250


def test_an_array_of_another_shape_is_not_read(tmp_path: Path):
    np.save(tmp_path / "a.npy", VALUES)
    np.savez(tmp_path / "a.npz", one=VALUES)
    with pytest.raises(ValueError, match=r"holds int16 \[3, 4\]"):
        read_array(tmp_path / "a.npy", (4, 3))
    with pytest.raises(ValueError, match=r"holds int16 \[3, 4\]"):
        read_array(tmp_path / "a.npy", kinds="f")
    with (
        pytest.raises(ValueError, match=r"its array one is int16 .*at most 8 are needed"),
        open_arrays(tmp_path / "a.npz") as stored,
    ):
        stored.read("one", most=8)


def test_nothing_waits_for_a_pipe(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe")
    for path, reason in {tmp_path / "pipe": "a named pipe, not a regular file", tmp_path: "a folder, not"}.items():
        with pytest.raises(OSError, match=reason):
            read_array(path)


def _told(read: Callable[[Path], object]) -> Callable[[Path], object]:
    """As its callers tell it."""

    def tell(path: Path) -> object:
        try:
            return read(path)
        except (OSError, ValueError) as error:
            raise UserError(f"{path}: {error}") from error

    return tell


def _all(path: Path) -> None:
    with open_arrays(path) as stored:
        for name in stored.names:
            stored.read(name)


@INPUTS
def test_no_content_surprises(inputs: int, tmp_path: Path):
    attack(_told(read_array), tmp_path / "a.npy", npy_files(VALUES), inputs)
    attack(_told(_all), tmp_path / "a.npz", npz_files({"one": VALUES, "two": np.array("text")}), inputs)
