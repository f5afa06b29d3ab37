"""Images in rows and columns with captions, as one picture on white."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from semisonic.reporting.letters import cut, font, wrapped
from semisonic.text import printable

LEAST = 112
"""Pixels of a column, so that captions have room; smaller images are enlarged by whole pixels, as far as they fit."""
MARGIN, GAP, APART = 20, 10, 14
"""Around the picture, between cells, and beside the first column; in pixels."""
TITLE, HEAD, TEXT = 17, 12, 11
"""Sizes of letters."""
LINE = 14
"""Pixels from one line of a caption to the next."""
INK, PALE, RULE = "#1f2328", "#59636e", "#d1d9e0"


@dataclass
class Cell:
    """An image with what stands below it, a line each."""

    pixels: np.ndarray
    """uint8 [H, W, 3]."""
    caption: Sequence[str] = ()


@dataclass
class Block:
    """A table of cells, all of one size."""

    title: str
    note: str
    heads: Sequence[str]
    """Of the columns."""
    rows: Sequence[Sequence[Cell]]
    names: Sequence[str] = ()
    """Of the rows, which then stand to their left; else the first column is set apart."""
    lines: list[list[list[str]]] = field(default_factory=list)
    """The captions' lines as they fit, by row and column."""

    @property
    def side(self) -> int:
        return self.rows[0][0].pixels.shape[1]

    @property
    def scale(self) -> int:
        return max(1, LEAST // self.side)

    @property
    def column(self) -> int:
        """Width of one."""
        return max(LEAST, self.side * self.scale)

    @property
    def width(self) -> int:
        return self.left(len(self.heads)) - GAP - MARGIN

    def left(self, column: int) -> int:
        """Where one begins."""
        names = LEAST + GAP if self.names else 0
        return MARGIN + names + column * (self.column + GAP) + (APART if column and not self.names else 0)


def picture(blocks: Sequence[Block]) -> Image.Image:
    """The blocks below each other."""
    width = 2 * MARGIN + max(block.width for block in blocks)
    for block in blocks:
        block.lines = [
            [[line for text in cell.caption for line in wrapped(printable(text), TEXT, block.column)] for cell in row]
            for row in block.rows
        ]
    canvas = Image.new("RGB", (width, MARGIN + sum(_height(block, width) for block in blocks)), "white")
    top = MARGIN
    for block in blocks:
        _draw(canvas, ImageDraw.Draw(canvas), block, top)
        top += _height(block, width)
    return canvas


def _notes(block: Block, width: int) -> list[str]:
    return wrapped(printable(block.note), HEAD, width - 2 * MARGIN) if block.note else []


def _head(block: Block, width: int) -> int:
    """Height above the rows."""
    heads = max(len(wrapped(printable(head), HEAD, block.column)) for head in block.heads)
    return 28 + 17 * len(_notes(block, width)) + 8 + 16 * heads + 6


def _rows(block: Block) -> list[int]:
    """Their heights."""
    return [block.side * block.scale + 6 + LINE * max(map(len, lines)) + GAP for lines in block.lines]


def _height(block: Block, width: int) -> int:
    return _head(block, width) + sum(_rows(block)) + MARGIN


def _draw(canvas: Image.Image, pen: Any, block: Block, top: int) -> None:
    room = canvas.width - 2 * MARGIN
    pen.text((MARGIN, top), cut(printable(block.title), TITLE, room, bold=True), INK, font(TITLE, bold=True))
    notes = _notes(block, canvas.width)
    for number, note in enumerate(notes):
        pen.text((MARGIN, top + 28 + 17 * number), note, PALE, font(HEAD))
    below = top + 28 + 17 * len(notes) + 8
    for column, head in enumerate(block.heads):
        for number, line in enumerate(wrapped(printable(head), HEAD, block.column)):
            pen.text((block.left(column), below + 16 * number), line, INK, font(HEAD))
    below = top + _head(block, canvas.width)
    pen.line((MARGIN, below - 4, canvas.width - MARGIN, below - 4), RULE)
    for number, name in enumerate(block.names):
        at = below + sum(_rows(block)[:number])
        for place, text in enumerate(wrapped(printable(name), HEAD, LEAST)):
            pen.text((MARGIN, at + 16 * place), text, INK, font(HEAD))
    for cells, lines, height in zip(block.rows, block.lines, _rows(block), strict=True):
        for column, (cell, caption) in enumerate(zip(cells, lines, strict=True)):
            shown = cell.pixels.repeat(block.scale, 0).repeat(block.scale, 1)
            canvas.paste(Image.fromarray(shown), (block.left(column), below))
            for number, line in enumerate(caption):
                under = below + len(shown) + 4 + LINE * number
                pen.text((block.left(column), under), line, PALE, font(TEXT))
        below += height
