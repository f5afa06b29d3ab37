"""A contact sheet as a page: nothing that comes from files is markup."""

from html.parser import HTMLParser

from semisonic.inspection.sheet import Row, Section, Sheet, Thumb
from semisonic.inspection.sheet_html import html

EVIL = """<script>alert("1")</script><img src=x onerror='a()'>"&amp;"""


class Tags(HTMLParser):
    def __init__(self, page: str):
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.text += data


def test_names_are_text():
    row = Row(EVIL, (EVIL,), ((Thumb(b"png", EVIL, EVIL), Thumb(b"", "", "")),))
    page = Tags(html(Sheet(EVIL, EVIL, [Section(EVIL, [row], (EVIL,), (2,), EVIL)])))
    assert "script" not in page.tags and page.tags.count("img") == 1
    assert page.text.count(EVIL) == 9 and not any(name.startswith("on") for name, _ in page.attributes)
    assert ("title", EVIL) in page.attributes and ("src", "data:image/png;base64,cG5n") in page.attributes
    assert "cannot be decoded" in page.text


def test_the_page_needs_no_other_file():
    page = Tags(html(Sheet("a", "b", [Section("c", [Row("d", (), ((Thumb(b"png"),),))])])))
    assert {"link", "script", "iframe"}.isdisjoint(page.tags)
    assert all((value or "").startswith("data:") for name, value in page.attributes if name in ("src", "href"))
