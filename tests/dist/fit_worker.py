"""Run by a test in several processes: what happens where a step does not fit on the last rank.

fit_worker.py FOLDER possible|impossible
"""

import sys
from pathlib import Path

import torch

from semisonic.config.command_line import Invocation, resolve
from semisonic.config.run_config import RunConfig
from semisonic.runs.memory_fit import Trial
from semisonic.runs.plan import plan
from semisonic.runs.run import execute

FIELDS = ["--device", "cpu", "--threads", "1", "--batch.labeled", "16", "--batch.unlabeled-ratio", "2", "--steps", "5",
          "--checkpoint.every", "5", "--eval.every", "5", "--log.every", "5", "--log.trackers", "none", "--no-baseline",
          "--algorithm.threshold", "0.12"]  # fmt: skip


class Limited(Trial):
    """On the last rank memory ends in the middle of a step, with its activations alive; on the others it does not."""

    labeled = 2
    """Images of a micro-batch that fit."""

    def step(self, cfg: RunConfig, compiled: bool) -> None:
        build = self.build

        def limited(cfg: RunConfig) -> torch.nn.Module:
            algorithm = build(cfg)
            algorithm.network.head.register_forward_pre_hook(check)
            return algorithm

        def check(module: torch.nn.Module, inputs: tuple[torch.Tensor]) -> None:
            images = cfg.batch.labeled // (self.world_size * cfg.batch.micro)
            if self.rank == self.world_size - 1 and images > self.labeled:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

        self.build = limited
        try:
            super().step(cfg, compiled)
        finally:
            self.build = build


class Nothing(Limited):
    labeled = 0


def main() -> None:
    folder = Path(sys.argv[1])

    def asked(name: str, *fields: str) -> Invocation:
        return Invocation(resolve([*FIELDS, "--out", str(folder / name), *fields])[1])

    if sys.argv[2] == "impossible":
        execute(asked("impossible"), Nothing)
        return
    leave, torch.distributed.destroy_process_group = torch.distributed.destroy_process_group, lambda *_: None
    plan(asked("planned"))
    execute(asked("cut"), Limited)
    execute(asked("given", "--batch.micro", "4"))
    leave()


if __name__ == "__main__":
    main()
