"""Run by the tests in place of launch/train.py: trains, and the ranks named kill themselves in a step after a checkpoint.

    killed.py RANK[,RANK] FIELDS

A rank does so in step 30 (not the baseline's), after the backward and before the optimizer, once the first checkpoint
stands. It makes OUT.RANK.killed first, and does nothing where that is there.
"""

import os
import signal
import sys
import time
from pathlib import Path

from semisonic.cli import main
from semisonic.contract import Batch, StepOutput
from semisonic.distributed.engine import Engine
from semisonic.training.step import TrainingStep

STEP = 30


def put_in(rank: str) -> None:
    take, step = TrainingStep.__call__, Engine.step
    current: list[TrainingStep] = []

    def taken(self: TrainingStep, batch: Batch) -> StepOutput:
        current[:] = [self]
        return take(self, batch)

    def deadly(self: Engine) -> None:
        cfg = current[0].cfg
        killed = Path(f"{cfg.run_folder}.{rank}.killed")
        if current[0].number + 1 == STEP and cfg.algorithm.name != "supervised" and not killed.exists():
            while not (cfg.run_folder / "checkpoints" / "latest").exists():
                time.sleep(0.01)
            killed.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        step(self)

    TrainingStep.__call__ = taken  # type: ignore[method-assign]
    Engine.step = deadly  # type: ignore[method-assign]


if __name__ == "__main__":
    ranks, *fields = sys.argv[1:]
    if (own := os.environ.get("RANK", "0")) in ranks.split(","):
        put_in(own)
    sys.exit(main(fields))
