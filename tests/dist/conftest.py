"""Shared by the tests of whole processes and pages."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support import page_in_browser


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """A real browser, one for the tests of a file; they skip where there is none."""
    with page_in_browser.browser() as opened:
        yield opened
