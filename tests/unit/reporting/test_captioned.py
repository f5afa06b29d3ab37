"""Images with captions in one picture: each is where it belongs, whole, and text covers none of it."""

import numpy as np

from semisonic.reporting.captioned import APART, GAP, LEAST, MARGIN, Block, Cell, picture


def block(side: int = 16, names: tuple[str, ...] = (), lines: int = 2) -> Block:
    bits = np.random.default_rng(side)
    rows = [
        [Cell(bits.integers(0, 200, (side, side, 3), dtype=np.uint8), ["a caption"] * lines) for _ in range(3)]
        for _ in range(2)
    ]
    return Block("A title", "A note", ["original", "draw 1", "draw 2"], rows, names)


def found(canvas: np.ndarray, image: np.ndarray, column: int, made: Block) -> int:
    """The row of the canvas at which an image of a column begins."""
    left = made.left(column)
    shown = image.repeat(made.scale, 0).repeat(made.scale, 1)
    height, width = shown.shape[:2]
    tops = [top for top in range(len(canvas) - height) if (canvas[top, left : left + width] == shown[0]).all()]
    at = [top for top in tops if (canvas[top : top + height, left : left + width] == shown).all()]
    assert len(at) == 1
    return at[0]


def test_every_image_is_there_in_rows_and_columns():
    for made in (block(), block(names=("original", "weak"))):
        canvas = np.asarray(picture([made]))
        tops = [[found(canvas, cell.pixels, column, made) for column, cell in enumerate(row)] for row in made.rows]
        assert len({*tops[0]}) == len({*tops[1]}) == 1 and tops[1][0] > tops[0][0] + 16 * made.scale
        below = canvas[tops[0][0] + 16 * made.scale : tops[1][0], made.left(1) : made.left(1) + made.column]
        assert (below < 200).any()  # its caption


def test_small_images_grow_by_whole_pixels_and_large_ones_stay():
    assert (block(16).scale, block(16).column) == (7, LEAST)
    assert (block(224).scale, block(224).column) == (1, 224)
    assert block(16).left(1) - block(16).left(0) == LEAST + GAP + APART and block(16).left(0) == MARGIN
    assert block(16, ("a", "b")).left(0) == MARGIN + LEAST + GAP


def test_longer_captions_make_rows_higher_and_blocks_stand_below_each_other():
    short, long = (picture([block(lines=lines)]).height for lines in (1, 5))
    assert long == short + 2 * 4 * 14
    assert picture([block(lines=1), block(lines=1)]).height == 2 * short - MARGIN


def test_odd_letters_are_drawn():
    made = block()
    made.rows[0][0].caption = ["a\nb", "\udc80", "😀", "$\\frac{$", ""]
    assert picture([made]).width == picture([block()]).width
