"""A contact sheet as a picture: everything has its place, whatever the names."""

import io

import numpy as np
import pytest
from PIL import Image

from semisonic.inspection.sheet import SIDE, Row, Section, Sheet, Thumb
from semisonic.inspection.sheet_png import GAP, MARGIN, NAMES, png
from semisonic.text import name_of


def plain(color: str) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (SIDE, SIDE), color).save(buffer, "PNG")
    return buffer.getvalue()


def colors(image: Image.Image) -> dict[tuple[int, int, int], int]:
    return {color: count for count, color in image.getcolors(2**24)}


def test_all_images_are_drawn_whole():
    red, blue = Thumb(plain("red")), Thumb(plain("blue"), "a caption\nof two lines")
    sections = [
        Section("Classes", [Row("fox", ("2 labeled",), ((red, red), (blue,)))], ("labeled", "test"), (8, 4)),
        Section("To look at", [Row("copies", (), ((blue, blue),)), Row("broken", (), ((Thumb(b""),),))]),
    ]
    sections[1] = Section("To look at", sections[1].rows, slots=(12,), note="a note")
    image = Image.open(io.BytesIO(png(Sheet("title", "subtitle", sections))))
    found = colors(image)
    assert found[255, 0, 0] == 2 * SIDE**2 and found[0, 0, 255] == 3 * SIDE**2
    assert image.width == 2 * MARGIN + NAMES + 12 * (SIDE + GAP) - GAP + 16


@pytest.mark.parametrize("name", ["x" * 5000, "日本語", "\udcff\n\u202e"])
def test_any_text_is_drawn_inside_of_the_picture(name: str):
    shown = name_of(name)
    thumb = Thumb(plain("red"), f"{shown}\n{shown}")
    sheet = Sheet(shown, shown, [Section(shown, [Row(shown, (shown,), ((thumb,),))], (shown,), (3,), shown)])
    image = Image.open(io.BytesIO(png(sheet)))
    assert image.width < 700 and colors(image)[255, 0, 0] == SIDE**2
    assert set(np.asarray(image)[:, -5:].reshape(-1).tolist()) == {255}


def test_a_sheet_without_images_is_a_picture():
    assert Image.open(io.BytesIO(png(Sheet("nothing", "")))).width > 100
