"""Whether a configuration continues the run in a folder, and what a run of another length notes about itself."""

import hashlib
from pathlib import Path
from typing import Any

import yaml
from torch import nn

from semisonic.checkpoint import format as checkpoints
from semisonic.checkpoint.atomic_files import write_text
from semisonic.config.effects import effects, steps_planned_by
from semisonic.config.fields import algorithm_name, dotted
from semisonic.config.migrations import Saved, field_value, read_saved, run_content
from semisonic.config.run_config import RunConfig
from semisonic.faults import reach
from semisonic.models.randomness import random_layers
from semisonic.plugins import require_plugins
from semisonic.records.yaml_text import read_yaml
from semisonic.schema import Effect, UserError

READ_ONCE = ("init", "model.weights")
"""Files that are not read again once there is a checkpoint."""
INSTEAD = "use another --out (and --init)"
GIVEN_ANEW = {
    "data.fingerprint": "data: these are not the images and labels that the run in {} was given; pass the same, or "
    "use another out",
    "model.fingerprint": "network: this is not the network that the run in {} was given: its layers differ; pass the "
    "same, or use another out",
}
"""What is wrong where images or a network that were given in Python are others by now."""

DRAWN_BY_PLACE = 2
"""The first schema whose runs drew the numbers of random layers by an image's place in the global batch."""


def check_same(cfg: RunConfig, folder: Path, longer: bool = False, extend: bool = False) -> None:
    """Refuses to continue a run whose configuration differs in anything that changes its results.

    longer: the number of steps may differ where that changes nothing that was done or, with `extend`, at all.
    Raises `UserError` with a line for each difference.
    """
    saved = read_saved(folder)
    require_plugins(saved.fields.get("plugins", ()), cfg.plugins, str(folder))
    name, own = algorithm_name(saved.fields), algorithm_name({"algorithm": cfg.algorithm.name})
    if name != own:
        raise UserError(f"algorithm.name: {own!r}, but {folder} has {name!r}; {INSTEAD}")
    now = cfg.model_dump(mode="json")
    known, problems = _beside_later_addons(cfg, saved, folder)
    for field, effect in sorted(known.items()):
        old, new = field_value(saved.fields, field), field_value(now, field)
        if effect is Effect.CONTENT:
            problems += _content_problems(field, old, new, saved, folder)
        elif field == "steps" and longer:
            problems += _steps_problems(cfg, old, folder, extend)
        elif field in GIVEN_ANEW and old and new and old != new:
            problems.append(GIVEN_ANEW[field].format(folder))
        elif effect is Effect.RESULTS and old != new:
            problems.append(f"{field}: {new!r}, but {folder} has {old!r}; {INSTEAD}")
    strange = sorted(dotted(saved.fields).keys() - known.keys())
    problems += [f"{field}: is a field of {folder}, but none here; was it made with a plug-in?" for field in strange]
    if problems:
        raise UserError(problems)


def _beside_later_addons(cfg: RunConfig, saved: Saved, folder: Path) -> tuple[dict[str, Effect], list[str]]:
    """What every field does to the results, without those of add-ons that the run was made without; and a line for each
    such add-on that is asked for now."""
    had = saved.fields.get("addons") or {}
    new = [name for name, _ in cfg.addons if name not in had]
    active = {addon.name for addon in cfg.composition.addons}
    later = tuple(f"addons.{name}." for name in new)
    known = {field: effect for field, effect in effects(cfg.algorithm.name).items() if not field.startswith(later)}
    return known, [f"addons.{name}: is not part of the run in {folder}; {INSTEAD}" for name in new if name in active]


def _steps_problems(cfg: RunConfig, old: int, folder: Path, extend: bool) -> list[str]:
    done = steps_done(folder)
    if cfg.steps < done:
        return [f"steps: {cfg.steps}, but {folder} has done {done} already; give at least as many"]
    planned = steps_planned_by(cfg)
    if cfg.algorithm_class.reads_held_out(cfg.algorithm) and old % cfg.eval.every:
        planned["eval.every"] = cfg.eval.every  # its last step had an evaluation, whose result the method reads
    if cfg.steps == old or extend or not planned:
        return []
    fields = ", ".join(f"{name}={value}" for name, value in planned.items())
    return [
        f"steps: {cfg.steps}, but {folder} was planned for {old}, on which it depends by {fields}; --extend plans the "
        f"rest anew from step {done} on, or {INSTEAD}"
    ]


