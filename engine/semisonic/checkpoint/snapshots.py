"""Snapshots of a run: the averaged network at some steps of its second half, for what the run as a whole thinks.

A snapshot is a folder RUN/snapshots/step-N of the files of a checkpoint, with the EMA weights and the head that goes
with them alone: it is used as a checkpoint is, and no run resumes from it. Those up to a checkpoint are on the disk
before it is, and a run that resumes from it writes the later ones anew.
"""

import os
import shutil
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from semisonic.checkpoint import format as checkpoints
from semisonic.checkpoint.atomic_files import sync_folder
from semisonic.faults import reach

FOLDER = "snapshots"


def due(steps: int, count: int) -> tuple[int, ...]:
    """The steps of a run's snapshots: evenly over its second half, the last step among them."""
    return tuple(sorted({steps - number * steps // (2 * count) for number in range(count)})) if count else ()


def averaged(model: Mapping[str, Tensor], head: Mapping[str, Any] | None) -> dict[str, Tensor]:
    """Those of a checkpoint's tensors that make the averaged network; head: its state's `head`."""
    beginnings = ("ema.", f"{head['ema']}.") if head else ("ema.",)
    return {name: value for name, value in model.items() if name.startswith(beginnings)}


def alone(state: Mapping[str, Any]) -> dict[str, Any]:
    """The state.json of a checkpoint of weights alone, from which no run goes on."""
    own = {name: value for name, value in state.items() if name != "shared"}
    return {**own, "history": [], "scaler": {}, "meter": {}}


def write(folder: Path, step: int, snapshot: checkpoints.Checkpoint) -> None:
    """Writes `folder/step-N`. Raises `OSError`, and what was half written is gone then. One process may call it."""
    folder.mkdir(exist_ok=True)  # without its parents: the folder of a run is not made anew
    temporary, final = folder / f".tmp-step-{step}", folder / f"step-{step}"
    checkpoints.tidy(folder)
    try:
        checkpoints.write_files(temporary, snapshot)
        reach("snapshot.sync")
        sync_folder(temporary)
        if final.exists():
            checkpoints.remove(final)
        reach("snapshot.rename")
        os.rename(temporary, final)
        reach("snapshot.named")
        sync_folder(folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)  # frees its space; the error at hand is the one to report
        raise


def saved(run: Path) -> list[Path]:
    """The snapshots of the run in a folder, oldest first."""
    return checkpoints.saved(run / FOLDER)


def go_back(run: Path, step: int, wanted: Collection[int]) -> None:
    """Removes the snapshots that a run which goes on from `step` writes anew, those that are not wanted any more, and
    what a kill has left."""
    checkpoints.tidy(run / FOLDER)
    for path in saved(run):
        number = int(path.name.removeprefix("step-"))
        if number > step or number not in wanted:
            checkpoints.remove(path)
