"""Files of a run: their format, their checksums, and what a file system may refuse."""

import errno
import os
from pathlib import Path

import pytest

from semisonic.checkpoint.atomic_files import (
    file_problem,
    sync_folder,
    write_file,
    write_text,
    writing,
)
from semisonic.schema import UserError


def refuse(number: int):
    def refusal(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    return refusal


def test_checksums_find_what_changed(tmp_path: Path):
    path = tmp_path / "file"
    entry = write_file(path, [b"123456789"])
    assert entry == {"bytes": 9, "crc32": "cbf43926"} and file_problem(path, entry) is None  # the check value of CRC-32
    path.write_bytes(b"123456780")
    assert "checksum" in str(file_problem(path, entry))
    path.write_bytes(b"1234")
    assert "has 4 bytes and should have 9" in str(file_problem(path, entry))
    path.unlink()
    assert "No such file" in str(file_problem(path, entry))


def test_a_write_that_comes_to_the_disk_in_parts_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    real = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: real(descriptor, data[:3]))
    entry = write_file(tmp_path / "file", [b"0123456789", b"", b"ab"])
    assert (tmp_path / "file").read_bytes() == b"0123456789ab" and entry["bytes"] == 12


@pytest.mark.parametrize("call", ["write", "fsync"])
def test_text_is_the_old_or_the_new_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str):
    path = tmp_path / "status.json"
    write_text(path, "old")
    with monkeypatch.context() as patch:
        patch.setattr(os, call, refuse(errno.ENOSPC))
        with pytest.raises(UserError, match=r"written: No space left.*; free space, then --resume"), writing(path):
            write_text(path, "new")
    assert path.read_text() == "old" and [p.name for p in tmp_path.iterdir()] == ["status.json"]


def test_a_file_system_that_cannot_sync_folders_is_no_obstacle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for number in (errno.EINVAL, errno.ENOTSUP):
        monkeypatch.setattr(os, "fsync", refuse(number))
        sync_folder(tmp_path)
    monkeypatch.setattr(os, "fsync", refuse(errno.EIO))
    with pytest.raises(OSError, match="Input/output"):
        sync_folder(tmp_path)
