"""Projects of a few image files, and a run whose networks label them, without a step of training."""

import os
from collections.abc import Sequence
from pathlib import Path

import torch

from semisonic.checkpoint import snapshots
from semisonic.daily.project import Project
from semisonic.daily.store import NewImage
from semisonic.data.sets import manifest
from semisonic.training.trainer import Trainer
from tests.support.image_folders import write_images
from tests.support.trainers import make_trainer

CLASSES = ("bars", "circle", "noise")


def untrained(run: Path, images: Path, *fields: str) -> Trainer:
    """The trainer of a run that has not begun, on two images of each of three classes below `images`/train."""
    for name in CLASSES:
        write_images(images / "train" / name, "a.png b.png")
    folder = ("--data", "folder", "--data.root", str(images), "--data.size", "16", "--data.test", "none")
    small = ("--algorithm", "supervised", "--model", "small", "--batch.labeled", "4", "--steps", "4")
    return make_trainer(run, *folder, *small, *fields)


def save_run(run: Path, images: Path, snapshot_count: int = 0) -> None:
    """A run as it is when it has ended: its last checkpoint, and snapshots of other networks."""
    trainer = untrained(run, images)
    trainer.save()
    trainer.checkpoint_writer.settle()
    (run / "summary.json").write_text("{}")
    for number in range(snapshot_count):
        with torch.no_grad():
            for value in trainer.algorithm.network.parameters():
                value += 0.05 * torch.randn(value.shape, generator=torch.Generator().manual_seed(number))
        trainer.algorithm.ema.load_state_dict(trainer.algorithm.network.state_dict())
        trainer.training_step.number = number + 1
        trainer.save_snapshot()
        trainer.checkpoint_writer.settle()
    assert len(snapshots.saved(run)) == snapshot_count


def add_images(project: Project, paths: Sequence[Path]) -> None:
    """Adds image files to the project's current day, which is the next one once a training has begun."""
    with project.store() as store:
        if store.day_is_trained():
            store.open_day()
        new = []
        for path in paths:
            found, stat = manifest.examine(str(path)), os.stat(path)
            assert found is not None
            about = (stat.st_size, stat.st_mtime_ns, stat.st_ino, found.width, found.height)
            new.append(NewImage(str(path), found.digest, *about, None))
        store.add_images(new, "test")


def make_project(folder: Path, count: int = 12, snapshot_count: int = 2) -> Project:
    """A project of `count` images on its first day, whose run has ended; its audits are of 4 images."""
    write_images(folder / "camera", [f"{number:02}.png" for number in range(count)])
    file = Project.create(folder / "project", CLASSES, 16).folder / "project.yaml"
    file.write_text(file.read_text().replace("audit: 100", "audit: 4"))
    project = Project.open(folder / "project")
    add_images(project, sorted((folder / "camera").iterdir()))
    project.runs.mkdir()
    save_run(project.runs / "day-001", folder / "data", snapshot_count)
    with project.store() as store:
        store.freeze("day-001")
    return project
