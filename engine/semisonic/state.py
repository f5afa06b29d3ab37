"""What a checkpoint holds, and how it is written so that a kill at any moment leaves the last whole one.

A checkpoint is a folder `step-N`:
  model.safetensors      weights, EMA and every buffer of the algorithm, under their names in the algorithm
  optimizer.safetensors  all optimiser state, as role/parameter/state
  state.json             step, history, split hash, scaler, world size, versions, and what `semisonic.load` needs
  config.yaml            the run's configuration
It is written under a temporary name, synced and renamed; only then does the file `latest` name it. Nothing is pickled.
"""

import json
import os
import shutil
import signal
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from semisonic.schema import UserError

FORMAT = 1


@dataclass
class Checkpoint:
    model: dict[str, Tensor]
    optimizer: dict[str, Tensor]
    state: dict[str, Any]
    config: str


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_text(path: Path, text: str) -> None:
    """Writes a small file atomically: a reader sees the old content or the new."""
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(text)
    _sync(temporary)
    os.replace(temporary, path)
    _sync(path.parent)


def _plain(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Contiguous copies on the CPU: safetensors takes neither views that share memory nor channels_last strides."""
    return {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}


def save(folder: Path, step: int, checkpoint: Checkpoint, keep: int, best: int | None = None) -> Path:
    """Writes `folder/step-N` and removes all but the newest `keep` and that of step `best`. One process may call it."""
    folder.mkdir(parents=True, exist_ok=True)
    for stale in folder.glob(".tmp-*"):  # left by a kill during an earlier write
        shutil.rmtree(stale)
    temporary, final = folder / f".tmp-step-{step}", folder / f"step-{step}"
    temporary.mkdir()
    save_file(_plain(checkpoint.model), temporary / "model.safetensors")
    save_file(_plain(checkpoint.optimizer), temporary / "optimizer.safetensors")
    (temporary / "config.yaml").write_text(checkpoint.config)
    (temporary / "state.json").write_text(json.dumps({"format": FORMAT, **checkpoint.state}, indent=1))
    for file in temporary.iterdir():
        _sync(file)
    _sync(temporary)
    if final.exists() and latest(folder) == final:
        shutil.rmtree(temporary)  # this step is saved already
    else:
        if final.exists():
            _remove(final)  # a kill kept `latest` from naming it: the run has gone back behind it
        os.rename(temporary, final)
        _sync(folder)
        write_text(folder / "latest", final.name + "\n")
    whole = saved(folder)
    here = whole.index(final)
    # Later ones were written before a kill and never named: this run has gone back behind them.
    for old in whole[here + 1 :] + whole[: max(0, here + 1 - keep)]:
        if old.name != f"step-{best}":
            _remove(old)
    return final


def _remove(path: Path) -> None:
    """Removes a checkpoint without ever leaving half of it under a valid name."""
    gone = path.with_name(f".tmp-old-{path.name}")
    os.rename(path, gone)
    shutil.rmtree(gone)


def saved(folder: Path) -> list[Path]:
    """The whole checkpoints of a run, oldest first."""
    found = [path for path in folder.glob("step-*") if path.name.removeprefix("step-").isdigit()]
    return sorted(found, key=lambda path: int(path.name.removeprefix("step-")))


def latest(folder: Path) -> Path | None:
    """The newest whole checkpoint. A kill between the rename and the pointer's change leaves the pointer one behind."""
    pointer = folder / "latest"
    if not pointer.exists():
        whole = saved(folder)
        return whole[-1] if whole else None
    path = folder / pointer.read_text().strip()
    if not path.is_dir():
        raise UserError(f"{pointer} names {path.name}, which is not there; found {[p.name for p in saved(folder)]}")
    return path


def load(path: Path) -> Checkpoint:
    """Reads a checkpoint folder. Raises `UserError` where it is none, or of another format."""
    path = find(path)
    try:
        state = json.loads((path / "state.json").read_text())
        if state["format"] != FORMAT:
            raise UserError(f"{path}: checkpoint format {state['format']}, this version reads {FORMAT}")
        return Checkpoint(
            model=load_file(path / "model.safetensors"),
            optimizer=load_file(path / "optimizer.safetensors"),
            state=state,
            config=(path / "config.yaml").read_text(),
        )
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise UserError(f"{path}: not a readable checkpoint ({error})") from error


def find(path: Path) -> Path:
    """The checkpoint that a path means: itself, or the latest of a run's folder."""
    if (path / "state.json").exists():
        return path
    for folder in (path / "checkpoints", path):
        if folder.is_dir() and (found := latest(folder)):
            return found
    raise UserError(f"{path}: neither a checkpoint nor a run's folder with one")


class Preemption:
    """Turns SIGTERM, SIGUSR1 and a first Ctrl-C into a flag that the training loop reads between steps."""

    SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)

    def __init__(self) -> None:
        self.received: str | None = None
        self._before: dict[int, Any] = {}

    def _set(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and self.received:
            raise KeyboardInterrupt
        self.received = signal.Signals(number).name

    def __enter__(self) -> "Preemption":
        self._before = {number: signal.signal(number, self._set) for number in self.SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
