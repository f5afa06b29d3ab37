"""Where figures go: metrics.jsonl always, and the trackers of Accelerate that the configuration names."""

import json
import time
from pathlib import Path
from typing import Any

from accelerate import Accelerator

from semisonic.config import RunConfig, describe_fields


class Tracker:
    """Writes one object a line to `metrics.jsonl` on the main process, and the same scalars to the trackers."""

    def __init__(self, accelerator: Accelerator, cfg: RunConfig, folder: Path, step: int):
        self.accelerator = accelerator
        self.path = folder / "metrics.jsonl"
        self.discarded = 0
        if accelerator.is_main_process:
            self.discarded = discard_after(self.path, step)
        if cfg.log.trackers:
            options = {"tensorboard": {"purge_step": step + 1}} if "tensorboard" in cfg.log.trackers else {}
            # One Accelerator serves the baseline and the main run: each has trackers and a folder of its own.
            accelerator.trackers = []
            accelerator.project_configuration.logging_dir = str(folder / "trackers")
            accelerator.init_trackers("semisonic", config=flat(cfg), init_kwargs=options)
        self.file = self.path.open("a") if accelerator.is_main_process else None

    def log(self, step: int, figures: dict[str, Any]) -> None:
        if self.file:
            self.file.write(json.dumps({"step": step, "time": round(time.time(), 3), **figures}) + "\n")
            self.file.flush()
        scalars = {name: value for name, value in figures.items() if isinstance(value, int | float)}
        self.accelerator.log(scalars, step=step)

    def close(self) -> None:
        if self.file:
            self.file.close()
        for tracker in self.accelerator.trackers:  # end_training() would also leave the process group
            tracker.finish()
        self.accelerator.trackers = []


def discard_after(path: Path, step: int) -> int:
    """Moves lines after `step` to metrics.discarded.jsonl, since a resumed run writes them again; returns how many."""
    if not path.exists():
        return 0
    lines = path.read_text().splitlines(keepends=True)
    kept: list[str] = []
    later: list[str] = []
    for line in lines:
        whole = line.endswith("\n")  # a kill can leave the last line unfinished
        (kept if whole and json.loads(line)["step"] <= step else later).append(line)
    if later:
        with path.with_name("metrics.discarded.jsonl").open("a") as file:
            file.writelines(line.rstrip("\n") + "\n" for line in later)
        temporary = path.with_name("metrics.jsonl.tmp")
        temporary.write_text("".join(kept))
        temporary.replace(path)
    return len(later)


def flat(cfg: RunConfig) -> dict[str, Any]:
    """Dotted scalars, the only form of configuration that TensorBoard takes."""
    values = {}
    for name, *_ in describe_fields(cfg.algorithm.name):
        value: Any = cfg
        for part in name.split("."):
            value = getattr(value, part)
        values[name] = value if isinstance(value, bool | int | float | str) else str(value)
    return values
