"""What a page in Markdown refers to, with the lines where it does: read as text, for tests that build nothing."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from _extension.figures import figure
from _extension.studies import study
from _extension.tables import table
from _extension.words import BadReference

OPTION = re.compile(r"^:([\w-]+):\s*(.*)$")
MEASURED = re.compile(r"(?<!`)\{measured\}`([^`]+)`(?!`)")
ROLE = re.compile(r"\{[\w:-]+\}`[^`]+`")
CODE = re.compile(r"(`+)(.+?)\1(?!`)")
FENCE = re.compile(r"^(`{3,}|~{3,}|:{3,})\s*(?:\{([\w:-]+)\})?[ \t]*(.*)$")


@dataclass(frozen=True)
class Block:
    """A fenced block of a page: where it begins, its directive if it has one, what follows that, and its lines."""

    line: int
    directive: str
    argument: str
    lines: list[str]

    def parts(self) -> tuple[dict[str, str], list[str]]:
        """`:name: value` lines at the top, and the lines below them."""
        options: dict[str, str] = {}
        for i, line in enumerate(self.lines):
            match = OPTION.match(line)
            if not match:
                return options, self.lines[i:]
            options[match[1]] = match[2]
        return options, []


def read(text: str) -> tuple[list[tuple[int, str]], list[Block]]:
    """The lines of a page that are no fenced block, each with its number from 1, and the blocks. What is inside a fence
    of colons is a part of the page, as its directive is."""
    prose: list[tuple[int, str]] = []
    blocks: list[Block] = []
    fence, block = "", Block(0, "", "", [])
    for number, line in enumerate(text.splitlines(), start=1):
        match = FENCE.match(line)
        if fence:
            if match and match[1].startswith(fence) and not match[2] and not match[3]:
                fence = ""
            else:
                block.lines.append(line)
        elif match and not match[1].startswith(":"):
            fence, block = match[1], Block(number, match[2] or "", match[3], [])
            blocks.append(block)
        else:
            prose.append((number, line))
    return prose, blocks


def line_of(page: Path, text: str, first: int) -> int:
    """The line of a page, at or after `first`, that holds a text; `first` where none does."""
    lines = page.read_text(encoding="utf-8").splitlines()
    return next((i for i, line in enumerate(lines, start=1) if i >= first and text in line), first)


def mistakes(page: Path, folder: Path) -> Iterator[str]:
    """PAGE:LINE: what is wrong, for every reference of a page to a stored result in `folder` that leads nowhere."""
    prose, blocks = read(page.read_text(encoding="utf-8"))
    lines = [number for number, _ in prose]
    text = "\n".join(line for _, line in prose)
    for match in MEASURED.finditer(text):
        try:
            figure(match[1].replace("\n", " "), folder)
        except BadReference as error:
            yield f"{page.name}:{lines[text.count(chr(10), 0, match.start())]}: {error}"
    for block in blocks:
        if block.directive in ("results", "study"):
            try:
                if block.directive == "study":
                    study(block.argument, folder)
                else:
                    table(block.argument, *block.parts(), folder)
            except BadReference as error:
                yield f"{page.name}:{block.line}: {error}"


def typed_figures(page: Path) -> Iterator[str]:
    """PAGE:LINE: every digit in a table's body that no role wrote, but for those of its first column, which names the
    rows, and in code that is more than a number."""
    prose, _ = read(page.read_text(encoding="utf-8"))
    heading = True
    for number, line in prose:
        if not line.lstrip().startswith("|"):
            heading = True
            continue
        if heading:
            heading = not re.fullmatch(r"[\s|:-]+", line)  # the line below a table's header
            continue
        cells = re.split(r"(?<!\\)\|", ROLE.sub("", line).strip().strip("|"))
        for cell in cells[1:]:
            left = CODE.sub(lambda code: "" if re.search(r"[A-Za-z_]", code[2]) else code[2], cell)
            if re.search(r"\d", left):
                yield f"{page.name}:{number}: {cell.strip()}: a typed figure; write it by the role measured"