def steps_done(folder: Path) -> int:
    """The step of a run's latest checkpoint; 0 where it has none."""
    latest = checkpoints.latest(folder / "checkpoints")
    return int(latest.name.removeprefix("step-")) if latest else 0


def _content_problems(field: str, old: str | None, new: str | None, saved: Saved, folder: Path) -> list[str]:
    """What speaks against a file that goes into the results."""
    if old is None or new is None:
        return [] if old == new else [f"{field}: {new!r}, but {folder} has {old!r}; {INSTEAD}"]
    recorded = saved.records.get("content", {}).get(field)
    if old == new and (recorded is None or (field in READ_ONCE and steps_done(folder))):
        return []
    if recorded is None:  # versions that recorded no checksums
        return [f"{field}: {new!r}, but {folder} has {old!r}; {INSTEAD}"]
    found = checksum(Path(new))
    if found == recorded or (found is None and old == new):  # who reads it tells what is missing
        return []
    changed = "is not there" if found is None else "has changed since" if old == new else "holds something else"
    return [f"{field}: {folder} was begun with {old}; {new} {changed}; give a file of the same content, or {INSTEAD}"]


def contents(cfg: RunConfig) -> dict[str, str]:
    """The checksums of all files that go into a run's results, by the fields that name them."""
    fields = cfg.model_dump(mode="json")
    named = [field for field, effect in effects(cfg.algorithm.name).items() if effect is Effect.CONTENT]
    sums = {field: checksum(Path(path)) for field in named if (path := field_value(fields, field)) is not None}
    return {field: found for field, found in sums.items() if found is not None}


def checksum(path: Path) -> str | None:
    """SHA-256 (hex) of a file, or of the weights of a checkpoint or of a run's latest; None where there is none."""
    try:
        return checkpoints.read_latest(path, _weights_sum) if path.is_dir() else _file_sum(path)
    except (FileNotFoundError, IsADirectoryError):
        return None


def _weights_sum(checkpoint: Path) -> str:
    return _file_sum(checkpoint / "model.safetensors")


def _file_sum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def lengthen(cfg: RunConfig, extend: bool) -> list[str]:
    """Has the run in `cfg.run_folder` go on to `cfg.steps`, where it has another number. Returns what to tell.

    A finished run is unfinished then: its summary is kept under another name. One process may call it, after
    `check_same`.
    """
    folder = cfg.run_folder
    saved = read_saved(folder)
    old = saved.fields["steps"]
    if old == cfg.steps:
        return []
    records, planned = dict(saved.records), steps_planned_by(cfg)
    if extend and planned:
        change = {"from": steps_done(folder), "steps": [old, cfg.steps]}
        records["extended"] = [*records.get("extended", []), change]
    finished = folder / "summary.json"
    if finished.exists():  # before the configuration: with a summary, a run is finished
        reach("lengthened.rename")
        finished.replace(_free_name(folder, old))
    # Else as it was written: by its schema, fields that came later are what its version did.
    content = run_content(read_yaml(folder / "config.yaml"), folder / "config.yaml") | {"steps": cfg.steps} | records
    write_text(folder / "config.yaml", yaml.safe_dump(content, sort_keys=False))
    if not planned:
        return [f"steps: the run goes on to {cfg.steps:,} steps in place of {old:,}, as one planned for them does"]
    fields = ", ".join(planned)
    return [
        f"steps: the run is extended from {old:,} to {cfg.steps:,} steps; from step {steps_done(folder):,} on, "
        f"{fields} {'follows' if len(planned) == 1 else 'follow'} the new plan"
    ]


def _free_name(folder: Path, steps: int) -> Path:
    """Where the summary of a run of so many steps is kept."""
    names = (f"summary.{steps}-steps{again}.json" for again in ("", *(f"-{count}" for count in range(2, 1000))))
    return next(folder / name for name in names if not (folder / name).exists())


def extensions(folder: Path) -> list[dict[str, Any]]:
    """How often a run was planned anew: the step from which on, and its numbers of steps before and after."""
    found: list[dict[str, Any]] = read_saved(folder).records.get("extended", [])
    return found


def drawn_anew(network: nn.Module, state: dict[str, Any]) -> list[str]:
    """A line where a checkpoint's run drew numbers otherwise than it will from now on. state: the checkpoint's."""
    if state.get("schema", 0) >= DRAWN_BY_PLACE or not random_layers(network):
        return []
    return [
        f"Begun by an earlier version: from step {state['step'] + 1} on its dropout and other random layers draw new "
        "numbers, the same on any number of ranks"
    ]
