"""What is no regular file is told at once, as what it is; a pipe is read where one may be given."""

import os
import socket
import threading
from pathlib import Path

import pytest

from semisonic.records.files import open_regular


def test_what_is_no_regular_file_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    os.mkfifo(tmp_path / "pipe")
    monkeypatch.chdir(tmp_path)  # the names of sockets are short
    with socket.socket(socket.AF_UNIX) as own:
        own.bind("socket")
    wanted = {"pipe": "a named pipe", "socket": "a socket", "/dev/zero": "a device", ".": "a folder"}
    for path, kind in wanted.items():
        with pytest.raises(OSError) as caught:
            open_regular(path)
        assert caught.value.strerror == f"{kind}, not a regular file"


def test_a_pipe_is_read_where_one_may_be_given(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=(tmp_path / "pipe").write_bytes, args=(b"seed: 1",))
    writer.start()
    with open_regular(tmp_path / "pipe", pipes=True) as file:
        assert file.read() == b"seed: 1"
    writer.join()
    with pytest.raises(OSError, match="a folder, not a regular file"):
        open_regular(tmp_path, pipes=True)
