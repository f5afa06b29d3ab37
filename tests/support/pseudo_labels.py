"""A monitor of pseudo-labels of four classes."""

from semisonic.config.command_line import resolve
from semisonic.reporting.pseudo_labels import PseudoLabelMonitor

CLASSES = ["ant", "bee", "cat", "dog"]


def usage(*fields: str, prior: tuple[float, ...] = (0.25,) * 4, steps: int = 1000) -> PseudoLabelMonitor:
    """200 unlabeled images a step, a window of 100 steps."""
    argv = ["--no-baseline", "--batch.labeled", "20", "--batch.unlabeled-ratio", "10", "--steps", str(steps), *fields]
    return PseudoLabelMonitor(resolve(argv)[1], CLASSES, prior)
