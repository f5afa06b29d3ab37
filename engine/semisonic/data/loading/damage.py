"""Which files of a batch are no longer what the scan found, where DALI says only that it cannot decode one of them."""

from collections.abc import Iterable

import numpy as np

from semisonic.data.sets.base import ImageFiles
from semisonic.data.sets.manifest import inspect
from semisonic.schema import UserError

SHOWN = 5


def name_undecodable(error: Exception, images: ImageFiles, rows: Iterable[int]) -> Exception:
    """A `UserError` that names the files among `rows` which cannot be used, or `error` where there are none."""
    lines = [line for row in np.unique(np.fromiter(rows, np.int64)) if (line := _damage(images, int(row)))]
    if not lines and isinstance(error, OSError):
        lines = [f"{error.filename}: {error.strerror}"]  # the next try read it, but this one had failed
    if not lines:
        return error
    more = [f"data.root: {len(lines) - SHOWN} more files of the batch"] if len(lines) > SHOWN else []
    advice = "; repair it and continue with --resume" if len(lines) == 1 else "; repair them and continue with --resume"
    shown = [f"data.root: cannot decode {line}" for line in lines[:SHOWN]] + more
    return UserError([*shown[:-1], shown[-1] + advice])


def _damage(images: ImageFiles, row: int) -> str | None:
    path = images.root / images.paths[row]
    height, width, _, reason = inspect(str(path))
    if reason:
        return f"{path} any more: {reason}"
    if (height, width) != tuple(images.shapes[row]):
        return f"{path}: it is {height}x{width} now and was {'x'.join(map(str, images.shapes[row]))} when the run began"
    if images.sizes is not None and path.stat().st_size != images.sizes[row]:
        return f"{path}: it has {path.stat().st_size} bytes now and had {images.sizes[row]} when the run began"
    return None
