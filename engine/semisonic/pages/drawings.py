"""Plots inside of a page, as SVG whose colors and letters are the page's: they follow it into the dark.

A plot is drawn as for a white page, with black text and the light colors of `SERIES`. Here each of those becomes a
variable of the page's style, and text stays text, which scales, can be read aloud and be found.
"""

import hashlib
import re
from collections.abc import Sequence
from typing import NamedTuple
from xml.etree import ElementTree

from markupsafe import Markup

SERIES = (
    ("#000000", "#e4e7eb"), ("#d62728", "#ff6b6b"), ("#1f77b4", "#5aaeea"), ("#2ca02c", "#58cc58"),
    ("#e06c00", "#ff9a3d"), ("#9467bd", "#b995e0"), ("#0d96a5", "#35d6e6"), ("#d95fb0", "#f5a3d9"),
    ("#8c564b", "#c9917f"), ("#8f9000", "#d4d53f"), ("#00008b", "#8080ff"), ("#7f7f7f", "#9a9a9a"),
    ("#00a573", "#00e5a0"), ("#e000e0", "#ff6bff"), ("#6b0f1a", "#b5485a"), ("#b07d00", "#ffd9b3"),
)  # fmt: skip
"""Colors of the things that a plot compares, on a white page and on a dark one."""
DASHES = {"-": "none", "--": "5 3", ":": "1.5 2.5", "-.": "6 2.5 1.5 2.5"}
"""Lines as matplotlib names them, and as a legend of the page draws them."""
GRID = "#b0b0b0"
"""Color of a grid, as matplotlib draws it."""
WIDEST, NARROWEST = 1.5, 1.1
"""Pixels of the page a point of a drawing: ten points of text are 15 pixels high, and 11 at least."""
ADAPTED = {light: f"var(--series-{place})" for place, (light, _) in enumerate(SERIES)} | {
    "#000000": "var(--ink)", GRID: "var(--pale)",
}  # fmt: skip
"""Colors of a drawing that are the page's own. All others stay what they are, such as those of text on a filled cell,
which must not be pure black."""


class Key(NamedTuple):
    """A line of a legend."""

    name: str
    color: str
    """As CSS."""
    dash: str = "none"


class Drawing(NamedTuple):
    """A plot of a page, for the macro `plot` of `pages/parts.html.j2`."""

    alt: str
    """What it shows, for those who cannot see it."""
    svg: Markup
    width: float
    """In points."""
    keys: tuple[Key, ...] = ()
    """Its legend, which stands above it."""
    captioned: bool = False
    """Whether `alt` stands above it, too."""

    @property
    def style(self) -> str:
        """The least and the greatest width on the page: a wide one is scrolled on a phone, and no text is tiny."""
        return f"min-width:{self.width * NARROWEST:.0f}px;max-width:{self.width * WIDEST:.0f}px"


def color_of(place: int) -> str:
    """The color of the thing in a place, as CSS; again the first after the last."""
    return ADAPTED[SERIES[place % len(SERIES)][0]]


def drawing_of(svg: bytes, alt: str, keys: Sequence[Key] = (), captioned: bool = False) -> Drawing:
    """A drawing of an SVG file, whose text must be text. Its other arguments are fields of `Drawing`.

    What is not drawn goes: metadata, names that nothing refers to, and rules of style, which would be the whole page's.
    Names that something refers to are made different from those of the page's other drawings.
    """
    root = ElementTree.fromstring(svg)
    prefix = hashlib.blake2b(svg, digest_size=4).hexdigest()
    for element in root.iter():
        for child in [child for child in element if _local(child.tag) in ("metadata", "style")]:
            element.remove(child)
    text = " ".join(value for element in root.iter() for value in element.attrib.values())
    used = set(re.findall(r"url\(#([^)]+)\)", text)) | {
        value[1:] for element in root.iter() for name, value in element.attrib.items()
        if _local(name) == "href" and value.startswith("#")
    }  # fmt: skip
    for element in root.iter():
        element.tag = _local(element.tag)
        element.attrib = {_local(name): value for name, value in element.attrib.items()}
        _adapt(element.attrib, used, prefix)
    width = float(root.attrib["width"].removesuffix("pt"))
    for name in ("width", "height", "version"):
        root.attrib.pop(name, None)
    root.attrib |= {"role": "img", "aria-label": alt}
    made = Drawing(alt, Markup(""), width, tuple(keys), captioned)
    root.attrib["style"] = made.style
    return made._replace(svg=Markup(ElementTree.tostring(root, encoding="unicode")))  # which escapes text


def _adapt(attributes: dict[str, str], used: set[str], prefix: str) -> None:
    """Of one element: its colors, its font and its names."""
    if "id" in attributes:
        name = attributes.pop("id")
        if name in used:
            attributes["id"] = f"{prefix}-{name}"
    if attributes.get("href", "").startswith("#"):
        attributes["href"] = f"#{prefix}-{attributes['href'][1:]}"
    for name, value in attributes.items():
        value = re.sub(r"url\(#([^)]+)\)", rf"url(#{prefix}-\1)", value)
        if name in ("style", "fill", "stroke"):
            value = re.sub(r"#[0-9a-fA-F]{6}\b", lambda found: ADAPTED.get(found[0].lower(), found[0]), value)
            value = re.sub(r"font: (?:[\w ]*? )?([\d.]+px)[^;]*", r"font-size: \1", value)  # of older matplotlibs
            value = re.sub(r"font-family: [^;]*;? ?", "", value)
        attributes[name] = value


def _local(name: str) -> str:
    return name.rpartition("}")[2]
