"""Restarts by a launcher (`torchrun --max-restarts`): the same command line continues the run that it has begun.

torchrun's agents keep a key-value store as long as the job lives. A run is recorded there before its folder is made, so
that a worker that is started again tells its own run, which it continues, from one that was there before, which it
must not touch.
"""

from datetime import timedelta
from pathlib import Path

from semisonic.distributed.consistency import Diverged
from semisonic.distributed.rendezvous import job_store
from semisonic.records import schemas
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


def recorded(folder: Path) -> bool:
    """Whether this job has recorded a folder before, so that a worker goes on there without --resume."""
    store = job_store(WAIT)
    return store is not None and bool(store.check([_key(folder)]))


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
    status = schemas.status(path) if path.exists() else {}
    if status.get("status") == "failed" and (code := status.get("exit_code")) in REFUSED:
        reason = status.get("reason") or ""
        raise REFUSED[code](reason.partition(": ")[2].splitlines() or [f"{folder}: the run has failed before"])
    return True
