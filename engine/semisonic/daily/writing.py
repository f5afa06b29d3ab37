"""What a project says where a file cannot be written."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from semisonic.checkpoint.atomic_files import FULL
from semisonic.schema import UserError


@contextmanager
def written(path: Path) -> Iterator[None]:
    """A refusal of the file system inside is a `UserError` that names `path`."""
    try:
        yield
    except OSError as error:
        remedy = "free space" if error.errno in FULL else "put this right"
        raise UserError(f"{path} could not be written: {error.strerror or error}; {remedy}, then try again") from error
