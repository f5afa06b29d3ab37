"""The built site in a real browser, on a desktop and on a phone, light and dark: nothing is cut off, tiny or pale."""

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("sphinx")

from tests.support.pages_in_browser import check, faults
from tests.support.site import pages, site

pytestmark = pytest.mark.browser

FEW = ("index.html", "start/five-minutes.html", "measured/methods.html", "reference/configuration.html")
"""The front page, one with commands, one with tables of results, and one that is made from the code."""


@pytest.fixture(scope="module")
def built(chromium: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return site(tmp_path_factory.mktemp("site"))


@pytest.mark.slow
@pytest.mark.parametrize("page", FEW)
def test_a_page_of_each_kind(chromium: Any, built: Path, page: str):
    check(chromium, built / page)


@pytest.mark.long
def test_all_pages(chromium: Any, built: Path):
    found = {page: faults(chromium, built / page) for page in pages(built)}
    lines = [f"{page}: {fault}" for page, own in found.items() for fault in own]
    assert not lines, f"{len(lines)} faults\n" + "\n".join(lines[:80])
