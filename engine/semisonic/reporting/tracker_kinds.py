"""What each of Accelerate's trackers needs beside figures: a place for its files, one run after a restart, pictures.

Accelerate begins a tracker and sends it scalars. Four are tried by the tests, offline, on runs that stop and go on:
TensorBoard, Weights & Biases, MLflow and trackio. Any other one gets the scalars and the configuration.
A run's own files of trackers lie in RUN/trackers; what a user has set in a tracker's environment variables stays.
"""

import json
import os
import secrets
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from semisonic.checkpoint.atomic_files import write_text
from semisonic.schema import UserError
from semisonic.text import dump_json

PROJECT = "semisonic"
KNOWN = "known.json"
"""In RUN/trackers: what each tracker calls the run, and in which folder the run was then, as `TRACKER folder`."""


@dataclass(frozen=True)
class Place:
    """A run, as its trackers are told of it."""

    run: Path
    """Its folder."""
    step: int
    """Finished steps: after these it goes on."""
    config: Mapping[str, Any]
    """Dotted fields and their values."""

    @property
    def folder(self) -> Path:
        """Where its trackers keep files."""
        return self.run / "trackers"

    @property
    def name(self) -> str:
        """What people know it by: the name of its folder; for a baseline after that of the run that it belongs to."""
        run = self.run.resolve()
        return f"{run.parent.name}-{run.name}" if (run.parent / "config.yaml").exists() else run.name

    def known(self, tracker: str, own_store: bool = False) -> str | None:
        """What a tracker called the run when it began, or None.

        In a store that is not the run's own, a copy of a folder is not called as the original: what the copy has to
        say would come into the history of that.
        """
        return self._names().get(tracker) if own_store or self.original(tracker) is None else None

    def original(self, tracker: str) -> Path | None:
        """The folder that this one is a copy of: it is there still, and the tracker knows its run by the same name.

        None for a folder that is no copy or was moved, and where that is not known.
        """
        content = self._names()
        before = Path(content.get(f"{tracker} folder", self.run))
        if not os.path.isfile(before / "trackers" / KNOWN) or before.samefile(self.run):
            return None
        return before if Place(before, 0, {})._names().get(tracker) == content.get(tracker) else None

    def remember(self, tracker: str, name: str) -> None:
        """Keeps what a tracker calls the run, for the next start."""
        content = self._names()
        new = content | {tracker: name, f"{tracker} folder": str(self.run.resolve())}
        if new != content:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_text(self.folder / KNOWN, dump_json(new, indent=1) + "\n")

    def _names(self) -> dict[str, str]:
        """By tracker. Raises `UserError` for a file that is damaged."""
        path = self.folder / KNOWN
        if not path.exists():
            return {}
        try:
            content = json.loads(path.read_text())
        except ValueError:
            content = None
        if not isinstance(content, dict) or not all(isinstance(name, str) for name in content.values()):
            raise UserError(f"{path}: damaged; without the file each tracker begins another run")
        return content


class TrackerKind:
    """A tracker of which nothing more is known than what Accelerate says of all."""

    stores_configuration = True
    """Whether Accelerate hands the configuration over as it begins the tracker."""

    def options(self, place: Place) -> dict[str, Any]:
        """Keyword arguments with which Accelerate makes the tracker."""
        return {}

    def begun(self, tracker: Any, place: Place) -> None:
        """Called once the tracker has begun."""

    def picture(self, tracker: Any, name: str, path: Path, step: int) -> None:
        """Hands a PNG over, to be shown under a name, such as test/confusion."""


class TensorBoard(TrackerKind):
    """One event file a start. Of a start that goes on, what came after its first step does not count any more."""

    stores_configuration = False  # as Accelerate does it, each start has two more files, in folders of their own

    def options(self, place: Place) -> dict[str, Any]:
        return {"purge_step": place.step + 1}

    def begun(self, tracker: Any, place: Place) -> None:
        text = yaml.safe_dump(dict(place.config), sort_keys=False)
        tracker.writer.add_text("configuration", "".join(f"    {line}\n" for line in text.splitlines()), place.step)

    def picture(self, tracker: Any, name: str, path: Path, step: int) -> None:
        tracker.writer.add_image(name, pixels(path), step, dataformats="HWC")
        tracker.writer.flush()


