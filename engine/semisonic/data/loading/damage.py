"""Which files of a batch are no longer what the scan found, where DALI says only that it cannot decode one of them."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from semisonic.data.sets.base import ImageFiles
from semisonic.data.sets.limits import ANY
from semisonic.data.sets.manifest import inspect
from semisonic.schema import UserError

SHOWN = 5


def name_undecodable(error: Exception, images: ImageFiles, rows: Iterable[int]) -> Exception:
    """A `UserError` that names the files among `rows` which cannot be used, or `error` where there are none.

    Of a folder that is gone, with all in it, there is one line.
    """
    every = np.unique(np.fromiter(rows, np.int64))
    missing = {row: folder for row in every if (folder := _missing_folder(images.root / images.paths[row]))}
    folders = [f"data.root: {folder} is not there any more" for folder in dict.fromkeys(missing.values())]
    lines = [line for row in every if row not in missing and (line := _damage(images, int(row)))]
    if not lines and not folders and isinstance(error, OSError):
        lines = [f"{error.filename}: {error.strerror}"]  # the next try read it, but this one had failed
    if not lines and not folders:
        return error
    more = [f"data.root: {len(lines) - SHOWN} more files of the batch"] if len(lines) > SHOWN else []
    shown = [*folders, *(f"data.root: cannot decode {line}" for line in lines[:SHOWN]), *more]
    what = "put back what is gone" if not lines else "repair it" if len(shown) == 1 else "repair them"
    return UserError([*shown[:-1], f"{shown[-1]}; {what} and continue with --resume"])


def _missing_folder(path: Path) -> Path | None:
    """The topmost folder above a file that is not there; None where the file has one."""
    gone = [folder for folder in path.parents if not folder.exists()]
    return gone[-1] if gone else None


def _damage(images: ImageFiles, row: int) -> str | None:
    path = images.root / images.paths[row]
    height, width, _, reason = inspect(str(path), ANY)  # which the scan compared it with
    if reason:
        return f"{path} any more: {reason}"
    if (height, width) != tuple(images.shapes[row]):
        return f"{path}: it is {height}x{width} now and was {'x'.join(map(str, images.shapes[row]))} when the run began"
    if images.sizes is not None and path.stat().st_size != images.sizes[row]:
        return f"{path}: it has {path.stat().st_size} bytes now and had {images.sizes[row]} when the run began"
    return None
