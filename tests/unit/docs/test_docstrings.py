"""Docstrings as Markdown and as reStructuredText."""

import docutils.core
import pytest

from _extension.docstrings import blocks, cell, inline, markdown, restructured

TEXT = """A title with `code_of * it`, x_B and 2*3*4.

    L = a_b * c
        + d

More text:
* an item of
  two lines
* another [one]
- and `a | b`

The end <here>."""


def test_text_equations_and_lists_are_told_apart():
    assert [kind for kind, _ in blocks(TEXT.splitlines())] == ["text", "code", "text", "list", "text"]


def test_markdown_has_code_blocks_lists_and_no_other_markup():
    assert markdown(TEXT) == (
        "A title with `code_of * it`, x\\_B and 2\\*3\\*4.\n\n```text\nL = a_b * c\n    + d\n```\n\nMore text:\n\n"
        "- an item of two lines\n- another \\[one\\]\n- and `a | b`\n\nThe end \\<here\\>."
    )


def test_restructured_text_is_read_without_a_warning_and_says_the_same():
    found = docutils.core.publish_doctree(
        "\n".join(restructured(TEXT.splitlines())), settings_overrides={"report_level": 1, "halt_level": 1}
    )
    assert [node.tagname for node in found] == ["paragraph", "literal_block", "paragraph", "bullet_list", "paragraph"]
    assert found[0].astext() == "A title with code_of * it, x_B and 2*3*4."
    assert found[1].astext() == "L = a_b * c\n    + d"
    assert [item.astext() for item in found[3]] == ["an item of two lines", "another [one]", "and a | b"]


@pytest.mark.parametrize("text", ["word_ and *args", "``double`` and `single`", "a|b|c", "`unclosed", "tail_"])
def test_signs_of_restructured_text_mean_nothing(text: str):
    (paragraph,) = docutils.core.publish_doctree(
        "\n".join(restructured([text])), settings_overrides={"report_level": 1, "halt_level": 1}
    )
    assert paragraph.astext() == text.replace("`", "") or paragraph.astext() == text


def test_a_cell_is_one_line_without_bars():
    assert cell("a |\n  b `c|d`") == "a \\| b `c|d`"
    assert inline("usb-* [T]") == "usb-\\* \\[T\\]"
