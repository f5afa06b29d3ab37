"""Parts of what is to be predicted, decoded: files are checked by processes of their own, two parts ahead at most, so
that memory holds no more than these whatever the number of images.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Executor
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np

from semisonic.cpus import usable_cpus
from semisonic.data.sets import manifest
from semisonic.data.sets.base import ImageFiles
from semisonic.data.sets.workers import pool, signals_kept, without_main_module
from semisonic.distributed.variables import local_world_size
from semisonic.inference.batches import Batches, Found
from semisonic.inference.keyed import key_of
from semisonic.inference.outputs import Outputs, Trained, Wanted, joined, outputs_of
from semisonic.inference.reading import AS_USUAL, Reading
from semisonic.inference.sources import ArraySources, FileSources, Sources
from semisonic.schema import Stopped, UserError

T = TypeVar("T", covariant=True)

PROCESSES_FROM = 512
"""Files; below it, starting processes costs more than it saves."""
CHUNK = 64
"""Files that a process checks at a time."""
AHEAD = 1
"""Parts that are checked while one is predicted."""


def cpus_of_rank() -> int:
    """CPUs that this process may use, shared with the other ranks on its host."""
    return max(1, usable_cpus() // local_world_size())


def examined_here(
    reading: Reading, sources: FileSources, part: range, check: Callable[[], object] = lambda: None
) -> Found:
    """Reads and checks the files of a part in this process. check: is called between two files, and may raise."""
    examined = []
    for row in part:
        check()
        examined.append(reading.examine(str(sources.root / sources.name(row))))
    return found_in(sources, part, examined)


def found_in(sources: FileSources, part: range, examined: Sequence[manifest.Examined]) -> Found:
    sound = [entry.status in (manifest.OK, manifest.VIA_PILLOW) for entry in examined]
    rows = np.array([row for row, good in zip(part, sound, strict=True) if good], np.int64)
    kept = [entry for entry, good in zip(examined, sound, strict=True) if good]
    left_out = [(row, entry.reason) for row, entry, good in zip(part, examined, sound, strict=True) if not good]
    files = ImageFiles(
        root=sources.root,
        paths=[sources.name(row) for row in rows.tolist()],
        labels=np.full(len(rows), -1),
        shapes=np.array([(entry.height, entry.width) for entry in kept], np.int32).reshape(-1, 2),
        via_pillow=np.array([entry.status == manifest.VIA_PILLOW for entry in kept], bool),
    )
    return Found(part, rows, left_out, files, np.array([key_of(entry.digest) for entry in kept], np.int64))


def found_parts(
    sources: Sources, parts: Sequence[range], reading: Reading, check: Callable[[], object]
) -> Generator[Found, None, None]:
    """What can be used of each part, in order. To be closed where it is not exhausted.

    check: is called between two files, and may raise.
    """
    if isinstance(sources, ArraySources):
        for part in parts:
            yield Found(part, np.arange(part.start, part.stop), [])
        return
    workers = reading.workers or cpus_of_rank()
    if workers == 1 or sum(map(len, parts)) < PROCESSES_FROM:
        for part in parts:
            yield examined_here(reading, sources, part, check)
        return
    with pool(workers) as executor:
        coming: deque[tuple[range, Iterator[manifest.Examined]]] = deque()
        for number in range(len(parts)):
            for wanted in parts[number + len(coming) : number + 1 + AHEAD]:
                coming.append((wanted, _submitted(executor, reading, sources, wanted)))
            yield _received(sources, *coming.popleft(), check)


def _submitted(executor: Executor, reading: Reading, sources: FileSources, part: range) -> Iterator[manifest.Examined]:
    paths = [str(sources.root / sources.name(row)) for row in part]
    with _told_apart(), without_main_module(), signals_kept():
        return executor.map(reading.examine, paths, chunksize=CHUNK)


def _received(
    sources: FileSources, part: range, results: Iterator[manifest.Examined], check: Callable[[], object]
) -> Found:
    examined = []
    with _told_apart():
        for entry in results:
            check()
            examined.append(entry)
    return found_in(sources, part, examined)


@contextmanager
def _told_apart() -> Iterator[None]:
    try:
        yield
    except BrokenProcessPool as error:
        raise UserError(
            "--workers: a process that checks images died (out of memory?); try fewer, or 1 for none"
        ) from error


@dataclass(frozen=True, eq=False)
class Predictor:
    """What makes outputs of the images of a part."""

    classifier: Trained
    """On its device, in evaluation mode."""
    sources: Sources
    wanted: Wanted
    batch: int
    reading: Reading = AS_USUAL

    def outputs(self, found: Found, check: Callable[[int], object]) -> Outputs | None:
        """Of the rows that can be used; None where there are none. check: is called after each batch with the number
        of its images, and may raise.

        The batches of a part depend on nothing but the part, so that its outputs are the same to the last bit wherever
        it is predicted. Raises `UserError` and `OSError` where a file is not any more what was found.
        """
        made: list[Outputs] = []
        views = self.wanted.views
        with closing(Batches(self.classifier, self.sources, self.batch, views, plain=not views).of(found)) as batches:
            for images, count in batches:
                made.append(outputs_of(self.classifier, images, count, self.wanted))
                check(count)
        return joined(made) if made else None


class Maker(Protocol[T]):
    """What makes something of the images of a part."""

    @property
    def sources(self) -> Sources: ...
    @property
    def reading(self) -> Reading: ...
    def outputs(self, found: Found, check: Callable[[int], object]) -> T:
        """Raises `UserError` and `OSError` where a file is not any more what was found."""


def predicted(predictor: Maker[T], found: Found, check: Callable[[int], object]) -> tuple[Found, T]:
    """The outputs of a part, and what it was in the end: files that changed or vanished since they were checked are
    checked once more."""
    try:
        return found, predictor.outputs(found, check)
    except Stopped:  # of `check`, and nothing that a file has done
        raise
    except (UserError, OSError):
        if found.files is None or not isinstance(predictor.sources, FileSources):
            raise
        again = examined_here(predictor.reading, predictor.sources, found.part, lambda: check(0))
        if again.rows.tolist() == found.rows.tolist() and np.array_equal(again.keys, found.keys):  # type: ignore[arg-type]
            raise
    return again, predictor.outputs(again, lambda _: check(0))
