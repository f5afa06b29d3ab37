"""Which trackers there are: asked of Accelerate, which makes them, so that no list of ours goes stale."""

from collections.abc import Sequence
from importlib.util import find_spec

TRIED = ("wandb", "mlflow", "trackio")
"""What the extra `trackers` installs."""


def tracker_problems(names: Sequence[str]) -> list[str]:
    """What is wrong with `log.trackers`, one line each: an unknown name, or a package that is not installed."""
    # Neither at the top nor for the default: what only shows or reads a configuration need not wait for Accelerate.
    if set(names) <= {"tensorboard"} and (find_spec("tensorboard") or not names):
        return []
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS, get_available_trackers

    available = [str(getattr(name, "value", name)) for name in get_available_trackers()]
    known = sorted(str(getattr(name, "value", name)) for name in LOGGER_TYPE_TO_CLASS)
    problems = []
    for name in names:
        if name not in known:
            problems.append(f"log.trackers: {name} is unknown; any of {', '.join(known)}")
        elif name not in available:
            how = "pip install 'semisonic[trackers]'" if name in TRIED else f"install the package of {name}"
            problems.append(f"log.trackers: {name} is not installed; {how}, or leave {name} out")
    return problems
