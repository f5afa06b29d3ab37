"""When the built site is taken as it is."""

import os
from pathlib import Path

from tests.support.processes import ROOT
from tests.support.site import LAST, SOURCES, is_fresh, pages


def test_a_site_is_fresh_until_something_that_it_is_made_from_is_newer(tmp_path: Path):
    built, page, other = tmp_path / "built", tmp_path / "docs" / "use" / "page.md", tmp_path / "docs" / "note.txt"
    for file in (built / LAST, page, other):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    assert not is_fresh(tmp_path / "nowhere", tmp_path)
    os.utime(page, (1000, 1000))
    os.utime(built / LAST, (2000, 2000))
    assert is_fresh(built, tmp_path)  # the other file is newer, and no source
    for folder in SOURCES:
        (tmp_path / folder).mkdir(exist_ok=True)
    code = tmp_path / "engine" / "a.py"
    code.touch()
    os.utime(code, (3000, 3000))
    assert not is_fresh(built, tmp_path)


def test_pages_are_those_of_the_sources(tmp_path: Path):
    for path in (ROOT / "docs").rglob("*.md"):
        file = (tmp_path / path.relative_to(ROOT / "docs")).with_suffix(".html")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    found = pages(tmp_path)
    assert {"index.html", "reference/formats.html"} <= set(found) and len(found) > 40
