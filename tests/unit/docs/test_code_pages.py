"""Directives whose content is made from the code."""

import re

from _extension.code_pages import TEXTS
from tests.support.processes import ROOT


def test_every_directive_is_on_a_page_of_the_reference():
    pages = "".join(path.read_text() for path in (ROOT / "docs").rglob("*.md"))
    assert {name for name in TEXTS if re.search(rf"^```\{{{name}\}}$", pages, re.MULTILINE)} == set(TEXTS)
    assert all(text.__doc__ for text in TEXTS.values())
