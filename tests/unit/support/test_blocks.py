"""The reader of the site's blocks of code: what it runs, and what it does not let pass."""

import os
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import blocks
from tests.support.blocks import Block, Reader, blocks_of, quick_part

Read = Callable[[str], list[Block]]


@pytest.fixture
def read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Read:
    """The blocks of a page with this text, in which ~~~ stands for three backticks."""
    monkeypatch.setattr(blocks, "DOCS", tmp_path)

    def of(text: str) -> list[Block]:
        (tmp_path / "page.md").write_text(text.replace("~~~", "```"))
        return blocks_of(tmp_path / "page.md")

    return of


def follow(folder: Path, found: list[Block]) -> None:
    reader = Reader(folder, {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"})
    try:
        reader.follow(found)
    finally:
        reader.close()


def test_marks_and_lines_of_blocks(read: Read):
    one, two = read(
        "# A\n\n% run: long\n% given: run, a.py\n~~~bash\nls\n~~~\n~~~~~text\n~~~bash\nno\n~~~\n~~~~~\n~~~python\n1\n~~~\n".replace(
            "~~~~~", "````"
        )
    )
    assert (one.line, one.long, one.given, one.code) == (5, True, ["run", "a.py"], "ls\n")
    assert (two.line, two.language, two.run, two.given) == (13, "python", True, [])


def test_the_quick_part_ends_at_the_first_long_block_of_each_page():
    def block(page: str, line: int, **marks: str) -> Block:
        return Block(page, line, "bash", "true\n", marks)

    path = [block("a", 1), block("a", 2, run="long"), block("a", 3), block("a", 4, run="quick"), block("b", 1)]
    assert [(one.page, one.line) for one in quick_part(path)] == [("a", 1), ("a", 4), ("b", 1)]
    unrun = Block("a", 2, "bash", "true\n", {"run": "long", "not run": "a reason"})
    assert quick_part([unrun, block("a", 3)]) == [unrun, block("a", 3)]


FAILING = "% exit: 3\n~~~bash\necho 'error:  a line that goes'\necho on; exit 3\n~~~\n\n"


def test_a_failing_command_says_what_the_page_shows(read: Read, tmp_path: Path):
    follow(tmp_path, read(FAILING + "Its last words:\n\n~~~text\nerror: a line that goes on\n~~~\n"))
    follow(tmp_path, read(FAILING + "~~~text\nerror: a line ... and more\n~~~\n"))
    with pytest.raises(AssertionError, match=re.escape("page.md:2 did not say ['error: another line']")):
        follow(tmp_path, read(FAILING + "~~~text\nerror: another line\n~~~\n"))


@pytest.mark.parametrize("between", ["## A section", "~~~bash\ntrue\n~~~"])
def test_text_of_another_block_or_section_is_no_output(read: Read, between: str):
    assert read(f"{FAILING}{between}\n\n~~~text\nerror: another line\n~~~\n")[0].said == ""


def test_another_exit_code_fails(read: Read, tmp_path: Path):
    with pytest.raises(AssertionError, match=r"page\.md:1 ended with 1"):
        follow(tmp_path, read("~~~bash\nfalse\ntrue\n~~~\n"))
    with pytest.raises(AssertionError, match=r"page\.md:2 ended with 3"):
        follow(tmp_path, read(FAILING.replace("% exit: 3", "% exit: 2")))
    follow(tmp_path, read("% exit: 137\n~~~bash\nkill -9 $$\n~~~\n"))


def test_what_is_given_is_made_once_and_replaces_nothing(read: Read, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(blocks, "GIVEN", tmp_path)
    monkeypatch.setattr(blocks, "files", lambda: {"mine.py": Block("b.md", 1, "python", "# mine.py\n", {})})
    (tmp_path / "count.sh").write_text("echo once >>count\n")
    twice = "% given: count, mine.py\n~~~bash\ncat mine.py\n~~~\n" * 2
    follow(tmp_path, read(twice))
    assert (tmp_path / "count").read_text() == "once\n" and (tmp_path / "mine.py").read_text() == "# mine.py\n"
    (tmp_path / "mine.py").write_text("# changed\n")
    follow(tmp_path, read(twice))
    assert (tmp_path / "mine.py").read_text() == "# changed\n"


def test_python_is_one_interpreter_and_files_are_saved(read: Read, tmp_path: Path):
    page = "~~~python\n# mine.py\ntwo = 2\n~~~\n~~~python\nfrom mine import two\n~~~\n~~~python\nassert two == 2\n~~~\n"
    follow(tmp_path, read(page))
    with pytest.raises(AssertionError, match=r"page\.md:11 failed"):
        follow(tmp_path, read(page + "~~~python\nassert two == 3\n~~~\n"))
