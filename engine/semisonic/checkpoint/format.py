"""What a checkpoint holds, and how it is written so that a kill at any moment leaves the last whole one.

A checkpoint is a folder `step-N`:
  model.safetensors      weights, EMA and every buffer of the algorithm, under their names in the algorithm
  optimizer.safetensors  all optimizer state, as role/parameter/state, and meter/sums: what the next training metrics
                         begin with
  state.json             step, history, split hash, scaler, world size, versions, and what `semisonic.load` needs
  config.yaml            the run's configuration
  manifest.json          size and checksum of each of these
It is written under a temporary name, synced and renamed; only then does the file `latest` name it, and only then are
old ones removed. Nothing is pickled. Only the process that writes a run's checkpoints may remove what a kill left.
"""

import errno
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from torch import Tensor

from semisonic.checkpoint.atomic_files import file_problem, replace, stage, sync_folder, write_file
from semisonic.checkpoint.tensor_files import write_tensors
from semisonic.faults import reach
from semisonic.records import entries, schemas
from semisonic.records.reading import read_text, shown
from semisonic.records.tensors import load_tensors
from semisonic.records.yaml_text import LIMIT
from semisonic.schema import UserError
from semisonic.text import dump_json

T = TypeVar("T")

FORMAT = 2
NETWORK, EMA = "network.", "ema."
"""What names of a run's network and of its average begin with."""
TRIES = 100
"""Checkpoints of a run at work that a reader tries: of each it has as long as the run takes to the next."""

LONGEST_NAME = 100
"""Bytes of the pointer `latest`."""
FILES = ("model.safetensors", "optimizer.safetensors", "config.yaml", "state.json")


@dataclass
class Checkpoint:
    model: dict[str, Tensor]
    optimizer: dict[str, Tensor]
    state: dict[str, Any]
    config: str


def save(folder: Path, step: int, checkpoint: Checkpoint, keep: int, best: int | None = None) -> Path:
    """Writes `folder/step-N` and removes all but the newest `keep` and that of step `best`. One process may call it.

    The tensors are on the CPU. Raises `OSError` where the file system refuses; what was there before is there still,
    and what was half written is not.
    """
    folder.mkdir(exist_ok=True)  # without its parents: the folder of a run is not made anew
    tidy(folder)
    final = folder / f"step-{step}"
    if not (final.exists() and latest(folder) == final):  # else this step is saved already
        _write(folder / f".tmp-step-{step}", final, checkpoint)
    whole = saved(folder)
    here = whole.index(final)
    # Later ones were written before a kill and never named: this run has gone back behind them.
    for old in whole[here + 1 :] + whole[: max(0, here + 1 - keep)]:
        if old.name != f"step-{best}":
            remove(old)
    return final


def tidy(folder: Path) -> None:
    """Removes what a kill left of a checkpoint that was being written or removed. Only a run's own writer may."""
    for stale in folder.glob(".tmp-*"):
        _delete(stale)


def _write(temporary: Path, final: Path, checkpoint: Checkpoint) -> None:
    folder = final.parent
    try:
        write_files(temporary, checkpoint)
        reach("checkpoint.sync")
        sync_folder(temporary)
        # All that needs space is written before anything changes its name.
        pointer = stage(folder / "latest", f"{final.name}\n".encode())
        if final.exists():
            remove(final)  # a kill kept `latest` from naming it: the run has gone back behind it
        reach("checkpoint.rename")
        os.rename(temporary, final)
        reach("checkpoint.named")
        sync_folder(folder)
        replace(pointer, folder / "latest")
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)  # frees its space; the error at hand is the one to report
        raise


def write_files(folder: Path, checkpoint: Checkpoint) -> None:
    """Makes a folder with the files of a checkpoint, each of them on the disk. Raises `OSError`."""
    folder.mkdir()
    state = dump_json({"format": FORMAT, **checkpoint.state}, indent=1)
    manifest = {
        "model.safetensors": write_tensors(folder / "model.safetensors", checkpoint.model),
        "optimizer.safetensors": write_tensors(folder / "optimizer.safetensors", checkpoint.optimizer),
        "config.yaml": write_file(folder / "config.yaml", [checkpoint.config.encode()]),
        "state.json": write_file(folder / "state.json", [state.encode()]),
    }
    write_file(folder / "manifest.json", [dump_json(manifest, indent=1).encode()])


def remove(path: Path) -> None:
    """Removes a checkpoint without ever leaving half of it under a valid name."""
    gone = path.with_name(f".tmp-old-{path.name}")
    reach("checkpoint.remove")
    os.rename(path, gone)
    reach("checkpoint.delete", (gone / "model.safetensors").unlink)
    _delete(gone)


def _delete(path: Path) -> None:
    try:
        shutil.rmtree(path)
    except OSError as error:
        # On NFS a file that another process still reads keeps its folder; the next write tries again.
        if error.errno not in (errno.ENOTEMPTY, errno.EBUSY):
            raise


def _is_checkpoint(path: Path) -> bool:
    return path.name.startswith("step-") and path.name.removeprefix("step-").isdigit()


def saved(folder: Path) -> list[Path]:
    """The checkpoints of a run, oldest first; all are whole unless something else damaged them."""
    found = [path for path in folder.glob("step-*") if _is_checkpoint(path)]
    return sorted(found, key=lambda path: int(path.name.removeprefix("step-")))


