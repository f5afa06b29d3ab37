"""The losses of the first steps on the embedded digits: the same twice, and the same as they were stored."""

import math
from pathlib import Path

from semisonic.check.properties import Failed, require
from semisonic.config.run_config import RunConfig
from semisonic.records.reading import read_json, shown
from semisonic.schema import UserError
from semisonic.text import dump_json
from semisonic.training.build import build_trainer

STEPS = 12
EARLY = 5
"""Steps in which other kernels and instruction sets do not show much yet; later a label that flips may."""


def losses(cfg: RunConfig) -> list[float]:
    """Of the first steps; float32 values, which JSON keeps exactly."""
    trainer = build_trainer(cfg)
    loader = trainer.loader()
    return [trainer.training_step(next(loader)).loss.item() for _ in range(STEPS)]


def repeats(cfg: RunConfig) -> list[float]:
    """The losses. Raises `Failed` where they are not finite, or others the second time."""
    first, second = losses(cfg), losses(cfg)
    for step, (one, two) in enumerate(zip(first, second, strict=True), start=1):
        require(math.isfinite(one), f"the loss of step {step} is {one}")
        require(
            one == two, f"step {step} has the loss {one!r}, and {two!r} the second time; what draws without a seed?"
        )
    return first


def compare_or_store(file: Path, name: str, found: list[float]) -> str:
    """Compares an algorithm's losses with those in a JSON file (name -> losses), or adds them where it has none.

    Returns what was done. Raises `Failed` where they have moved, `UserError` where the file cannot be used.
    """
    stored: dict[str, list[float]] = {}
    try:
        if file.exists():
            stored = read_json(file, name=f"--golden {file}")
        if not isinstance(stored, dict):
            raise ValueError("not an object of names")
        if name not in stored:
            file.write_text(dump_json({**stored, name: found}, indent=1) + "\n")
            return f"stored in {file}"
    except OSError as error:
        raise UserError(f"--golden {file}: {error.strerror}") from error
    except ValueError as error:
        raise UserError(f"--golden {file}: no JSON that this command wrote ({error})") from error
    expected = stored[name]
    if not isinstance(expected, list) or [type(loss) for loss in expected] != [float] * len(found):
        raise UserError(f"--golden {file}: {name}: {shown(expected)}; {len(found)} losses are needed")
    if expected == found:
        return f"those of {file}, bit for bit"
    for step, (old, new) in enumerate(zip(expected, found, strict=True), start=1):
        if not math.isclose(old, new, rel_tol=1e-3 if step <= EARLY else 0.1):
            raise Failed(f"step {step} has the loss {new:.6g}, and {old:.6g} in {file}")
    return f"those of {file}, but for rounding"
