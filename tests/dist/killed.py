"""Run by the tests in place of launch/train.py: trains, and the ranks named kill themselves in a step after a checkpoint.

    killed.py RANK[,RANK] FIELDS

A rank does so in step 30 (not the baseline's), after the backward and before the optimiser, once the first checkpoint
stands. It makes OUT.RANK.killed first, and does nothing where that is there.
"""

import os
import signal
import sys
import time
from pathlib import Path

from semisonic.cli import main
from semisonic.trainer import Trainer

STEP = 30


def put_in(rank: str) -> None:
    optimizer_step = Trainer.optimizer_step

    def deadly(self: Trainer, role: str) -> None:
        killed = Path(f"{self.folder}.{rank}.killed")
        if self.step + 1 == STEP and self.cfg.algorithm.name != "supervised" and not killed.exists():
            while not (self.folder / "checkpoints" / "latest").exists():
                time.sleep(0.01)
            killed.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        optimizer_step(self, role)

    Trainer.optimizer_step = deadly  # type: ignore[method-assign]


if __name__ == "__main__":
    ranks, *fields = sys.argv[1:]
    if (own := os.environ.get("RANK", "0")) in ranks.split(","):
        put_in(own)
    sys.exit(main(fields))
