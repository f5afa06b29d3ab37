"""The blocks of code on the site's pages, and how they are run: as a reader does who pastes one after the other.

Comments in the lines before a block say what a test must know: `% not run: REASON`, `% run: long`, `% run: quick`, `% exit: 2`, or
`% given: NAME, NAME` for what a reader of this page has made before. tests/support/given/NAME.sh makes it in the folder; a name
that ends in .py is the file of another page. A block of Python whose first line is `# NAME.py` is saved as that file; the other
ones of a page are lines of one interpreter. Where a command fails, the next block of text is what it prints.
"""

import json
import math
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from tests.support.processes import ROOT

DOCS = ROOT / "docs"
GIVEN = Path(__file__).parent / "given"
BLOCK = re.compile(r"((?:^%[^\n]*\n)*)^```(bash|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
TEXT = re.compile(r"(?:(?!#|```)[^\n]*\n)*```text\n(.*?)^```$", re.MULTILINE | re.DOTALL)
"""The next block, if it is text and of the same section."""
MARK = re.compile(r"^% (not run|run|exit|given): (.+)$", re.MULTILINE)
FILE = re.compile(r"# ([\w/]+\.py)\n")
SECONDS = 1500
"""Of one block."""
INTERPRETER = """
import json, sys, traceback
names = {"__name__": "__main__"}
for line in sys.stdin:
    try:
        exec(compile(json.loads(line), "<page>", "exec"), names)
    except BaseException:
        traceback.print_exc()
        sys.exit(1)
    sys.stdout.flush()
    print("\\0", file=sys.stderr, flush=True)
"""
"""Does one block after another, each a line of JSON, in one set of names; says when each is done."""


@dataclass(frozen=True)
class Block:
    page: str
    """Below docs/."""
    line: int
    language: str
    code: str
    marks: Mapping[str, str]

    said: str = ""
    """What the last command prints, if it fails: the next block of text. Three dots stand for what is left out."""

    @property
    def run(self) -> bool:
        return "not run" not in self.marks

    @property
    def long(self) -> bool:
        return self.marks.get("run") == "long"

    @property
    def quick(self) -> bool:
        """Needs nothing of the long blocks before it."""
        return self.marks.get("run") == "quick"

    @property
    def given(self) -> list[str]:
        return [name.strip() for name in self.marks.get("given", "").split(",") if name]

    @property
    def file(self) -> str | None:
        """The file as which a block of Python is saved."""
        found = FILE.match(self.code) if self.language == "python" else None
        return found[1] if found else None

    @property
    def place(self) -> str:
        return f"{self.page}:{self.line}"


def blocks_of(page: Path) -> list[Block]:
    """The blocks of a page, in order. A fence of more than three backticks shows others; what is in it is no block."""
    text = re.sub(
        r"^(`{4,})[^\n]*\n.*?^\1$", lambda found: "\n" * found[0].count("\n"), page.read_text(), flags=re.M | re.S
    )
    name = page.relative_to(DOCS).as_posix()
    blocks = []
    for found in BLOCK.finditer(text):
        marks, line = dict(MARK.findall(found[1])), text[: found.start(2)].count("\n") + 1
        shown = TEXT.match(text, found.end() + 1) if "exit" in marks else None
        blocks.append(Block(name, line, found[2], found[3], marks, shown[1] if shown else ""))
    return blocks


def quick_part(blocks: Sequence[Block]) -> list[Block]:
    """Those before the first one of their page that takes long, since what comes after it may build on it; and those that say
    that they do not."""
    long = {page: min(b.line for b in group) for page, group in by_page(b for b in blocks if b.run and b.long).items()}
    return [block for block in blocks if block.quick or block.line < long.get(block.page, math.inf)]


def by_page(blocks: Iterable[Block]) -> dict[str, list[Block]]:
    pages: dict[str, list[Block]] = {}
    for block in blocks:
        pages.setdefault(block.page, []).append(block)
    return pages


@cache
def files() -> dict[str, Block]:
    """The blocks of all pages that are saved as files, by their names; the last page with a name counts."""
    return {
        block.file: block for page in sorted((DOCS / "extend").glob("*.md")) for block in blocks_of(page) if block.file
    }


class Reader:
    """Does the blocks of pages in one folder, one after the other. Raises AssertionError that names page and line."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.environment = folder, {**environment, "GIVEN": str(GIVEN)}
        self.python: subprocess.Popen[str] | None = None
        self.has: set[str] = set()

    def follow(self, blocks: Sequence[Block]) -> None:
        for block in blocks:
            if not block.run:
                continue
            for name in block.given:
                self.give(name, block)
            if block.file:
                self.save(block)
            elif block.language == "bash":
                self.shell(block)
            else:
                self.interpret(block)

    def give(self, name: str, block: Block) -> None:
        """What the reader has already: once, and not where an earlier page has made it."""
        if name in self.has:
            return
        self.has.add(name)
        if name.endswith(".py"):
            if not (self.folder / name).exists():
                self.save(files()[name])
        else:
            self.shell(replace(block, code=(GIVEN / f"{name}.sh").read_text(), marks={}))

    def save(self, block: Block) -> None:
        assert block.file
        path = self.folder / block.file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(block.code)

    def shell(self, block: Block) -> None:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", block.code], cwd=self.folder, env=self.environment, timeout=SECONDS,
            text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        # bash becomes the last command: its signal is bash's own then, and 128 + the signal otherwise.
        code = done.returncode if done.returncode >= 0 else 128 - done.returncode
        wanted = int(block.marks.get("exit", 0))
        assert code == wanted, f"{block.place} ended with {code}:\n{block.code}\n{done.stdout}"
        printed = " ".join(done.stdout.split())
        missing = [
            line for line in block.said.splitlines() if " ".join(line.partition("...")[0].split()) not in printed
        ]
        assert not missing, f"{block.place} did not say {missing} but:\n{done.stdout}"

    def interpret(self, block: Block) -> None:
        if self.python is None:
            self.python = subprocess.Popen(
                ["python", "-u", "-c", INTERPRETER], cwd=self.folder, env=self.environment, text=True,
                stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            )  # fmt: skip
        assert self.python.stdin and self.python.stderr
        self.python.stdin.write(json.dumps(block.code) + "\n")
        self.python.stdin.flush()
        said = []
        for line in self.python.stderr:
            said.append(line.removesuffix("\0\n"))
            if line.endswith("\0\n"):  # what the block has written last may have no end of a line
                return
        raise AssertionError(f"{block.place} failed:\n{block.code}\n{''.join(said)}")

    def close(self) -> None:
        if self.python:
            assert self.python.stdin
            self.python.stdin.close()
            if self.python.wait(timeout=60) and sys.exc_info()[0] is None:
                raise AssertionError("the interpreter of a page ended badly")


def toctree(index: Path) -> Iterator[str]:
    """The pages that an index page lists, in order, by their names."""
    for body in re.findall(r"^```\{toctree\}\n(.*?)^```$", index.read_text(), re.MULTILINE | re.DOTALL):
        lines = [line.strip() for line in body.splitlines()]
        yield from (line for line in lines if line and not line.startswith((":", "*")))
