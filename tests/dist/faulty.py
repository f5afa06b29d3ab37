"""Run by the tests in place of launch/train.py: trains with a fault put in.

    faulty.py FAULT STEP RANK [OPTIONS] [FIELDS]

FAULT strikes on rank RANK when STEP steps are finished: raise and mistake (an error), buffer (its state changes),
nan (its loss), stop and kill (a signal to itself), hang (its loader waits for ever), none.
"""

import os
import signal
import sys
import threading
import time

import torch

from semisonic.algorithms.base import Algorithm, Batch, StepOutput
from semisonic.cli import main
from semisonic.data.pipeline import Loader
from semisonic.schema import UserError
from semisonic.trainer import Trainer


def strike(trainer: Trainer, fault: str) -> None:
    if fault == "raise":
        raise ValueError("this is a fault")
    if fault == "mistake":
        raise UserError("data.root: this is a mistake")
    if fault == "buffer":
        average = next(buffer for buffer in trainer.algorithm.ema.buffers() if buffer.is_floating_point())
        average.view(-1)[0] += 1e-6
    if fault in ("stop", "kill"):
        time.sleep(2)  # for a sign of this step
        os.kill(os.getpid(), signal.SIGSTOP if fault == "stop" else signal.SIGKILL)


def put_in(fault: str, step: int, rank: int) -> None:
    """Patches the loop; the process has its rank in the environment."""
    if int(os.environ.get("RANK", "0")) != rank:
        return
    train_step, loss = Trainer.train_step, Algorithm.forward
    taken = 0

    def faulty_step(self: Trainer, batch: Batch) -> StepOutput:
        if self.step == step:
            strike(self, fault)
        return train_step(self, batch)

    def faulty_loss(self: Algorithm, batch: Batch) -> StepOutput:
        output = loss(self, batch)
        return output._replace(loss=output.loss * torch.where(self.step == step, torch.nan, 1.0))

    def hanging_next(self: Loader) -> Batch:
        nonlocal taken
        taken += 1
        if taken > step:
            threading.Event().wait()
        return take(self)

    Trainer.train_step = faulty_step  # type: ignore[method-assign]
    if fault == "nan":
        Algorithm.forward = faulty_loss  # type: ignore[method-assign]
    if fault == "hang":
        take = Loader.__next__
        Loader.__next__ = hanging_next  # type: ignore[method-assign]


if __name__ == "__main__":
    fault, step, rank, *rest = sys.argv[1:]
    put_in(fault, int(step), int(rank))
    sys.exit(main(rest))
