"""Checkpoints written beside the training: a step waits for a copy into host memory, a thread does the rest."""

import copy
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from semisonic import start_up
from semisonic.checkpoint import format as checkpoints
from semisonic.checkpoint import snapshots
from semisonic.checkpoint.atomic_files import advice, sync_file
from semisonic.faults import reach
from semisonic.schema import UserError

PATIENCE = 10.0
"""Seconds that a checkpoint may wait for the one before it until the user is told."""


class Copies:
    """Copies of named tensors in host memory, pinned for those of a GPU, which every `take` uses again."""

    def __init__(self) -> None:
        self.tensors: dict[str, Tensor] = {}
        self.event: torch.cuda.Event | None = None

    def take(self, tensors: dict[str, Tensor]) -> None:
        """Copies the tensors as they are after all that was queued so far, and does not wait for a GPU.

        The copies stand on the stream of the training: what comes next overwrites the tensors in place, so it has to
        queue behind them anyway (the PCIe transfer of one snapshot), and the host goes on at once.
        """
        before, self.tensors, self.event = self.tensors, {}, None
        for name, tensor in tensors.items():
            own = before.get(name)
            if own is None or own.shape != tensor.shape or own.dtype != tensor.dtype:
                own = torch.empty_like(tensor, device="cpu", pin_memory=tensor.is_cuda, requires_grad=False)
            self.tensors[name] = own.copy_(tensor.detach(), non_blocking=True)
            if tensor.is_cuda and self.event is None:
                self.event = torch.cuda.Event()
        if self.event:
            self.event.record()

    def wait(self) -> None:
        """Until the copies are there."""
        if self.event:
            self.event.synchronize()