def latest(folder: Path) -> Path | None:
    """The newest whole checkpoint. A kill between the rename and the pointer's change leaves the pointer one behind.

    Raises `UserError` where the pointer is damaged or names what is not there: going back is the user's decision.
    """
    pointer, before = folder / "latest", None
    while True:
        named = pointer.exists()
        name = _pointed(pointer) if named else ""
        found = saved(folder)
        if not named:
            return found[-1] if found else None
        if (path := folder / name) in found:
            return path
        if name == before:
            said = f"names {name}, which is not there" if name.isprintable() and name else "is damaged"
            raise UserError(f"{pointer} {said}; {_way_back(folder)}")
        before = name  # a writer may have moved the pointer and removed the old one between the two looks


def _pointed(pointer: Path) -> str:
    """The name in the pointer `latest`; "" where it cannot be one."""
    try:
        return read_text(pointer, LONGEST_NAME).strip()
    except UserError:
        return ""


def _way_back(folder: Path, before: Path | None = None) -> str:
    """How to continue from the newest checkpoint of a run that is as it was written, other than `before`."""
    for path in reversed(saved(folder)):
        if path != before and not problem(path):
            return f"{path.name} is whole; to continue from it: echo {path.name} > {folder / 'latest'}"
    return "no other checkpoint there is whole; start anew in another folder"


def problem(path: Path) -> str | None:
    """What is wrong with a checkpoint's files, by the sizes and checksums that they were written with, or None."""
    try:
        manifest = schemas.manifest(path / "manifest.json", FILES)
    except UserError as error:
        return error.messages[0].removeprefix(f"{path}/")
    return next((text for name in FILES if (text := file_problem(path / name, manifest[name]))), None)


def load_checkpoint(path: Path) -> Checkpoint:
    """Reads a checkpoint folder, or the latest of a run's.

    Raises `UserError` where it is none, of another format, or not as it was written; it never takes an older one.
    """
    return read_latest(path, _load)


def read_latest(path: Path, read: Callable[[Path], T]) -> T:
    """What `read` makes of a checkpoint folder, or of the latest of a run's, which may be writing others meanwhile.

    Where the run has removed that one since, it reads the next. Raises what `read` raises of one that is still there.
    """
    for _ in range(TRIES):
        found = find(path)
        try:
            return read(found)
        except (OSError, UserError) as error:
            if found.exists():
                raise
            if found == path:
                raise UserError(f"{path} was removed while it was read; name the run for its latest") from error
    raise UserError(f"{path}: its run replaces checkpoints faster than they can be read; try again once it has ended")


def _load(path: Path) -> Checkpoint:
    try:
        read_state(path)  # of another format: its files have other names
        if not (damage := problem(path)):
            state = load_state(path)
            return Checkpoint(
                model=with_shared(load_tensors(path / "model.safetensors"), state.get("shared", ()), path),
                optimizer=load_tensors(path / "optimizer.safetensors"),
                state=state,
                config=read_text(path / "config.yaml", LIMIT),
            )
    except OtherFormat:
        raise
    except UserError:
        if not (damage := problem(path)):
            raise  # it is as it was written, and wrong: no other one need be right
    back = f"; {_way_back(path.parent, path)}" if _is_checkpoint(path) else ""
    raise UserError(f"{path}: not a readable checkpoint ({damage}){back}")


def without_shared(model: dict[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """A run's tensors without those of the network that are the EMA's own memory, and the names of these."""

    def memory(tensor: Tensor | None) -> object:
        return None if tensor is None or not tensor.numel() else (tensor.data_ptr(), tensor.shape, tensor.stride())

    pairs = {name: EMA + name.removeprefix(NETWORK) for name in model if name.startswith(NETWORK)}
    shared = [own for own, ema in pairs.items() if memory(model[own]) == memory(model.get(ema)) is not None]
    rest = {name: tensor for name, tensor in model.items() if name not in set(shared)}
    return rest, [name.removeprefix(NETWORK) for name in shared]


def with_shared(model: dict[str, Tensor], shared: Sequence[str], path: Path) -> dict[str, Tensor]:
    """The reverse. Raises `UserError` where one of these is not there."""
    if missing := [name for name in shared if EMA + name not in model]:
        raise UserError(f"{path}: state.json: shared: there is no tensor {shown(EMA + missing[0])}")
    return model | {NETWORK + name: model[EMA + name] for name in shared}


def load_state(path: Path) -> dict[str, Any]:
    """The state of a checkpoint's folder alone, its other files unread. Raises `UserError`."""
    return schemas.checked(entries.State, read_state(path), str(path / "state.json"))


class OtherFormat(UserError):
    """A checkpoint of another version's format."""


def read_state(path: Path) -> dict[str, Any]:
    """The state.json of a checkpoint's folder, which is of this format. Raises `UserError`."""
    state = schemas.state(path / "state.json")
    if (found := state.get("format")) != FORMAT:
        said = "has no format" if found is None else f"checkpoint format {shown(found)}"
        raise OtherFormat(f"{path}: {said}, this version reads {FORMAT}")
    return state


def find(path: Path) -> Path:
    """The checkpoint that a path means: itself, or the latest of a run's folder."""
    if (path / "state.json").exists() or (path.is_dir() and _is_checkpoint(path)):
        return path
    for folder in (path / "checkpoints", path):
        if folder.is_dir() and (found := latest(folder)):
            return found
    raise UserError(f"{path}: neither a checkpoint nor a run's folder with one")
