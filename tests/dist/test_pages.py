"""The site as a reader follows it: blocks of code in order, with the installed wheel, in an empty folder.

The newcomer's path goes through several pages in one folder; any other page stands for itself. Blocks before the first long one
of a page are run by `make test-all`, whole paths with a long one by `make test-long`.
"""

import os
import re
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.blocks import DOCS, GIVEN, Block, Reader, blocks_of, files, quick_part, toctree
from tests.support.processes import ROOT
from tests.support.wheel import environment, install

NEWCOMER = [
    *(f"start/{name}.md" for name in ("index", *toctree(DOCS / "start" / "index.md"))),
    *(f"extend/{name}.md" for name in ("algorithm", "network", "data-set", "plug-in", "check")),
    "use/clusters/index.md",
    "use/trouble.md",
    "use/exit-codes.md",
]
"""From nothing to an algorithm, a network and a data set of one's own, two processes, and what a failing run means."""
PATHS = {"newcomer": NEWCOMER} | {
    name: [name]
    for name in sorted(path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md"))
    if name not in NEWCOMER
}
"""Pages that are read one after the other in one folder."""
BLOCKS: dict[str, list[Block]] = {
    path: [block for page in pages for block in blocks_of(DOCS / page)] for path, pages in PATHS.items()
}
LONG = [path for path, blocks in BLOCKS.items() if any(block.run and block.long for block in blocks)]
QUICK = [path for path, blocks in BLOCKS.items() if any(block.run and not block.file for block in quick_part(blocks))]
TRAINS = re.compile(r"\bsemisonic (train|pretrain|compare|check)\b|\bsemisonic\.train\(|daily \S+ (train|label)\b")
LOOKS = re.compile(r"--(list|plan|print-config|help|report-only)\b")
"""Options with which nothing is trained."""

Follow = Callable[[list[Block]], Path]


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install(tmp_path_factory.mktemp("wheel"))


@pytest.fixture
def follow(programs: Path, tmp_path: Path) -> Follow:
    """Does blocks in an empty folder, which it returns; nothing but the wheel is there. All pages have one reader's home, where
    a step that was tried once is not tried again."""

    def run(blocks: list[Block]) -> Path:
        with closing(Reader(tmp_path / "here", environment(programs, programs.parents[1] / "home"))) as reader:
            reader.follow(blocks)
        return tmp_path / "here"

    return run


@pytest.mark.slow
@pytest.mark.parametrize("path", QUICK)
def test_quick_blocks_of_a_page(path: str, follow: Follow):
    follow(quick_part(BLOCKS[path]))


@pytest.mark.long
@pytest.mark.parametrize("path", LONG)
def test_all_blocks_of_a_page(path: str, follow: Follow):
    follow(BLOCKS[path])


def test_each_block_that_is_not_run_says_why():
    said = [(block.place, block.marks["not run"]) for blocks in BLOCKS.values() for block in blocks if not block.run]
    assert [place for place, reason in said if len(reason.split()) < 2] == []
    missing = [(place, path) for place, reason in said for path in re.findall(r"tests/[\w/]+\.py", reason)]
    assert [(place, path) for place, path in missing if not (ROOT / path).exists()] == []


def test_marks_are_known_and_stand_before_a_block():
    marks = {path: re.findall(r"^% ?(.*)$", without_texts(path), re.MULTILINE) for path in DOCS.rglob("*.md")}
    known = r"not run: .+|run: (long|quick)|exit: \d+|given: [\w.-]+(, [\w.-]+)*"
    assert [(path.name, mark) for path, found in marks.items() for mark in found if not re.fullmatch(known, mark)] == []
    of_blocks = sum(len(block.marks) for blocks in BLOCKS.values() for block in blocks)
    assert of_blocks == sum(map(len, marks.values()))


def without_texts(path: Path) -> str:
    """A page without blocks that show text, such as marks."""
    return re.sub(r"^(```+)text\n.*?^\1$", "", path.read_text(), flags=re.MULTILINE | re.DOTALL)


@pytest.mark.timeout(60)
def test_a_block_that_ends_within_a_line_is_done(tmp_path: Path):
    blocks = [
        Block("a.md", 1, "python", f"import sys; print({text!r}, end='', file=sys.stderr)\n", {}) for text in "ab"
    ]
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    with closing(Reader(tmp_path, os.environ | {"PATH": path})) as reader:
        reader.follow(blocks)
        with pytest.raises(AssertionError, match=r"a\.md:1 failed"):
            reader.follow([Block("a.md", 1, "python", "1 / 0\n", {})])
        reader.python = None


def test_what_is_given_is_known():
    names = {name for blocks in BLOCKS.values() for block in blocks for name in block.given}
    assert names == {path.stem for path in GIVEN.glob("*.sh")} | (names & files().keys())


def test_nothing_trains_in_the_quick_parts():
    """`make test-all` has a minute for all pages: a command takes seconds, a training takes many of them."""
    quick = [
        block for blocks in BLOCKS.values() for block in quick_part(blocks) if block.run and "exit" not in block.marks
    ]
    commands = [line for block in quick for line in block.code.splitlines() if TRAINS.search(line)]
    assert [line for line in commands if not LOOKS.search(line)] == []
    assert [block.place for block in quick if set(block.given) - files().keys()] == []
