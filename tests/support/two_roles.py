"""Trainers of an algorithm with two roles, each with an optimizer of its own: Meta Pseudo Labels."""

from pathlib import Path

from semisonic.training.trainer import Trainer
from tests.support.trainers import make_trainer

TWO_ROLES = ("--algorithm", "mpl", "--model", "small", "--steps", "20", "--algorithm.wait", "1", "--algorithm.baseline", "0.1",
          "--algorithm.teacher-lr", "0.02", "--algorithm.strong", "fixmatch", "--threads", "1")  # fmt: skip
"""Fields of a short run of it."""


def trainer_in(folder: Path, *fields: str) -> Trainer:
    return make_trainer(folder, *TWO_ROLES, *fields)


def train(trainer: Trainer, until: int) -> list[float]:
    loader, losses = trainer.loader(), []
    while trainer.step < until:
        losses.append(float(trainer.training_step(next(loader)).loss))
    return losses
