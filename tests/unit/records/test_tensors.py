"""Safetensors files by their headers: what claims more than the file has is refused before memory is taken."""

import json
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import strategies as st

from semisonic.checkpoint.tensor_files import write_tensors
from semisonic.records.tensors import Entry, load_tensors, read_header
from semisonic.schema import UserError
from tests.support.fuzz import INPUTS, Content, attack, damaged, json_files, odd_files

VALID = {
    "a": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]},
    "b": {"dtype": "I64", "shape": [], "data_offsets": [16, 24]},
}


def content(header: Any, data: int = 24) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + bytes(data)


WRONG: dict[str, tuple[bytes, str]] = {
    "a length of 2^60": (struct.pack("<Q", 2**60) + b"{}", "is no safetensors file (a header of 1,152,921,504,606,846,976 bytes"),
    "too short": (b"abc", "is no safetensors file (a header of 0 bytes in a file of 3)"),
    "10^12 elements": (
        content({"a": {"dtype": "F32", "shape": [10**12], "data_offsets": [0, 24]}}),
        "a: F32 [1000000000000] needs 4,000,000,000,000 bytes, its place has 24",
    ),
    "10^12 elements and bytes": (
        content({"a": {"dtype": "F32", "shape": [10**12], "data_offsets": [0, 4 * 10**12]}}),
        "its tensors are 4,000,000,000,000 bytes, and the file has 24 behind its header",
    ),
    "overlapping": (
        content({**VALID, "b": {"dtype": "I64", "shape": [], "data_offsets": [8, 16]}}),
        "b: begins at byte 8, and a ends at 16",
    ),
    "a hole": (content(VALID, 100), "its tensors are 24 bytes, and the file has 100 behind its header"),
    "a negative place": (
        content({"a": {"dtype": "F32", "shape": [], "data_offsets": [-4, 0]}}),
        "a.data_offsets.0: -4: input should be greater than or equal to 0",
    ),
    "an unknown type": (
        content({"a": {"dtype": "F99", "shape": [], "data_offsets": [0, 4]}}, 4), "a: the type F99 is none of F64, F32,"
    ),
    "a list": (content([1]), "its header is a list of 1; an object of tensors is needed"),
    "no shape": (content({"a": {"dtype": "F32", "data_offsets": [0, 24]}}), "a.shape: is missing"),
    "twice": (content(b'{"a": 1, "a": 2}'), "a: is given twice"),
}  # fmt: skip


@pytest.mark.parametrize(("data", "message"), WRONG.values(), ids=WRONG)
def test_a_forged_header_has_its_line(tmp_path: Path, data: bytes, message: str):
    path = tmp_path / "model.safetensors"
    path.write_bytes(data)
    with pytest.raises(UserError) as caught:
        load_tensors(path)
    (line,) = caught.value.messages
    assert line.startswith(f"{path}: ") and message in line


def test_what_this_package_writes_is_read(tmp_path: Path):
    path = tmp_path / "model.safetensors"
    tensors = {
        "a": torch.randn(3, 2),
        "b": torch.tensor(3),
        "c": torch.zeros(0, 4, dtype=torch.bfloat16),
        "é": torch.ones(1),
    }
    write_tensors(path, tensors)
    assert read_header(path)["c"] == Entry("BF16", (0, 4))
    found = load_tensors(path)
    assert found.keys() == tensors.keys() and all(torch.equal(found[name], tensors[name]) for name in tensors)


def tensor_files() -> st.SearchStrategy[Content]:
    forged = json_files(VALID).map(lambda header: content(header) if isinstance(header, bytes) else header)
    return st.one_of(forged, forged, damaged(content(VALID)), odd_files(content(VALID)))


@INPUTS
def test_any_file_is_read_or_refused(tmp_path: Path, inputs: int):
    attack(load_tensors, tmp_path / "model.safetensors", tensor_files(), inputs)
