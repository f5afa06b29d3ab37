"""What an unkilled run left, which the torture test compares all other runs with."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from semisonic.checkpoint import format as checkpoints
from semisonic.reporting.metrics_file import results
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


def result(folder: Path) -> dict[str, Any]:
    summary = json.loads((folder / "summary.json").read_text())
    return {key: summary[key] for key in ("step", "test_top1", "test_top1_raw", "held_out_selected", "labels_used")}


def finished(folder: Path) -> bool:
    status = folder / "status.json"
    return status.exists() and json.loads(status.read_text())["status"] == "finished"


@dataclass
class Reference:
    folder: Path
    checkpoints: dict[str, tuple[dict[str, tuple[Any, ...]], dict[str, Any]]]
    metrics: list[dict[str, Any]]
    result: dict[str, Any]

    @classmethod
    def read(cls, folder: Path) -> "Reference":
        loaded = {path.name: checkpoints.load_checkpoint(path) for path in checkpoints.saved(folder / "checkpoints")}
        pairs = {name: (tensors(found), about(found)) for name, found in loaded.items()}
        return cls(folder, pairs, metrics(folder), result(folder))

    def compare(self, path: Path) -> dict[str, Any]:
        """The state of a checkpoint. Raises `Damaged` where it is not that of the unkilled run."""
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
            raise Damaged(f"{path}: state.json differs")
        return found.state
