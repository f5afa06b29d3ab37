"""What stands in a page: its tags, its text, and text that tries to be tags."""

from html.parser import HTMLParser

EVIL = """"><img src=x onerror='a()'><script>alert(1)</script>&amp;"""


class Seen(HTMLParser):
    """The tags and the text of a page."""

    def __init__(self, page: str):
        super().__init__()
        self.tags: list[str] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.text += data
