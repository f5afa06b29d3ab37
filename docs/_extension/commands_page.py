"""The reference of the command line: what each command's --help prints."""

import io
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout

WIDTH = 100
"""Characters of a line."""


def commands() -> str:
    """Markdown of all commands, a heading for each, and what `--help` prints below it."""
    from semisonic.cli import COMMANDS
    from semisonic.daily.subcommands import SUBCOMMANDS
    from semisonic.studies.command import SUMMARIES

    below: dict[str, list[list[str]]] = {name: [[name]] for name in COMMANDS}
    below["daily"] += [["daily", "PROJECT", name] for name in SUBCOMMANDS]
    below["study"] += [["study", name] for name in SUMMARIES]
    lines: list[str] = []
    for first, those in below.items():
        for words in those:
            name = " ".join(words)
            level = "##" if len(words) == 1 else "###"
            lines += [f"{level} semisonic {name}", "", "```text", without_fields(help_of(words)), "```", ""]
            if first == words[-1] and "\nFields\n" in help_of(words):
                lines += ["The fields are in [Configuration](configuration.md).", ""]
    return "\n".join(lines)


def help_of(words: Sequence[str]) -> str:
    """What a command prints with --help."""
    from semisonic.cli import dispatch

    printed = io.StringIO()
    with environment(COLUMNS=str(WIDTH), NO_COLOR="1"), redirect_stdout(printed):
        try:
            code = dispatch([*words, "--help"])
        except SystemExit as error:
            code = error.code if isinstance(error.code, int) else 1
    if code:
        raise RuntimeError(f"semisonic {' '.join(words)} --help ended with {code}: {printed.getvalue()}")
    return printed.getvalue().rstrip()


def without_fields(text: str) -> str:
    """Help without the fields of a run, which have a page of their own."""
    return re.split(r"\n+Fields\n", text)[0]


@contextmanager
def environment(**values: str) -> Iterator[None]:
    """Variables of the environment, for a while."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
