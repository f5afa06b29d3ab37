"""Pages read as text: references with their lines, and typed figures."""

from pathlib import Path

import pytest

from _extension.pages import line_of, mistakes, read, typed_figures

PAGE = """# A page

A {measured}`rows.csv entry=uda/error` and {measured}`rows.csv
entry=uda/error`; ``{measured}`no.csv a` `` is code.
Two: {measured}`rows.csv entry=vat/error`.

```text
{measured}`no.csv a`
```

```{results} rows.csv
:where: entry=uda

entry
eror
```

:::{note}
{measured}`rows.csv 9/error`
:::
"""


def test_mistakes_have_their_page_and_line(results: Path, tmp_path: Path):
    page = tmp_path / "page.md"
    page.write_text(PAGE)
    assert list(mistakes(page, results)) == [
        "page.md:5: rows.csv: entry=vat: none of 3 rows; expected one",
        "page.md:19: rows.csv: 9: there are 3 in the file",
        "page.md:11: column eror: eror: is no name; expected entry, error, error_half_width, seconds",
    ]


def test_blocks_have_directives_options_and_bodies():
    _, blocks = read(PAGE)
    assert [(block.line, block.directive, block.argument) for block in blocks] == [
        (7, "", "text"),
        (11, "results", "rows.csv"),
    ]
    assert blocks[1].parts() == ({"where": "entry=uda"}, ["", "entry", "eror"])


def test_a_longer_fence_holds_shorter_ones():
    prose, (block,) = read("````text\n```bash\nmake\n```\n````\nend")
    assert prose == [(6, "end")] and block.lines == ["```bash", "make", "```"]


@pytest.mark.parametrize(
    "cell, typed",
    [
        ("{measured}`rows.csv entry=uda/error .2f` %", False),
        ("{measured}`rows.csv 0/error` or 3", True),
        ("3.15", True),
        ("`3.15`", True),
        ("`fixmatch2`", False),
        ("a word", False),
    ],
)
def test_typed_figures_are_found_in_the_cells_of_tables(tmp_path: Path, cell: str, typed: bool):
    page = tmp_path / "page.md"
    page.write_text(
        f"In text 3 is none.\n\n| 400 steps | 2 |\n| --- | --- |\n| 40 labels | {cell} |\n\n```\n| 1 | 2 |\n```\n"
    )
    assert len(list(typed_figures(page))) == typed


def test_the_line_of_a_text_is_found_from_a_first_one_on(tmp_path: Path):
    page = tmp_path / "page.md"
    page.write_text("a\nb\na\n")
    assert (line_of(page, "a", 2), line_of(page, "c", 2)) == (3, 2)