class WandB(TrackerKind):
    def options(self, place: Place) -> dict[str, Any]:
        name = place.known("wandb") or secrets.token_hex(8)
        place.remember("wandb", name)
        place.folder.mkdir(parents=True, exist_ok=True)  # where it is missing, the tracker takes the temporary folder
        return {"id": name, "name": place.name, "resume": "allow", "dir": str(place.folder)}

    def picture(self, tracker: Any, name: str, path: Path, step: int) -> None:
        from PIL import Image

        with Image.open(path) as image:
            tracker.log_images({name: [image.convert("RGB")]}, step=step)


class MLflow(TrackerKind):
    """In the store that MLFLOW_TRACKING_URI names, or else in one of the run's own."""

    stores_configuration = False  # what a resumed run has otherwise, such as more steps, MLflow refuses to be told so

    def options(self, place: Place) -> dict[str, Any]:
        import mlflow

        options: dict[str, Any] = {"run_name": place.name, "run_id": None}
        own_store = not os.environ.get("MLFLOW_TRACKING_URI")
        if own_store:
            place.folder.mkdir(parents=True, exist_ok=True)
            bring_along(place.folder)
            mlflow.set_tracking_uri(f"sqlite:///{(place.folder / 'mlflow.db').resolve()}")
            # MLflow sets it as well, and the process's next run would take it for the user's.
            os.environ.pop("MLFLOW_TRACKING_URI", None)
            options["logging_dir"] = (place.folder / "mlflow").resolve().as_uri()
        name = place.known("mlflow", own_store)
        if name and mlflow.MlflowClient().search_runs(_experiments(), f"attributes.run_id = '{name}'"):
            options["run_id"] = name  # else it is in another store, or was deleted there: the run begins anew
        return options

    def begun(self, tracker: Any, place: Place) -> None:
        import mlflow

        name = tracker.tracker.info.run_id
        place.remember("mlflow", name)
        before = mlflow.MlflowClient().get_run(name).data.params
        tracker.store_init_configuration({field: value for field, value in place.config.items() if field not in before})
        # A parameter stays what it was. What this start has in place of it is a tag.
        changed = {
            field: str(value) for field, value in place.config.items() if str(value) != before.get(field, str(value))
        }
        mlflow.set_tags({f"resumed.{field}": value for field, value in changed.items()})

    def picture(self, tracker: Any, name: str, path: Path, step: int) -> None:
        tracker.log_artifact(str(path), f"pictures/{name}/step-{step}")


def bring_along(folder: Path) -> None:
    """Tells a store of MLflow in a run's folder where pictures lie now; those of a moved or copied folder would else
    come into the old one. folder: of the run's trackers."""
    store, now = folder.resolve() / "mlflow.db", (folder.resolve() / "mlflow").as_uri()
    if not store.exists():
        return
    with closing(sqlite3.connect(store)) as database, database:
        places = database.execute(
            "SELECT artifact_location FROM experiments WHERE artifact_location LIKE '%/trackers/mlflow'"
        ).fetchall()
        for (before,) in places:
            for table, column in (("runs", "artifact_uri"), ("experiments", "artifact_location")):
                database.execute(
                    f"UPDATE {table} SET {column} = ? || substr({column}, ?) WHERE substr({column}, 1, ?) = ?",
                    (now, len(before) + 1, len(before), before),
                )


def _experiments() -> list[str]:
    import mlflow

    return [experiment.experiment_id for experiment in mlflow.search_experiments()]


class Trackio(TrackerKind):
    """In the folder that TRACKIO_DIR names, or else in trackio's own, where its dashboard looks."""

    def options(self, place: Place) -> dict[str, Any]:
        name = place.known("trackio") or f"{place.name}-{secrets.token_hex(4)}"
        place.remember("trackio", name)
        return {"name": name, "resume": "allow"}

    def picture(self, tracker: Any, name: str, path: Path, step: int) -> None:
        import trackio

        tracker.tracker.log({name: trackio.Image(str(path))}, step=step)


KINDS: dict[str, TrackerKind] = {
    "tensorboard": TensorBoard(), "wandb": WandB(), "mlflow": MLflow(), "trackio": Trackio(),
}  # fmt: skip


def kind_of(name: str) -> TrackerKind:
    return KINDS.get(name, TrackerKind())


def pixels(path: Path) -> Any:
    """A picture [H, W, 3], uint8."""
    import numpy as np
    from PIL import Image

    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))
