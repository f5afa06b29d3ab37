"""Links of the built site that lead nowhere and anchors that stand twice in a page, read from its HTML."""

from collections.abc import Iterable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

from sphinx.application import Sphinx
from sphinx.util import logging

LOG = logging.getLogger(__name__)
OTHERS = ("genindex", "search", "py-modindex")
"""Pages that Sphinx makes by itself."""


class Page(HTMLParser):
    """What a page links to, with lines, and its anchors."""

    def __init__(self, text: str):
        super().__init__()
        self.targets: list[tuple[int, str]] = []
        self.anchors: set[str] = set()
        self.twice: list[tuple[int, str]] = []
        """Ids that an element before had already, with lines."""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("href", "src") and value:
                self.targets.append((self.getpos()[0], value))
            elif name == "id" and value in self.anchors:
                self.twice.append((self.getpos()[0], value))
            elif (name == "id" or (name == "name" and tag == "a")) and value:
                self.anchors.add(value)


def dead_links(folder: Path, names: Iterable[str]) -> Iterator[str]:
    """PAGE:LINE: TARGET for every link of these pages that leads to no file, or to none of them, or to no anchor of it.

    names: paths in the folder; other pages there were left by an earlier build.
    """
    folder = folder.resolve()
    files = [folder / name for name in names]
    pages = {file: Page(file.read_text(encoding="utf-8")) for file in files}
    for file, page in pages.items():
        for line, target in page.targets:
            parts = urlsplit(target)
            if parts.scheme or parts.netloc:
                continue
            found = (file.parent / unquote(parts.path)).resolve() if parts.path else file
            anchor = unquote(parts.fragment)
            known = found in pages or (found.suffix != ".html" and found.exists())
            if not known or (anchor and found in pages and anchor not in pages[found].anchors):
                yield f"{file.relative_to(folder).as_posix()}:{line}: {target}"


def double_ids(folder: Path, names: Iterable[str]) -> Iterator[str]:
    """PAGE:LINE: #ID for every id of these pages that another element of the page has as well."""
    for name in names:
        for line, anchor in Page((folder / name).read_text(encoding="utf-8")).twice:
            yield f"{name}:{line}: #{anchor}"


def check(app: Sphinx, error: Exception | None) -> None:
    """Warns of dead links and double ids when the site is built."""
    if error is None and app.builder.format == "html":
        folder = Path(app.outdir)
        names = [f"{name}.html" for name in (*sorted(app.env.found_docs), *OTHERS)]
        names = [name for name in names if (folder / name).exists()]
        for dead in dict.fromkeys(dead_links(folder, names)):
            LOG.warning("%s: leads nowhere", dead, type="links")
        for double in double_ids(folder, names):
            LOG.warning("%s: another element of the page has this id", double, type="links")


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("build-finished", check)
