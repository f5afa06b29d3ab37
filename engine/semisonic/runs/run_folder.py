"""A run's folder: who may write into it, what identifies the run, and its status for job scripts."""

import os
from pathlib import Path
from typing import Any, TypeVar

from semisonic.checkpoint.atomic_files import write_text, writing
from semisonic.checkpoint.folder_lock import LOCK
from semisonic.config.checks import find_problems
from semisonic.config.migrations import field_value, read_saved
from semisonic.config.run_config import RunConfig
from semisonic.data.sets.base import DataSet, ExpectedConfig
from semisonic.data.sets.fingerprint import TABLE
from semisonic.data.sets.splits import Split, load_split, save_split
from semisonic.records import schemas
from semisonic.runs.continuing import check_same, contents, steps_done
from semisonic.runs.known_data import keep_table
from semisonic.schema import Config, UserError
from semisonic.text import dump_json

C = TypeVar("C", bound=Config)

UNFINISHED = {
    "split.npz",
    ".split.npz.tmp",
    TABLE,
    f".{TABLE}.tmp",
    "status.json",
    ".status.json.tmp",
    ".config.yaml.tmp",
}
"""What a kill can leave before the folder is a run's."""


def check_resumable(cfg: RunConfig, resume: bool, extend: bool = False) -> bool:
    """Whether the folder holds the run that `cfg` describes. Touches nothing.

    extend: its rest may be planned anew for another number of steps. Raises `UserError` for a folder in use without
    --resume, --resume without a run or with another configuration, and a place that cannot be written.
    """
    folder = cfg.run_folder
    if resume:
        if not (folder / "config.yaml").is_file():
            raise UserError(f"--resume: there is no run in {folder}; name its folder with --out")
        check_same(cfg, folder, longer=True, extend=extend)
        if cfg.baseline and cfg.steps < (done := steps_done(cfg.supervised_baseline().run_folder)):
            raise UserError(f"steps: {cfg.steps}, but the baseline of {folder} has done {done}; give at least as many")
        return True
    if folder.exists() and (not folder.is_dir() or any(map(_in_use, folder.iterdir()))):
        raise UserError(
            f"out: {folder} is not empty; continue its run with --resume, or choose another folder with --out"
        )
    parent = next(path for path in (folder, *folder.absolute().parents) if os.path.lexists(path))
    if parent.is_symlink() and not parent.is_dir():
        target = os.readlink(parent)
        raise UserError(
            f"out: {parent} is a link to {target}, where no folder is; make that, or choose another folder with --out"
        )
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        raise UserError(f"out: cannot write into {parent}; choose another folder with --out")
    return False


def _in_use(path: Path) -> bool:
    """Whether an entry of a folder speaks against a new run in it."""
    return path.name not in UNFINISHED and path.name != LOCK and not path.name.startswith(f"{LOCK}-")


def saved_micro(folder: Path) -> int | None:
    """The number of micro-batches of the run in a folder; None where there is no run."""
    file = folder / "config.yaml"
    return read_saved(folder).fields["batch"].get("micro", 1) if file.is_file() else None


def as_begun(cfg: RunConfig) -> RunConfig:
    """`cfg` as the version meant it that began the run in its folder: fields that this version did not have are what it
    did, where `cfg` has today's default; its augmentations, where their names mean another thing now; and with what the
    run has settled: its classes, where `cfg` lists none, what its weights expected, and its precision. So the command
    that a run was started with continues it, on other hardware too."""
    if not (cfg.run_folder / "config.yaml").is_file():
        return cfg
    given, saved = cfg.model_dump(mode="json"), read_saved(cfg.run_folder)
    for name, (then, now) in (*saved.unlike_today.items(), *saved.respelled.items()):
        if field_value(given, name) == now:
            cfg = _with_field(cfg, name, then)
    if cfg.precision == "auto" and (precision := field_value(saved.fields, "precision")):
        cfg = _with_field(cfg, "precision", precision)
    if not cfg.data.classes and (classes := field_value(saved.fields, "data.classes")):
        cfg = _with_field(cfg, "data.classes", tuple(classes))
    if cfg.data.expected.source is None and (expected := field_value(saved.fields, "data.expected")):
        cfg = _with_field(cfg, "data.expected", ExpectedConfig.model_validate(expected))
    return cfg


def continued(cfg: RunConfig) -> RunConfig:
    """`as_begun`, with the micro-batches of the run in its folder, where that was cut into more of them than `cfg` has.

    So the command that it was started with continues it, too. Raises `UserError` where these do not fit the ranks.
    """
    micro, cfg = saved_micro(cfg.run_folder), as_begun(cfg)
    if micro is None or micro <= cfg.batch.micro or not cfg.batch.fit:
        return cfg
    cfg = _with_field(cfg, "batch.micro", micro)
    if problems := find_problems(cfg):
        raise UserError(problems)
    return cfg


def _with_field(cfg: C, name: str, value: Any) -> C:
    """A copy with another value of a dotted field."""
    head, _, rest = name.partition(".")
    return cfg.model_copy(update={head: _with_field(getattr(cfg, head), rest, value) if rest else value})


def check_split(cfg: RunConfig, split: Split) -> None:
    """Refuses to continue a run with another split than its own."""
    written = cfg.run_folder / "split.npz"
    if written.exists() and load_split(written).hash != split.hash:
        raise UserError(f"data: the images or labels are not those that {written} was drawn from")


def create(cfg: RunConfig, split: Split, data: DataSet) -> None:
    """Makes the folder with what identifies the run, unless it has it. Only one process may call it.

    config.yaml comes last: with it, the folder is a run's, and complete.
    """
    if (cfg.run_folder / "config.yaml").exists():
        return
    try:
        cfg.run_folder.mkdir(parents=True, exist_ok=True)
        save_split(split, cfg.run_folder / "split.npz", data.fingerprint)
        keep_table(cfg.run_folder, data)
        write_status(cfg.run_folder, "running", 0, cfg.steps)
        records = contents(cfg) | {"data": dict(data.fingerprint)}
        write_text(cfg.run_folder / "config.yaml", cfg.dump({"content": records}))
    except OSError as error:
        raise UserError(f"out: {cfg.run_folder} cannot be written: {error.strerror}") from error


def write_status(
    folder: Path, status: str, step: int, steps: int, reason: str | None = None, code: int | None = None
) -> None:
    """status.json: what a job script reads to decide whether to start the run again."""
    content = {"status": status, "step": step, "steps": steps, "reason": reason, "exit_code": code, "pid": os.getpid()}
    with writing(folder / "status.json"):
        write_text(folder / "status.json", dump_json(content) + "\n")


def read_status(folder: Path) -> dict[str, Any]:
    """What a run's status.json says; {} where there is none. Raises `UserError` where it is damaged."""
    path = folder / "status.json"
    return schemas.status(path) if os.path.lexists(path) else {}


def status_replaced(folder: Path) -> tuple[dict[str, Any], list[str]]:
    """What the status.json says that is to be written anew, and what to tell where it is damaged, which ends nothing:
    where a run stands, its checkpoints say."""
    try:
        return read_status(folder), []
    except UserError as error:
        return {}, [f"{line}; it is written anew" for line in error.messages]
