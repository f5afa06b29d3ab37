"""A step's parts, shared by the ranks: part by part, each rank its own, to the end or to a signal."""

from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from semisonic.daily.passes.makers import Made, Maker
from semisonic.daily.passes.work import AGAIN, Work
from semisonic.distributed.launcher import Launcher
from semisonic.distributed.preemption import Preemption
from semisonic.inference.batches import Found
from semisonic.inference.decoding import cpus_of_rank, found_parts, predicted
from semisonic.inference.progress import metered
from semisonic.inference.ranks import RankLost, Ranks, joined_ranks
from semisonic.schema import Interrupted, Stopped

if TYPE_CHECKING:
    from semisonic.daily.project import Project


@dataclass(frozen=True)
class Session:
    """The ranks of a step, and whether it is asked to stop."""

    ranks: Ranks
    preemption: Preemption

    def raise_if_stopped(self, where: str) -> None:
        """Raises `Stopped` after a signal."""
        if reason := self.preemption.received:
            kind = Interrupted if reason == "SIGINT" else Stopped
            raise kind(f"stopped by {reason} after {where}; to continue, {AGAIN}")


@contextmanager
def session() -> Iterator[Session]:
    """All ranks that the launcher has started, or this process alone. Raises `RankLost` where another one has ended."""
    with Launcher() as launcher, joined_ranks() as ranks, Preemption(launcher) as preemption:
        if ranks.device.type == "cpu" and ranks.rank.world_size > 1:
            torch.set_num_threads(cpus_of_rank())
        found = Session(ranks, preemption)
        try:
            yield found
        except RankLost as error:
            found.raise_if_stopped("the other ranks")  # which the same signal has ended first
            raise RankLost(f"another rank has ended before its share was done; to continue, {AGAIN}") from error


@contextmanager
def locked_session(project: "Project", step: str) -> Iterator[Session]:
    """The same, while rank 0 holds the project's lock. Raises `UserError` on every rank where another step does."""
    with session() as found, ExitStack() as held:

        def lock() -> None:
            held.enter_context(project.lock(step))

        found.ranks.from_main(lock)
        yield found


def compute(work: Work, maker: Maker, session: Session) -> None:
    """Makes this rank's share of the parts that are not there yet, and waits for the other ranks. Raises `Stopped`."""
    ranks = session.ranks
    own = range(ranks.rank.rank, len(work.parts), ranks.rank.world_size)
    todo = [part for part in own if not work.done(part)]
    total, left = (sum(len(work.parts[part]) for part in parts) for parts in (own, todo))
    with metered(total, total - left, quiet=not ranks.main or not left) as meter:

        def check(images: int = 0) -> None:
            if images:  # not while files are checked
                meter.add(images)
            session.raise_if_stopped(f"{meter.done:,} of {total:,} images")

        parts = [work.parts[part] for part in todo]
        with closing(found_parts(maker.sources, parts, maker.reading, check)) as coming:
            for part, found in zip(todo, coming, strict=True):
                final, made = predicted(maker, found, check)
                meter.settle(len(found.part) - len(found.rows))
                _write(work, part, final, made)
    ranks.wait()


def _write(work: Work, part: int, found: Found, made: Made) -> None:
    left_out = sorted([*found.left_out, *made.changed])
    work.write(
        part,
        {
            "images": work.images[made.rows],
            **made.arrays,
            "left_out": work.images[[row for row, _ in left_out]] if left_out else np.empty(0, np.int64),
            "reasons": np.array([reason for _, reason in left_out], "U") if left_out else np.empty(0, "U1"),
        },
    )


def left_out_of(work: Work) -> list[tuple[int, str]]:
    """(image, reason) of all images that could not be used."""
    found: list[tuple[int, str]] = []
    for part in range(len(work.parts)):
        images, reasons = work.read(part, "left_out", "reasons")
        found += zip(images.tolist(), reasons.tolist(), strict=True)
    return found
