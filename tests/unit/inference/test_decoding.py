"""Parts of files: checked by processes of their own ahead of the prediction, and never more than two at a time."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from semisonic.data.sets.limits import Limits
from semisonic.inference import decoding
from semisonic.inference.batches import Found
from semisonic.inference.decoding import examined_here, found_parts, predicted
from semisonic.inference.reading import Reading
from semisonic.inference.sources import FileSources, files_below
from semisonic.schema import Stopped
from tests.support.image_folders import write_images


@pytest.fixture
def sources(tmp_path: Path) -> FileSources:
    write_images(tmp_path / "images", [f"{number:02}.png" for number in range(10)])
    (tmp_path / "images" / "04.png").write_bytes(b"no image")
    (tmp_path / "images" / "00.png").write_bytes((tmp_path / "images" / "01.png").read_bytes())
    return files_below(tmp_path / "images")


def test_a_part_is_what_can_be_used_of_it_by_content(sources: FileSources):
    found = examined_here(Reading(), sources, range(6))
    assert found.rows.tolist() == [0, 1, 2, 3, 5] and found.left_out == [(4, "not an image")]
    assert found.files is not None and found.keys is not None
    assert found.files.paths == ["00.png", "01.png", "02.png", "03.png", "05.png"]
    assert found.files.shapes.tolist() == [[24, 40]] * 5
    assert found.keys[0] == found.keys[1] and len(np.unique(found.keys)) == 4


@pytest.mark.slow
def test_processes_find_what_this_one_finds_one_part_ahead(sources: FileSources, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(decoding, "PROCESSES_FROM", 1)
    parts = [range(first, min(first + 3, 10)) for first in range(0, 10, 3)]
    begun: list[range] = []
    submit = decoding._submitted

    def noted(*args: Any) -> Iterator[object]:
        begun.append(args[-1])
        return submit(*args)

    monkeypatch.setattr(decoding, "_submitted", noted)
    for number, found in enumerate(found_parts(sources, parts, Reading(2), lambda: None)):
        here = examined_here(Reading(), sources, parts[number])
        assert found.rows.tolist() == here.rows.tolist() and found.left_out == here.left_out
        assert np.array_equal(found.keys, here.keys)  # type: ignore[arg-type]
        assert len(begun) <= number + 2
    assert begun == parts


def test_a_stop_is_heard_between_two_files(sources: FileSources):
    seen = []

    def check() -> None:
        seen.append(1)
        if len(seen) == 3:
            raise Stopped("now")

    with pytest.raises(Stopped):
        next(found_parts(sources, [range(10)], Reading(1), check))
    assert len(seen) == 3


def stopped(images: int) -> None:
    raise Stopped("now")


class Network:
    """In a predictor's place: its first batch, or that of a file that has gone, ends with an error."""

    reading = Reading()

    def __init__(self, sources: FileSources, error: Exception | None):
        self.sources, self.errors = sources, [error] * (error is not None)

    def outputs(self, found: Found, check: Callable[[int], object]) -> None:
        if self.errors:
            raise self.errors.pop()
        check(len(found.rows))


def test_a_stop_does_not_wait_for_a_part_to_be_read_again(sources: FileSources, monkeypatch: pytest.MonkeyPatch):
    found = examined_here(Reading(), sources, range(10))
    monkeypatch.setattr(Reading, "examine", lambda *_: pytest.fail("read again"))
    for error in (None, OSError("gone")):
        with pytest.raises(Stopped):
            predicted(Network(sources, error), found, stopped)  # type: ignore[arg-type]


def test_limits_are_told_by_the_options_that_raise_them(sources: FileSources):
    found = examined_here(Reading(limits=Limits(file_mb=1, pixels=24 * 40 - 1)), sources, range(2))
    assert [row for row, _ in found.left_out] == [0, 1] and "--max-pixels 959" in found.left_out[0][1]
    found = examined_here(Reading(limits=Limits(file_mb=1e-5)), sources, range(2))
    assert "--max-file-mb" in found.left_out[0][1]
