"""A contact sheet as one picture."""

import io
from typing import Any

from semisonic.data.sets.own_pictures import signed
from semisonic.inspection.sheet import SIDE, Row, Section, Sheet
from semisonic.reporting.letters import cut, font

MARGIN, GAP, APART = 24, 6, 22
"""Around the sheet, between images, between blocks; in pixels."""
NAMES = 190
"""Width of the column with the rows' names."""
INK, PALE, LINE, BOX, ODD = "#1f2328", "#656d76", "#d0d7de", "#f3f4f6", "#b42318"
_LINE = 16  # pixels from one line of text to the next


def png(sheet: Sheet) -> bytes:
    """The file's content."""
    from PIL import Image, ImageDraw

    canvas = Image.new("RGB", (_width(sheet), _height(sheet)), "white")
    pen = ImageDraw.Draw(canvas)
    inner = canvas.width - 2 * MARGIN
    pen.text((MARGIN, MARGIN), cut(sheet.title, 20, inner, bold=True), INK, font(20, bold=True))
    pen.text((MARGIN, MARGIN + 30), cut(sheet.subtitle, 12, inner), PALE, font(12))
    top = MARGIN + 60
    for section in sheet.sections:
        top = _draw_section(canvas, pen, section, top)
    buffer = io.BytesIO()
    canvas.save(buffer, "PNG", optimize=False, compress_level=6, pnginfo=signed())
    return buffer.getvalue()


def _block_width(slots: int) -> int:
    return slots * (SIDE + GAP) - GAP


def _width(sheet: Sheet) -> int:
    widest = max((sum(map(_block_width, s.slots)) + APART * (len(s.slots) - 1) for s in sheet.sections), default=600)
    return 2 * MARGIN + NAMES + widest


def _head(section: Section) -> int:
    return 34 + (_LINE if section.note else 0) + (_LINE + 4 if section.headings else 0)


def _row_height(row: Row) -> int:
    captions = any(thumb.caption for block in row.blocks for thumb in block)
    return max(SIDE + (2 * _LINE if captions else 0), _LINE * (1 + len(row.details))) + 10


def _height(sheet: Sheet) -> int:
    heights = [_head(section) + sum(map(_row_height, section.rows)) + 14 for section in sheet.sections]
    return 2 * MARGIN + 60 + sum(heights)


def _draw_section(canvas: Any, pen: Any, section: Section, top: int) -> int:
    """Draws it and returns where the next one begins."""
    inner = canvas.width - 2 * MARGIN
    pen.line((MARGIN, top, canvas.width - MARGIN, top), LINE)
    pen.text((MARGIN, top + 8), cut(section.title, 15, inner, bold=True), INK, font(15, bold=True))
    below = top + 34
    if section.note:
        pen.text((MARGIN, below - 4), cut(section.note, 11, inner), PALE, font(11))
        below += _LINE
    if section.headings:
        left = MARGIN + NAMES
        for heading, slots in zip(section.headings, section.slots, strict=True):
            pen.text((left, below), cut(heading, 11, _block_width(slots)), PALE, font(11))
            left += _block_width(slots) + APART
        below += _LINE + 4
    for row in section.rows:
        _draw_row(canvas, pen, row, section.slots, below)
        below += _row_height(row)
    return below + 14


def _draw_row(canvas: Any, pen: Any, row: Row, slots: tuple[int, ...], top: int) -> None:
    width = NAMES - 16
    pen.text((MARGIN, top), cut(row.name, 13, width, bold=True), INK, font(13, bold=True))
    for number, line in enumerate(row.details, 1):
        pen.text((MARGIN, top + number * _LINE + 2), cut(line, 11, width), PALE, font(11))
    left = MARGIN + NAMES
    for block, room in zip(row.blocks, slots, strict=False):
        for place, thumb in enumerate(block[:room]):
            _draw_thumb(canvas, pen, thumb, left + place * (SIDE + GAP), top)
        left += _block_width(room) + APART


def _draw_thumb(canvas: Any, pen: Any, thumb: Any, left: int, top: int) -> None:
    from PIL import Image

    pen.rectangle((left, top, left + SIDE - 1, top + SIDE - 1), BOX)
    if thumb.png:
        with Image.open(io.BytesIO(thumb.png)) as image:
            canvas.paste(image, (left + (SIDE - image.width) // 2, top + (SIDE - image.height) // 2))
    else:
        pen.line((left + 8, top + 8, left + SIDE - 9, top + SIDE - 9), ODD, 2)
        pen.line((left + 8, top + SIDE - 9, left + SIDE - 9, top + 8), ODD, 2)
    for number, line in enumerate(thumb.caption.split("\n")[:2] if thumb.caption else ()):
        pen.text((left, top + SIDE + 2 + number * 14), cut(line, 10, SIDE), PALE, font(10))
