"""Restarts by a launcher (`torchrun --max-restarts`): the same command line continues the run that it has begun.

torchrun's agents keep a key-value store as long as the job lives. A run is recorded there before its folder is made, so
that a worker that is started again tells its own run, which it continues, from one that was there before, which it
must not touch.
"""

import json
from datetime import timedelta
from pathlib import Path

from semisonic.distributed.consistency import Diverged
from semisonic.distributed.rendezvous import job_store
from semisonic.schema import ExitCode, UserError

REFUSED = {ExitCode.USER: UserError, ExitCode.DIVERGED: Diverged}
"""Exit codes of a run that would fail again in the same way, and what a worker that is started again raises."""

WAIT = timedelta(minutes=1)
BEGUN = "begun"


def _key(folder: Path) -> str:
    return f"semisonic/run/{folder.absolute()}"


def record_run(folder: Path) -> None:
    """Records that this job trains the run in `folder`. One process calls it, before it makes or continues the run."""
    store = job_store(WAIT)
    if store is not None:
        store.set(_key(folder), BEGUN)


def record_loss(folder: Path, problem: str) -> None:
    """Records that the folder of this job's run is not its own any more, so that no worker makes another."""
    store = job_store(WAIT)
    if store is not None:
        store.set(_key(folder), problem)


def was_begun(folder: Path) -> bool:
    """Whether this job has begun the run in `folder` before, so that it goes on without --resume.

    Raises what the run has failed with where it would fail again.
    """
    store = job_store(WAIT)
    if store is None or not store.check([_key(folder)]):
        return False
    if (recorded := store.get(_key(folder)).decode()) != BEGUN:
        raise UserError(recorded)
    if not (folder / "config.yaml").is_file():
        return False
    path = folder / "status.json"
    status = json.loads(path.read_text()) if path.exists() else {"status": "unknown"}
    if status["status"] == "failed" and status["exit_code"] in REFUSED:
        raise REFUSED[status["exit_code"]](status["reason"].partition(": ")[2].splitlines())
    return True
