"""Equal files are found by content, and others are not read."""

from pathlib import Path

import numpy as np
import pytest

from semisonic.data.sets import manifest
from semisonic.inspection import copies, facts
from semisonic.inspection.facts import header
from semisonic.inspection.headers import collect


def test_only_files_that_may_be_equal_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    ends = {"a": b"1" * 9000, "b": b"1" * 9000, "c": b"2" + b"1" * 8999, "d": b"1" * 9001, "e": b"3" * 9000, "f": b""}
    for name, content in ends.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "link").symlink_to(tmp_path / "e")
    names = [*ends, "link"]
    table = collect(map(header, (str(tmp_path / name) for name in names)), len(names))
    read: list[str] = []

    def digest(path: str) -> bytes:
        read.append(Path(path).name)
        return facts.digest(path)

    monkeypatch.setattr(copies, "digest", digest)
    found = copies.digests(tmp_path, names, table, 1)
    assert read == ["a", "b", "c", "e", "link"] and found.dtype == np.uint8 and found.shape == (7, 16)
    _, number = np.unique(found, axis=0, return_inverse=True)
    number = number.reshape(-1).tolist()
    assert number[0] == number[1] and number[4] == number[6] and len(set(number)) == 5
    examined = manifest.examine(str(tmp_path / "a"))
    assert examined is not None and found[0].tobytes() == examined.digest
