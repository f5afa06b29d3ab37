"""The table of an inspection: short, whatever was found, and safe for terminals."""

import io
import re

import pytest
from rich.console import Console

from semisonic.inspection.findings import (
    ClassCount,
    Copies,
    Decoded,
    Files,
    Inspection,
    Roles,
    Span,
    Suggestion,
    Unusable,
)
from semisonic.inspection.report import readable_bytes, show, shown_classes

EVIL = "\x1b[2J\u202eevil\n[bold]\udcff"


def shown(found: Inspection, width: int = 120) -> str:
    file = io.StringIO()
    show(found, Console(file=file, width=width, highlight=False))
    return re.sub(r" +\n", "\n", file.getvalue())


def everything(name: str, many: int = 1) -> Inspection:
    return Inspection(
        name,
        Roles(labeled=10, unlabeled=5, test=4, other=1, drawn=8, held_out=2, pool=13, test_held_back=True),
        [ClassCount(name, 10, 8, 2, 4)],
        Files(
            20, 5000, {name: 20}, {name: 5000}, {name: 20}, {6: 3}, Span(1, 2, 3), Span(4, 4, 4), Span(1, 2, 3),
            Span(0.5, 1, 2), name, 64, 7, 2, name,
        ),
        Decoded(12, False, 3, 4, [name] * many),
        Copies(4, 1, [], [[name, name]] * many, [[name, name]] * many, [[name, name]] * many),
        [Unusable(name, name)] * many,
        {name: 4}, name, {name: 2}, [name] * many, [name] * many, [name], [Suggestion(name, name)], name,
    )  # fmt: skip


@pytest.mark.parametrize("width", [120, 40])
def test_no_text_moves_a_terminal(width: int):
    text = shown(everything(EVIL), width)
    assert text.replace("\n", "").isprintable() and "[bold]" in text.replace("\n", "").replace(" ", "")


def test_everything_is_said():
    text = shown(everything("x"))
    for said in (
        "10 images of 1 class", "4 (none are given: held back from the labeled ones)",
        "1: what the folders are for is not understood", "8 labels (8 a class), 2 held out, a pool of 13",
        "4 wide, 1, 2, 3 high", "0.50, 1.00, 2.00", "7 of 20, 35%: they are enlarged", "2 files, such as x: of each the first one is read", "turned by 90° 3",
        "12 of 20, spread over each role", "4 of the 12", "1 image: x of the 12; the standard deviation",
        "4 images with the content of another, 1 of them links: x = x", "1 image under two classes",
        "1 test image also for training", "1 file: x (x)", "4 files, no images by name: x 4; x", "A training would be refused",
        "To train, once that is put right",
    ):  # fmt: skip
        assert said in text, (said, text)


def test_without_test_images_there_is_no_accuracy():
    assert "test             0; no test accuracy is reported" in shown(
        Inspection("x", Roles(labeled=2, drawn=2, pool=2), [ClassCount("a", 2, 2, 0, 0)])
    )


def test_long_lists_are_cut():
    text = shown(everything("x", 1000))
    assert len(text) < 100_000 and "and 995 more" in text and "and 998 more" in text


def test_of_many_classes_the_largest_and_smallest_are_shown():
    classes = [ClassCount(f"c{n}", n, 0, 0, 0) for n in range(1000)]
    kept = shown_classes(classes, 4)
    assert [entry.name for entry in kept] == ["c999", "c998", "c1", "c0"] and shown_classes(classes[:4], 4) == classes[
        :4
    ]
    text = shown(Inspection("x", classes=classes))
    assert "20 of 1,000" in text and "c999" in text and "c500" not in text


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 bytes"), (999, "999 bytes"), (1500, "1.5 kB"), (123e6, "123 MB"), (4e12, "4.00 TB")]
)
def test_bytes_are_readable(count: int, text: str):
    assert readable_bytes(count) == text
