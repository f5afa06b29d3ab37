"""What is wrong with a page as people see it: loaded in a real browser, on a desktop and on a phone, light and dark."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

WIDTHS = (1280, 390)
"""Of a desktop's window and a phone's, in pixels."""
SCHEMES = ("light", "dark")
TALLEST = 16_000
"""Pixels of a window that is as high as its page; what lies below it is scrolled into sight."""
SMALLEST = 11
"""Pixels of text."""


class Fault(NamedTuple):
    """Something that is wrong with a page, at one width and in one scheme."""

    width: int
    scheme: str
    kind: str
    """overflow, image, id, contrast or small."""
    what: str
    """Which element, and by how much."""

    def __str__(self) -> str:
        return f"{self.width} px, {self.scheme}: {self.kind}: {self.what}"


def faults(
    browser: Any, page: Path | str, widths: Sequence[int] = WIDTHS, schemes: Sequence[str] = SCHEMES,
    allowed: Iterable[str] = (),
) -> list[Fault]:  # fmt: skip
    """Every fault of a page, a file or an address, by width and scheme.

    overflow: the document is wider than the window. image: one that has not loaded. id: of two elements. contrast: text that stands out from
    what is behind it by less than WCAG's AA, 4.5, or 3 for text of 24 pixels or bold of 18.66. small: text below
    `SMALLEST` pixels, also where a picture that it is part of is shown smaller. What is folded is unfolded first.
    allowed: CSS selectors of elements whose text may be small or pale. browser: of `page_in_browser.browser`.
    """
    address = page.resolve().as_uri() if isinstance(page, Path) else page
    found: list[Fault] = []
    context = browser.new_context(bypass_csp=True)  # else a page that allows no script would not be looked at
    try:
        window = context.new_page()
        window.set_default_timeout(20_000)
        for width in widths:
            window.set_viewport_size({"width": width, "height": 800})
            window.emulate_media(color_scheme=schemes[0])
            window.goto(address)
            window.evaluate(UNFOLD)
            height = window.evaluate("document.documentElement.scrollHeight")
            window.set_viewport_size({"width": width, "height": min(TALLEST, max(400, height))})
            for scheme in schemes:
                window.emulate_media(color_scheme=scheme)
                found += [Fault(width, scheme, *fault) for fault in window.evaluate(FAULTS, [SMALLEST, [*allowed]])]
    finally:
        context.close()
    return found


def check(browser: Any, page: Path | str, **options: Any) -> None:
    """Fails with every fault of a page: see `faults`."""
    found = faults(browser, page, **options)
    assert not found, f"{page}: {len(found)} faults\n" + "\n".join(map(str, found[:40]))


UNFOLD = """() => {
  document.querySelectorAll("details").forEach((one) => (one.open = true));
  document.querySelectorAll("img[loading]").forEach((one) => (one.loading = "eager"));
  const still = document.createElement("style");  // colors that fade would be read on their way
  still.textContent = "*, *::before, *::after { transition: none !important; animation: none !important; }";
  document.head.append(still);
}"""

FAULTS = """async ([smallest, allowed]) => {
  const found = [];
  const add = (kind, what) => found.push([kind, what]);
  const name = (one) => {
    const own = typeof one.className === "string" ? one.className : one.className.baseVal;
    return one.tagName.toLowerCase() + (one.id ? `#${one.id}` : "") + (own ? `.${own.trim().split(/\\s+/).join(".")}` : "");
  };
  const scrolls = (one) => {
    for (let at = one.parentElement; at && at !== document.body; at = at.parentElement)
      if (getComputedStyle(at).overflowX !== "visible") return true;
    return false;
  };

  const room = document.documentElement.clientWidth, width = document.documentElement.scrollWidth;
  if (width > room) {
    const wide = [...document.body.querySelectorAll("*")]
      .filter((one) => one.getBoundingClientRect().right > room + 0.5 && !scrolls(one)).map(name);
    add("overflow", `${width} pixels in ${room}: ${[...new Set(wide)].slice(0, 5).join(", ") || "of no element"}`);
  }

  const loads = async (source) => {
    const image = new Image();
    image.src = source;
    try { await image.decode(); return true; } catch { return false; }
  };
  for (const image of document.images) {
    try { await image.decode(); } catch {}
    if (!image.naturalWidth) add("image", `${name(image)} ${image.alt} ${(image.getAttribute("src") || "without an address").slice(0, 60)}`);
  }
  for (const image of document.querySelectorAll("svg image"))
    if (!(await loads(image.href.baseVal))) add("image", `${name(image)} ${image.href.baseVal.slice(0, 60)}`);

  const ids = [...document.querySelectorAll("[id]")].map((one) => one.id);
  for (const id of new Set(ids.filter((one, place) => ids.indexOf(one) !== place))) add("id", `of several elements: ${id}`);

  const brush = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  const known = new Map();
  const channels = (color) => {  // of any way to write a color: red, green and blue of 0..255, and alpha of 0..1
    if (!known.has(color)) {
      brush.clearRect(0, 0, 1, 1);
      brush.fillStyle = color;
      brush.fillRect(0, 0, 1, 1);
      const [r, g, b, a] = brush.getImageData(0, 0, 1, 1).data;
      known.set(color, [r, g, b, a / 255]);
    }
    return known.get(color);
  };
  const over = (front, back) => [0, 1, 2].map((c) => front[c] * front[3] + back[c] * (1 - front[3])).concat(1);
  const light = (color) => {
    const [r, g, b] = color.slice(0, 3).map((c) => c / 255).map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ratio = (a, b) => (Math.max(light(a), light(b)) + 0.05) / (Math.min(light(a), light(b)) + 0.05);
  const solid = (opacity, color) => [...color.slice(0, 3), color[3] * opacity];
  const canvas = channels(matchMedia("(prefers-color-scheme: dark)").matches
    && getComputedStyle(document.documentElement).colorScheme.includes("dark") ? "rgb(18, 18, 18)" : "white");
  const stacked = (layers) => layers.reduceRight((back, layer) => over(layer, back), canvas);
  const behind = (element) => {  // what lies behind an element of HTML: it and those that it lies in
    const layers = [];
    for (let at = element; at; at = at.parentElement) {
      const layer = channels(getComputedStyle(at).backgroundColor);
      layers.push(layer);
      if (layer[3] === 1) break;
    }
    return stacked(layers);
  };
  const painted = (text) => {  // what lies behind text of SVG: shapes below its middle, then the page
    text.scrollIntoView({ block: "nearest", inline: "center" });
    const box = text.getBoundingClientRect();
    const below = document.elementsFromPoint(box.x + box.width / 2, box.y + box.height / 2);
    const layers = [];
    for (const one of below.slice(below.findIndex((each) => text.contains(each)) + 1)) {
      if (!(one instanceof SVGElement) || one instanceof SVGSVGElement) break;
      const style = getComputedStyle(one);
      if (one.closest("text") || style.fill === "none" || style.fill.startsWith("url")) continue;
      const layer = solid(Number(style.fillOpacity) * Number(style.opacity), channels(style.fill));
      layers.push(layer);
      if (layer[3] === 1) break;
    }
    return stacked([...layers, behind(text.closest("svg").parentElement)]);
  };
  const opacity = (element) => {
    let result = 1;
    for (let at = element; at; at = at.parentElement) result *= Number(getComputedStyle(at).opacity);
    return result;
  };

  const told = new Map();
  const tell = (kind, element, text, how) => {
    const key = `${kind} ${name(element)} ${how}`;  // once, of texts that look alike
    if (!told.has(key)) told.set(key, [kind, name(element), [], how]);
    told.get(key)[2].push(text);
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const text = walker.currentNode.textContent.trim(), element = walker.currentNode.parentElement;
    if (!text || element.closest("script, style, noscript, template, title, desc, option, :disabled")) continue;
    if (allowed.some((selector) => element.closest(selector))) continue;
    if (!element.checkVisibility({ opacityProperty: true, visibilityProperty: true })) continue;
    const range = document.createRange();
    range.selectNodeContents(walker.currentNode);
    const box = range.getBoundingClientRect();
    const hidden = element.getBoundingClientRect();
    if (box.width < 1 || box.height < 1 || hidden.width <= 1 || hidden.height <= 1) continue;
    const style = getComputedStyle(element), drawn = element instanceof SVGElement;
    const matrix = drawn ? element.getScreenCTM() : null;
    const size = parseFloat(style.fontSize) * (drawn ? Math.sqrt(Math.abs(matrix.a * matrix.d - matrix.b * matrix.c)) : 1);
    if (size < smallest - 0.01) tell("small", element, text, `${size.toFixed(1)} pixels`);
    const back = drawn ? painted(element) : behind(element);
    const paint = drawn ? channels(style.fill) : channels(style.color);
    const alpha = opacity(element) * (drawn ? Number(style.fillOpacity) : 1);
    const contrast = ratio(over(solid(alpha, paint), back), back);
    const large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
    if (contrast < (large ? 3 : 4.5) - 0.005) tell("contrast", element, text, contrast.toFixed(2));
  }
  for (const [kind, which, texts, how] of told.values()) {
    const more = texts.length > 1 ? ` and ${texts.length - 1} more` : "";
    add(kind, `${how}: ${which} ${JSON.stringify(texts[0].slice(0, 60))}${more}`);
  }
  return found;
}"""
