"""Run by test_communication.py on two ranks: known messages, then steps of the engine; prints what was counted as JSON.

scaling_worker.py [compiled]
"""

import json
import os
import sys
import warnings

import torch
import torch.distributed as dist
from torch.distributed import _functional_collectives as collectives

from communication import Counter, count_step, observed, summary
from variants import Engine, Plan


def plain() -> list[tuple[str, int]]:
    """Messages whose sizes the test writes down."""
    ranks, group = dist.get_world_size(), dist.group.WORLD
    with Counter() as counter:
        dist.all_reduce(torch.ones(3))
        dist.all_reduce(torch.ones(7, dtype=torch.int64))
        dist.all_gather([torch.empty(5) for _ in range(ranks)], torch.ones(5))
        dist.all_gather_into_tensor(torch.empty(ranks * 5), torch.ones(5))
        dist.reduce_scatter_tensor(torch.empty(5), torch.ones(ranks * 5))
        dist.broadcast(torch.ones(2), 0)
        dist.barrier()
        collectives.all_reduce(torch.ones(6), "sum", group).sum()
        collectives.all_gather_tensor(torch.ones(4), 0, group).sum()
    return [(call.kind, call.bytes) for call in counter.calls]


def engine(compiled: str) -> Engine:
    fields = ("--model", "small", "--batch.labeled", "2", "--batch.unlabeled-ratio", "1", "--device", "cpu",
              "--threads", "1", "--compile", compiled, "--log.trackers", "none", "--no-baseline")  # fmt: skip
    return Engine(Plan(fields, 16, 10, 64, 0, with_data=False))


def gathered_state(built: Engine) -> dict[str, object]:
    """As if the algorithm had observed three numbers of each of a rank's two samples."""
    trainer = built.trainer
    with Counter() as counter, observed(trainer, counter):
        trainer.training_step.gather({"seen": torch.ones(2, 3)})
    return summary(counter.calls, trainer.rank.world_size, [])["algorithm state"]


def main() -> None:
    warnings.simplefilter("ignore")
    eager = engine("off")
    found = {
        "plain": plain(),
        "eager": count_step(eager.trainer, eager.batch),
        "state": gathered_state(eager),
    }
    if "compiled" in sys.argv:
        whole = engine("whole")
        found["compiled"] = count_step(whole.trainer, whole.batch)
    if os.environ["RANK"] == "0":
        print(json.dumps(found), flush=True)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
