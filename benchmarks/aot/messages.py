"""What one rank of 8, 64 or 512 says in a step, counted without the other ranks.

The process group is torch's fake one, which has a size and sends nothing. DDP's buckets go through a hook that reduces
them by an ordinary call, so that they are counted as all else is (`communication.Counter`). A step is eager: what is
compiled, or runs on a GPU, says the same. Images are small, since messages do not depend on their size.
"""

import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest import mock

import torch
import torch.distributed as dist

from aot import Row, larger

ABOUT = "messages and bytes of one rank's step by purpose, at 8, 64 and 512 ranks"
VERSIONS = ()
SECONDS = 900.0
RANKS = (8, 64, 512)
LABELED, RATIO = 64, 7
"""Labeled images of a step over all ranks, or one a rank where there are more ranks; unlabeled ones for each."""
STEPS = 2
"""Before the one that is counted: DDP rebuilds its buckets after the first."""


@dataclass(frozen=True)
class Method:
    algorithm: str
    model: str
    fields: tuple[str, ...] = ()


METHODS = {
    "fixmatch wrn-28-2 joint": Method("fixmatch", "wrn-28-2", ("--algorithm.weak-pass", "joint")),
    "fixmatch wrn-28-2 separate": Method("fixmatch", "wrn-28-2", ("--algorithm.weak-pass", "separate")),
    "fixmatch resnet50": Method("fixmatch", "resnet50", ("--algorithm.weak-pass", "joint")),
    "mpl wrn-28-2": Method("mpl", "wrn-28-2"),
    "comatch wrn-28-2": Method("comatch", "wrn-28-2"),
    "fixmatch small": Method("fixmatch", "small"),
}
CASES = tuple(f"{method}, {ranks} ranks" for method in METHODS for ranks in RANKS)


@contextmanager
def one_rank_of(ranks: int) -> Iterator[None]:
    """Inside, this process is rank 0 of so many, of which there are no others."""
    from torch.testing._internal.distributed.fake_pg import FakeStore

    launcher = {
        "RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": str(ranks), "LOCAL_WORLD_SIZE": "8",
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29999",
    }  # fmt: skip
    with mock.patch.dict(os.environ, launcher):
        dist.init_process_group("fake", store=FakeStore(), rank=0, world_size=ranks)
        try:
            with mock.patch.object(dist, "new_group", lambda *_, **__: dist.group.WORLD):
                yield
        finally:
            dist.destroy_process_group()


def reduce_bucket(state: object, bucket: dist.GradBucket) -> torch.futures.Future[torch.Tensor]:
    """A communication hook of DDP's: an all-reduce of the bucket that the dispatcher, and so a counter, sees."""
    buffer = bucket.buffer()
    dist.all_reduce(buffer)
    done: torch.futures.Future[torch.Tensor] = torch.futures.Future()
    done.set_result(buffer)
    return done


def count(method: Method, ranks: int) -> Row:
    """Purpose -> messages and bytes of one step of one rank."""
    from communication import count_step
    from semisonic.config.command_line import resolve
    from semisonic.data.loading.synthetic import synthetic_batch
    from semisonic.training.build import build_trainer
    from semisonic.training.process import started

    labeled = max(LABELED, ranks)
    with tempfile.TemporaryDirectory() as folder, one_rank_of(ranks):
        cfg = resolve([
            "--no-baseline", "--device", "cpu", "--threads", "1", "--log.trackers", "none", "--precision", "fp32",
            "--algorithm", method.algorithm, "--model", method.model, "--batch.labeled", str(labeled),
            "--batch.unlabeled-ratio", str(RATIO), "--out", folder, *method.fields,
        ])[1]  # fmt: skip
        with started(cfg) as accelerator:
            trainer = build_trainer(cfg, accelerator=accelerator)
            for engine in trainer.training_step.engines.values():
                engine.wrapped.register_comm_hook(None, reduce_bucket)
            share = labeled // ranks
            batch = synthetic_batch(
                trainer.data, trainer.split, cfg.views, cfg.loading, share, RATIO * share, trainer.device
            )
            for _ in range(STEPS):
                trainer.training_step(batch)
            counted = count_step(trainer, batch)
    return {
        purpose: {"messages": found["calls"], "bytes": found["bytes"]} for purpose, found in counted["step"].items()
    }


def rows(names: Sequence[str]) -> dict[str, Row]:
    torch.set_num_threads(1)
    found = {}
    for name in names:
        method, _, ranks = name.removesuffix(" ranks").rpartition(", ")
        found[name] = count(METHODS[method], int(ranks))
    return found


def broken(name: str, row: Mapping[str, Any]) -> list[str]:
    """Gradients are reduced. What is "other" are means over the ranks that a method's loss takes."""
    return [] if "gradients" in row else [f"{name}: no gradient is reduced"]


def grown(name: str, row: Mapping[str, Any], stored: Mapping[str, Any]) -> list[str]:
    new = [f"{name}: {purpose}: {row[purpose]['messages']} messages are new" for purpose in row.keys() - stored.keys()]
    return larger(name, row, stored) + sorted(new)
