"""What a run's files say of how its network came to be: read for people, all of it untrusted."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from semisonic.checkpoint import format as checkpoints
from semisonic.config.migrations import read_text
from semisonic.data.sets.splits import load_split
from semisonic.records import schemas
from semisonic.schema import UserError
from semisonic.training.intervals import accuracy_interval

EVALUATED = {"test": "test images", "held_out": "held-out images of the training set"}
"""Sets of images by their names in the metrics, the better measure first."""


@dataclass(frozen=True)
class Accuracy:
    """In percent."""

    top1: float
    interval: tuple[float, float] | None
    """Of 95 %; None where the number of images is not known."""
    images: int | None
    on: str


@dataclass(frozen=True)
class Facts:
    """Of a run and one of its checkpoints. Text is as the files have it."""

    data: str
    folder: str | None
    """The last part of the path of the images alone: what is above it is the owner's matter."""
    network: str
    method: str
    step: int
    labeled: int | None
    """None where the checkpoint lies apart from its run."""
    unlabeled: int | None
    accuracy: Accuracy | None
    began: dict[str, str]
    """Where the weights began: `name`, and what is known of `source`, `sha256` and `license`; {} for random ones."""


def facts_of(checkpoint: checkpoints.Checkpoint, path: Path, net: Literal["ema", "raw"]) -> Facts:
    """path: of the checkpoint's folder. Raises `UserError` for files of the run that are not what they should be."""
    state, run = checkpoint.state, path.parent.parent if path.parent.name == "checkpoints" else None
    fields = read_text(checkpoint.config, path / "config.yaml").fields
    data, model = (
        section if isinstance(section, dict) else {} for section in (fields.get("data"), fields.get("model"))
    )
    split = load_split(file) if run is not None and (file := run / "split.npz").exists() else None
    if split is not None and split.hash != state["split"]:
        raise UserError(f"{run}: split.npz is of another run than {path.name}")
    root = data.get("root")
    return Facts(
        data=str(data.get("name", "not known")),
        folder=Path(root).name if isinstance(root, str) else None,
        network=state["model"]["name"],
        method=state["algorithm"],
        step=state["step"],
        labeled=None if split is None else len(split.labeled),
        unlabeled=None if split is None else len(split.unlabeled),
        accuracy=_accuracy(state, run, net, None if split is None else len(split.held_out)),
        began=_beginning(state, fields, model),
    )


def _accuracy(state: dict[str, Any], run: Path | None, net: str, held_out: int | None) -> Accuracy | None:
    last = state["history"][-1] if state["history"] else {}
    if last.get("step") != state["step"]:
        return None
    counts = {"test": _test_images(state, run), "held_out": held_out}
    for which, images in counts.items():
        top1 = last.get(f"{which}/top1" if net == "ema" else f"{which}_raw/top1")
        if isinstance(top1, int | float) and 0 <= top1 <= 100:
            interval = accuracy_interval(round(top1 * images / 100), images) if images else None
            return Accuracy(float(top1), interval, images, EVALUATED[which])
    return None


def _test_images(state: dict[str, Any], run: Path | None) -> int | None:
    """Which a run writes down at its end."""
    if run is None or not (file := run / "summary.json").exists():
        return None
    count = schemas.summary(file).get("test_images")
    return count if isinstance(count, int) and not isinstance(count, bool) and count > 0 else None


def _beginning(state: dict[str, Any], fields: dict[str, Any], model: dict[str, Any]) -> dict[str, str]:
    """By what the run noted of its weights (`models.starting_weights`); files by the last part of their path alone."""
    told: dict[str, str] = state.get("weights") or {}
    found = {}
    if told:
        tag = told.get("tag", "")
        name = told.get("network", "not named")
        found["name"] = f"{name}.{tag}" if tag and "." not in name else name
        source = told.get("source", "not named")
        found["source"] = source if source.startswith("timm's hub") else f"the file {Path(source).name}"
        found |= {key: told[key] for key in ("sha256", "license") if key in told}
    elif isinstance(file := model.get("weights"), str):  # an earlier version's run
        found = {"name": f"the file {Path(file).name}"}
    if isinstance(init := fields.get("init"), str):
        own = f"{found['name']}, through " if "name" in found else ""
        found = {**found, "name": f"{own}another run's, {Path(init).name}"}
    return found
