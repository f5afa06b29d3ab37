"""The parser of every command's options."""

import argparse
from pathlib import Path
from typing import Any, NoReturn

from semisonic.schema import expanded
from semisonic.text import printable


class Parser(argparse.ArgumentParser):
    """An `ArgumentParser` whose arguments of `type=Path` are paths as the user means them: `~` is a home folder."""

    def __init__(self, *args: Any, **options: Any):
        super().__init__(*args, **options)
        self.register("type", Path, path_argument)

    def error(self, message: str) -> NoReturn:
        super().error(printable(message))


def path_argument(text: str) -> Path:
    try:
        return expanded(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text[:80]!r} is not valid; expected {error}") from error
