"""Headers of many files as columns: what is told of them, and which files may be equal."""

import numpy as np

from semisonic.inspection.facts import Header
from semisonic.inspection.findings import Span
from semisonic.inspection.headers import collect, perhaps_equal, summary


def a_header(number: int, **changed) -> Header:
    entry = Header(100 + number, 1, number + 1, 20, 40, 0, "PNG", "RGB", bytes([number]) * 16)
    return entry._replace(**changed)


ENTRIES = [
    a_header(0),
    a_header(1, height=60, width=30, orientation=6, format="JPEG"),
    a_header(2, color="gray", several=True),
    Header(reason="not an image", size=7),
    a_header(4, height=10, width=10),
]
PATHS = ["a", "b", "c", "d", "e"]


def test_formats_colors_sizes_and_turns_are_told():
    table = collect(iter(ENTRIES), 5)
    found = summary(table, PATHS, size=25)
    assert table.reasons == {3: "not an image"} and len(table) == 5
    assert found.images == 4 and found.bytes == 100 + 101 + 102 + 7 + 104
    assert found.formats == {"PNG": 3, "JPEG": 1} and found.format_bytes == {"PNG": 306, "JPEG": 101}
    assert found.colors == {"RGB": 3, "gray": 1} and found.orientations == {6: 1}
    assert found.height == Span(10, 20, 60) and found.width == Span(10, 35, 40)
    assert found.shorter_side == Span(10, 20, 30) and found.aspect == Span(0.5, 1.5, 2)
    assert found.largest == "b" and found.smaller == 3
    assert found.several == 1 and found.one_of_several == "c"


def test_of_no_image_nothing_is_told():
    found = summary(collect(iter([Header(reason="empty file")]), 1), ["a"], 32)
    assert found.images == 0 and found.height is None and found.largest == "" and found.smaller == 0
    assert perhaps_equal(collect(iter([]), 0)).tolist() == []


def test_files_may_be_equal_by_size_and_end_or_by_identity():
    entries = [
        a_header(0),
        a_header(1, size=100, tail=bytes(16)),  # as the first
        a_header(2, size=100),  # another end
        a_header(3, tail=bytes(16)),  # another size
        a_header(4),
        a_header(5, inode=5),  # the same file
        Header(reason="empty file", inode=8),
        Header(reason="empty file", inode=9),
    ]
    assert np.flatnonzero(perhaps_equal(collect(iter(entries), 8))).tolist() == [0, 1, 4, 5]
