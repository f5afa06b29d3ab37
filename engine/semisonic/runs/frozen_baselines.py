"""The baselines on frozen features of a run: made once, before its first step, and kept in its folder."""

import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from semisonic.checkpoint.atomic_files import write_text, writing
from semisonic.config.run_config import RunConfig
from semisonic.contract import Rank
from semisonic.data.loading.calls import Placement
from semisonic.data.sets.base import DataSet
from semisonic.data.sets.splits import Split
from semisonic.distributed.engine import Accelerator
from semisonic.distributed.heartbeat import Activity
from semisonic.frozen.features import Work
from semisonic.frozen.report import baselines
from semisonic.models.wrapped import NetworkFactory
from semisonic.records import schemas
from semisonic.schema import UserError
from semisonic.text import dump_json
from semisonic.training.build import begun
from semisonic.training.process import on_main

FILE = "frozen.json"
"""In a run's folder: what summary.json has as `frozen` when the run has ended."""


def on_frozen_features(
    cfg: RunConfig,
    data: DataSet,
    split: Split,
    accelerator: Accelerator,
    *,
    activity: Activity,
    stop: Callable[[], str | None],
    say: Callable[[str], None],
    network: NetworkFactory | None = None,
) -> dict[str, Any]:
    """What the weights of a run come to before it is trained; {} where it does not report that.

    All ranks must call it. Raises `Halted` on all of them where the run is to stop first.
    """
    if not cfg.baselines_on_features:
        return {}
    known: dict[str, Any] | None = on_main(accelerator, lambda: _known(cfg.run_folder, say))
    if known is not None:
        return known
    say("Baselines on frozen features, before the training begins")
    rank = Rank(accelerator.process_index, accelerator.num_processes)
    placement = Placement(accelerator.device, cfg.execution.threads)
    work = Work(rank, placement, cfg.eval.batch, activity, stop, say)
    found = baselines(cfg, data, split, accelerator, begun(cfg, data, split, network=network), work)

    def write() -> None:
        with writing(cfg.run_folder / FILE):
            write_text(cfg.run_folder / FILE, dump_json(found, indent=1) + "\n")

    on_main(accelerator, write)
    accelerator.free_memory()
    gc.collect()
    if accelerator.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    return found


def _known(folder: Path, say: Callable[[str], None]) -> dict[str, Any] | None:
    """What the run has found before; {} where it has ended without. None: nothing, or a damaged file, which is told."""
    if (folder / "summary.json").exists():
        return schemas.summary(folder / "summary.json").get("frozen") or {}
    if not (folder / FILE).exists():
        return None
    try:
        return schemas.frozen(folder / FILE)
    except UserError as error:
        say(f"{error}: the baselines on frozen features are made anew")
        return None
