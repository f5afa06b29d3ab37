"""The parser of every command's options, and outputs that are refused before the work and not after it."""

import argparse
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NoReturn

from semisonic.schema import UserError, expanded
from semisonic.text import printable


class Parser(argparse.ArgumentParser):
    """An `ArgumentParser` whose arguments of `type=Path` are paths as the user means them: `~` is a home folder.
    Its mistakes are `UserError`s, as all others are: one line, without the usage before it."""

    def __init__(self, *args: Any, **options: Any):
        super().__init__(*args, **options)
        self.register("type", Path, path_argument)

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{printable(message)} ({self.prog} --help shows all)")


def path_argument(text: str) -> Path:
    try:
        return expanded(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text[:80]!r} is not valid; expected {error}") from error


def positive(text: str) -> int:
    """A whole number above 0, of an option."""
    if not text.isdecimal() or len(text) > 9 or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is not a whole number above 0 and below 10^9")
    return int(text)


def output_problem(option: str, path: Path) -> str | None:
    """Why a file or folder cannot be made at a path, as far as can be told without making it."""
    above = next((parent for parent in path.absolute().parents if os.path.lexists(parent)), Path("/"))
    if not above.is_dir():
        return f"{option} {path}: {above} is no folder"
    if not os.access(above, os.W_OK | os.X_OK):
        return f"{option} {path}: the folder {above} cannot be written"
    return None


def check_new_file(option: str, path: Path, endings: Iterable[str] = ()) -> None:
    """Raises `UserError` where a file has another ending, is there already, or cannot be made."""
    endings = tuple(endings)
    if endings and path.suffix not in endings:
        raise UserError(f"{option} {path}: the file must end in {' or '.join(endings)}")
    if os.path.lexists(path):
        raise UserError(f"{option} {path}: already exists; name another file")
    if problem := output_problem(option, path):
        raise UserError(problem)


def check_folder(option: str, path: Path, held: str, *patterns: str) -> None:
    """Raises `UserError` where a folder cannot be made or written, or holds files that match one of the patterns;
    held: what these are."""
    if os.path.lexists(path) and not path.is_dir():
        raise UserError(f"{option} {path}: is no folder; name another")
    if path.is_dir() and not os.access(path, os.W_OK | os.X_OK):
        raise UserError(f"{option} {path}: the folder cannot be written")
    if path.is_dir() and any(next(path.glob(pattern), None) for pattern in patterns):
        raise UserError(f"{option} {path}: holds {held} already; name another folder")
    if problem := output_problem(option, path):
        raise UserError(problem)
