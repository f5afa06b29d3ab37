"""The blocks of code on the site's pages, and how they are run: as a reader does who pastes one after the other.

A comment in the line before a block says what a test must know: `% not run: REASON`, `% run: long`, `% exit: 2`, or `% given:
NAME` for what a reader of this page has made before, which tests/support/given/NAME.sh makes in the folder. A block of Python whose first line is `# NAME.py` is saved as that file; the other ones of a page are lines of one interpreter.
"""

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tests.support.processes import ROOT

DOCS = ROOT / "docs"
GIVEN = Path(__file__).parent / "given"
BLOCK = re.compile(r"((?:^%[^\n]*\n)*)^```(bash|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
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

    @property
    def run(self) -> bool:
        return "not run" not in self.marks

    @property
    def long(self) -> bool:
        return self.marks.get("run") == "long"

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
    return [
        Block(name, text[: found.start(2)].count("\n") + 1, found[2], found[3], dict(MARK.findall(found[1])))
        for found in BLOCK.finditer(text)
    ]


def quick_part(blocks: Sequence[Block]) -> list[Block]:
    """Those before the first one that takes long: what comes after it may build on it."""
    first = next((index for index, block in enumerate(blocks) if block.run and block.long), len(blocks))
    return list(blocks[:first])


class Reader:
    """Does the blocks of pages in one folder, one after the other. Raises AssertionError that names page and line."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.environment = folder, {**environment, "GIVEN": str(GIVEN)}
        self.python: subprocess.Popen[str] | None = None

    def follow(self, blocks: Sequence[Block]) -> None:
        for block in blocks:
            if not block.run:
                continue
            if given := block.marks.get("given"):
                self.shell(replace(block, code=(GIVEN / f"{given}.sh").read_text(), marks={}))
            if block.file:
                path = self.folder / block.file
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(block.code)
            elif block.language == "bash":
                self.shell(block)
            else:
                self.interpret(block)

    def shell(self, block: Block) -> None:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", block.code], cwd=self.folder, env=self.environment, timeout=SECONDS,
            text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        wanted = int(block.marks.get("exit", 0))
        assert done.returncode == wanted, f"{block.place} ended with {done.returncode}:\n{block.code}\n{done.stdout}"

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
            if line == "\0\n":
                return
            said.append(line)
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