class CheckpointWriter:
    """Writes a run's checkpoints into `folder`, at most one at a time; needs host memory for one copy of the state.

    `group`: the ranks of a run of several, over the host. Rank 0 alone submits and writes, and what goes wrong there is
    raised on all of them by the `finish` that they call together, so that none waits for one that has ended.
    """

    def __init__(self, folder: Path, keep: int, group: Any = None, say: Callable[[str], None] = print):
        self.folder, self.keep, self.group, self.say = folder, keep, group, say
        self.check: Callable[[], None] = lambda: folder.parent.mkdir(parents=True, exist_ok=True)
        """Comes before every write. That of a run raises `UserError` where its folder is not its own any more, into
        which nothing is written then; without a run there may be none yet."""
        self.model, self.optimizer, self.averaged = Copies(), Copies(), Copies()
        self.thread: threading.Thread | None = None
        self.writing = ""
        """What is being written, in words."""
        self.error: BaseException | None = None
        self._written: list[int] = []

    def submit(self, step: int, checkpoint: checkpoints.Checkpoint, best: int | None = None) -> None:
        """Copies a checkpoint and has it written; its tensors may change as soon as this returns.

        Waits for the one before. Raises its error instead where the run is one process.
        """
        self._begin()
        self.model.take(checkpoint.model)
        self.optimizer.take(checkpoint.optimizer)
        # The history grows while it is written.
        taken = checkpoints.Checkpoint({}, {}, copy.deepcopy(checkpoint.state), checkpoint.config)

        def write() -> None:
            self.model.wait()
            self.optimizer.wait()
            taken.model, taken.optimizer = self.model.tensors, self.optimizer.tensors
            reach("writer")
            metrics = self.folder.parent / "metrics.jsonl"
            if metrics.exists():
                reach("metrics.fsync")
                sync_file(metrics)  # a run continues its metrics where its checkpoint stands
            with start_up.once(start_up.CHECKPOINT):
                checkpoints.save(self.folder, step, taken, self.keep, best)
            self._written.append(step)

        self._start(f"checkpoint of step {step:,}", write, partial(self._refused, step))

    def submit_snapshot(self, step: int, snapshot: checkpoints.Checkpoint) -> None:
        """The same of a snapshot (`snapshots.py`), which is on the disk before the next checkpoint is begun."""
        self._begin()
        self.averaged.take(snapshot.model)
        taken = checkpoints.Checkpoint({}, {}, copy.deepcopy(snapshot.state), snapshot.config)
        folder = self.folder.with_name(snapshots.FOLDER)

        def write() -> None:
            self.averaged.wait()
            taken.model = self.averaged.tensors
            snapshots.write(folder, step, taken)

        self._start(f"snapshot of step {step:,}", write, partial(self._not_written, folder))

    def _begin(self) -> None:
        self.settle()
        if self.group is None:
            self._look_again()
            self._raise()

    def _start(self, what: str, write: Callable[[], None], refused: Callable[[OSError], UserError]) -> None:
        self.writing = what
        # No daemon: a process that ends by an error still finishes the checkpoint that it began.
        self.thread = threading.Thread(target=self._work, args=(write, refused), name=what)
        self.thread.start()

    def _work(self, write: Callable[[], None], refused: Callable[[OSError], UserError]) -> None:
        try:
            try:
                self.check()
                write()
            except OSError as error:
                self.check()
                raise refused(error) from error
        except BaseException as error:  # raised where the training can end by it
            self.error = self.error or error

    def _refused(self, step: int, error: OSError) -> UserError:
        good = checkpoints.latest(self.folder)
        if good and good.name == f"step-{step}":
            return UserError(f"{self.folder}: checkpoints before {good.name} cannot be removed: {advice(error)}")
        return self._not_written(self.folder, error)

    def _not_written(self, folder: Path, error: OSError) -> UserError:
        good = checkpoints.latest(self.folder)
        last = f"{good.name} is the last good one" if good else "there is none before it"
        problem, _, remedy = advice(error).rpartition("; ")
        return UserError(f"the {self.writing} could not be written: {problem} ({folder}); {last}; {remedy}")

    def settle(self) -> None:
        """Waits for the write in flight; raises nothing."""
        if self.thread is None:
            return
        self.thread.join(PATIENCE)
        if self.thread.is_alive():
            self.say(f"waiting for the {self.writing}: writing it takes more than {PATIENCE:.0f} s")
            self.thread.join()
        self.thread = None

    def rest(self, seconds: float) -> None:
        """Waits at most so long for the write in flight. For another thread than that of the training."""
        if thread := self.thread:
            thread.join(seconds)

    @property
    def failed(self) -> bool:
        """Whether something went wrong on this rank that `finish` has not raised yet."""
        return self.error is not None

    def fail(self, error: BaseException) -> None:
        """Has the next `finish` raise an error of this rank, unless there is an earlier one."""
        self.error = self.error or error

    def ours(self) -> bool:
        """Whether the folder is still the run's own. One that is not ends all ranks, by the next `finish`."""
        try:
            self.check()
        except UserError as error:
            self.fail(error)
            return False
        return True

    @contextmanager
    def guard(self, path: Path) -> Iterator[bool]:
        """What the file system refuses while rank 0 writes `path` ends all ranks, by the next `finish`.

        So does a folder that is not the run's any more, which is to be left as it is: it gives whether to write.
        """
        try:
            self.ours()
            yield not self.failed
        except OSError as error:
            good = checkpoints.latest(self.folder)
            last = f"{good.name} is the last good checkpoint" if good else "there is no checkpoint yet"
            problem, _, remedy = advice(error).rpartition("; ")
            self.fail(UserError(f"{path} could not be written: {problem}; {last}; {remedy}"))

    def written(self) -> list[int]:
        """Steps whose checkpoints have been written since the last call."""
        steps, self._written = self._written, []
        return steps

    def finish(self) -> None:
        """Waits for the write in flight and raises what went wrong, once, on every rank of the group.

        All of them call it together. The waiting is on the host; the device goes on.
        """
        self.settle()
        reach("outcome")
        self._look_again()
        if self.group is None:
            self._raise()
            return
        outcome: list[tuple[bool, list[str]] | None] = [None]
        if self.error is not None:
            mistake = isinstance(self.error, UserError)
            messages = self.error.messages if isinstance(self.error, UserError) else [repr(self.error)]
            outcome = [(mistake, messages)]
        dist.broadcast_object_list(outcome, src=0, group=self.group)
        self._raise()  # on rank 0 the error itself, with its traceback
        if outcome[0] is not None:
            mistake, messages = outcome[0]
            raise UserError(messages) if mistake else RuntimeError(f"rank 0 failed: {messages[0]}")

    def _look_again(self) -> None:
        """What went wrong may be the beginning of a folder's removal, which is the error by now."""
        if self.error is not None:
            try:
                self.check()
            except UserError as error:
                self.error = error

    def _raise(self) -> None:
        error, self.error = self.error, None
        if error is not None:
            raise error
