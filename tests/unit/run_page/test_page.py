"""The page as HTML: names are text in it, and it needs nothing else."""

from pathlib import Path

import pytest

from semisonic.run_page.facts import Seen
from semisonic.run_page.page import FILE, html, write
from semisonic.schema import UserError
from semisonic.training.mistakes import Mistake
from tests.support.parsed_pages import EVIL
from tests.support.parsed_pages import Seen as Parsed

CONFUSION = [[3, 0, 0], [1, 2, 0], [2, 1, 0]]


def test_names_are_text(planted, data):
    names = [EVIL, "two\nlines", "\u202ertl"]
    state = planted().state | {"classes": names}
    last = {"train/collapsed": 1, "train/collapsed_classes": [EVIL]}
    seen = Seen("test", 100, CONFUSION, [Mistake(1, 1, 0, 0.9)], data, missing=EVIL)
    text = html(planted(state=state, last=last, status={"status": EVIL, "step": 1, "steps": 2, "reason": EVIL}), seen)
    page = Parsed(text)
    assert "script" not in page.tags and "onerror" not in text.replace("onerror=&#39;a()&#39;", "")
    assert EVIL in page.text and "two\\nlines" in page.text and "\u202e" not in text


def test_it_needs_no_other_file(planted, data):
    text = html(planted(), Seen("test", 100, CONFUSION, [Mistake(1, 1, 0, 0.9)], data))
    assert "://" not in text and "<script" not in text and text.count("src=") == text.count('src="data:image/') == 1
    for heading in ("Next steps", "Training", "Curves", "Pseudo-labels", "Classes", "Confusion", "Images it gets wrong",
                    "Labels and pool", "Settings", "Cost"):  # fmt: skip
        assert f"<h2>{heading}</h2>" in text


def test_an_empty_run_is_a_page(planted):
    text = html(
        planted(lines=[], summary=None, state=None, split=None, status={}), Seen(missing="There is no checkpoint.")
    )
    assert "There is no accuracy" in text and "There is no checkpoint." in text and "<h2>Curves" not in text


def test_it_is_written_whole_or_not_at_all(planted, tmp_path: Path):
    facts = planted()
    assert write(facts, Seen("test")) == tmp_path / FILE and (tmp_path / FILE).read_text().startswith("<!doctype html>")
    with pytest.raises(UserError, match="gone"):
        write(facts, Seen("test"), tmp_path / "gone" / "page.html")
