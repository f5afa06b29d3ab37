"""What an undisturbed run left, which all that was killed and resumed is compared with, bit for bit."""

import json
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from semisonic.checkpoint import format as checkpoints
from semisonic.checkpoint import snapshots
from semisonic.data.sets.splits import load_split
from semisonic.reporting.metrics_file import results
from semisonic.reporting.trackers import discard_after
from semisonic.schema import UserError


class Lost(Exception):
    """A checkpoint or a figure that stood is gone."""


class Damaged(Exception):
    """Something is there and differs from the unkilled run, or cannot be read."""


def tensors(checkpoint: checkpoints.Checkpoint) -> dict[str, tuple[Any, ...]]:
    both = {f"model/{k}": v for k, v in checkpoint.model.items()}
    both |= {f"optimizer/{k}": v for k, v in checkpoint.optimizer.items()}
    return {name: (value.dtype, tuple(value.shape), value.numpy().tobytes()) for name, value in both.items()}


def about(checkpoint: checkpoints.Checkpoint) -> dict[str, Any]:
    return {key: value for key, value in checkpoint.state.items() if key != "elapsed"}


def metrics(folder: Path) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl without times and speeds."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [results(line) for line in lines]


TIMED = {"images_per_second", "data_wait", "wall_seconds", "peak_memory_bytes", "start_up"}
PLACES = {"folder", "data"}
"""What differs in summary.json: the folder's name, and that of its images."""


def result(folder: Path) -> dict[str, Any]:
    summary = json.loads((folder / "summary.json").read_text())
    return {key: value for key, value in summary.items() if key not in TIMED | PLACES}


def others(folder: Path) -> dict[str, Any]:
    """The files of a finished run beside checkpoints, metrics and summary: bytes, or what identifies the content; of
    snapshots their weights."""
    tables = [path for path in (folder / "labels").glob("*") if not path.name.startswith(".")]
    files: dict[str, object] = {path.name: path.read_bytes() for path in tables}
    files["confusion.png"] = below_title(folder / "confusion.png")
    files |= {f"snapshot {path.name}": (path / "model.safetensors").read_bytes() for path in snapshots.saved(folder)}
    return files | {"split.npz": load_split(folder / "split.npz").hash}


def below_title(path: Path) -> bytes:
    """The pixels of a run's confusion matrix, without the title, which names the run's folder."""
    with Image.open(path) as image:
        return image.convert("RGB").crop((0, image.height // 6, *image.size)).tobytes()


def finished(folder: Path) -> bool:
    status = folder / "status.json"
    return status.exists() and json.loads(status.read_text())["status"] == "finished"


def held_out(history: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The first of the best evaluations on the held-out images."""
    return max(history, key=lambda entry: entry["held_out/top1"], default=None)


@dataclass
class Reference:
    folder: Path
    checkpoints: dict[str, tuple[dict[str, tuple[Any, ...]], dict[str, Any]]]
    metrics: list[dict[str, Any]]
    result: dict[str, Any]
    others: dict[str, Any]

    @classmethod
    def read(cls, folder: Path) -> "Reference":
        loaded = {path.name: checkpoints.load_checkpoint(path) for path in checkpoints.saved(folder / "checkpoints")}
        pairs = {name: (tensors(found), about(found)) for name, found in loaded.items()}
        return cls(folder, pairs, metrics(folder), result(folder), others(folder))

    def compare(self, path: Path) -> dict[str, Any]:
        """The state of a checkpoint. Raises `Damaged` where it is not that of the undisturbed run."""
        try:
            found = checkpoints.load_checkpoint(path)
        except UserError as error:
            raise Damaged(str(error)) from error
        expected, described = self.checkpoints[path.name]
        held = tensors(found)
        if held != expected:
            names = sorted(n for n in held.keys() | expected.keys() if held.get(n) != expected.get(n))
            raise Damaged(f"{path}: {len(names)} tensors differ, such as {names[0]}")
        if about(found) != described:
            own = about(found)
            names = sorted(n for n in own.keys() | described.keys() if own.get(n) != described.get(n))
            raise Damaged(f"{path}: state.json differs in {', '.join(names)}")
        return found.state

    def verify(self, folder: Path, log: Path, floor: int = 0) -> tuple[int, int]:
        """Compares every checkpoint of a run. Returns the step of its latest, which must be at least `floor` and all
        that its log says was written, and how many there are."""
        said = re.findall(r"step (\d+)/\d+  checkpoint written", log.read_text()) if log.exists() else []
        floor, place = max([floor, *map(int, said)]), folder / "checkpoints"
        found = checkpoints.saved(place)
        for path in found:
            self.compare(path)
        try:
            latest = checkpoints.latest(place)
        except UserError as error:
            raise Damaged(str(error)) from error
        step = int(latest.name.removeprefix("step-")) if latest else 0
        if step < floor:
            raise Lost(f"{place}: the latest is step {step}, but step {floor} was written")
        if latest:
            best = held_out(checkpoints.load_checkpoint(latest).state["history"])
            if best and place / f"step-{best['step']}" not in found:
                raise Lost(f"{place}: the best, of step {best['step']}, is gone")
            if [line for line in self.metrics if line["step"] <= step] != metrics_until(folder, step):
                raise Lost(f"{folder}: metrics before the checkpoint of step {step} differ")
        return step, len(found)

    def verify_end(self, folder: Path) -> None:
        """Compares all of a run that has ended."""
        if result(folder) != self.result:
            raise Damaged(f"{folder}/summary.json differs")
        if metrics(folder) != self.metrics:
            raise Damaged(f"{folder}/metrics.jsonl differs")
        if others(folder) != self.others:
            raise Damaged(f"{folder}: a table, a picture or the split differs")
        if not finished(folder):
            raise Damaged(f"{folder}/status.json differs")
        places = (folder, folder / "checkpoints", folder / "labels", folder / snapshots.FOLDER)
        left = [path.name for place in places if place.exists() for path in place.iterdir() if ".tmp" in path.name]
        if left:
            raise Damaged(f"{folder} still holds {sorted(left)}")


def metrics_until(folder: Path, step: int) -> list[dict[str, Any]]:
    """The metrics that a resumed run would keep."""
    with tempfile.TemporaryDirectory() as copied:
        shutil.copy(folder / "metrics.jsonl", copied)
        discard_after(Path(copied) / "metrics.jsonl", step)
        return metrics(Path(copied))
