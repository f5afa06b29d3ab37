"""`semisonic replay RUN`: a step that was not finite, once more on this machine, and where that begins.

The step is that of all ranks together, on one device, uncompiled: from the state and the batches that the run has kept
(`training.replay`). Neither the data set nor the run's other files are read.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from semisonic.algorithms.base import Algorithm
from semisonic.algorithms.label_weights import label_weights
from semisonic.checkpoint import format as checkpoints
from semisonic.checkpoint.atomic_files import write_text, writing
from semisonic.config.arguments import Parser, check_new_file
from semisonic.config.command_line import resolve
from semisonic.config.run_config import RunConfig
from semisonic.contract import Batch, Info
from semisonic.models import wrapped
from semisonic.models.networks import build
from semisonic.models.outline import fill
from semisonic.models.tuning import tuned
from semisonic.records import entries, schemas
from semisonic.reporting.reporters import reason
from semisonic.runs.kept_batch import load_batch
from semisonic.schema import ExitCode, UserError
from semisonic.text import dump_json
from semisonic.training.process import started
from semisonic.training.replay import FOLDER, batch_file, observe
from semisonic.training.step import TrainingStep

LARGEST = 5
"""Gradients that the table names."""
NAMED = 5
"""What is not finite: names in a row of the table."""


@dataclass
class Report:
    """What a step came to on this machine; the numbers are as Python has them, nan and inf included."""

    step: int
    device: str
    terms: dict[str, float]
    """The loss, and what the algorithm reports beside it that is one number."""
    weights_before: list[str]
    """Parameters that were not finite before the step."""
    first_layer: str | None = None
    """The first layer in the order of the forwards whose output was not finite."""
    gradients: dict[str, float] = field(default_factory=dict)
    """Norm of every parameter's gradient, before clipping."""
    weights_after: list[str] = field(default_factory=list)
    """Parameters that were not finite after the step."""

    @property
    def finite(self) -> bool:
        figures = (*self.terms.values(), *self.gradients.values())
        return not (self.first_layer or self.weights_before or self.weights_after) and all(map(math.isfinite, figures))


def main(argv: Sequence[str]) -> int:
    parser = Parser(
        "semisonic replay",
        description="Takes a step that ended a run, because it was not finite, once more on this machine, and tells "
        "where that begins: the terms of the loss, the first layer, the gradients. Exit code 3 where it is not finite "
        "here either, 0 where it is.",
    )
    parser.add_argument("run", type=Path, help="the run's folder, or the kept step's")
    parser.add_argument("--step", type=int, metavar="N", help="the step, where the folder has several")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="default: a GPU if there is")
    parser.add_argument("--out", type=Path, metavar="FILE.json", help="write all figures into this file")
    parser.add_argument("--plugin", action="append", default=[], metavar="FILE.py", help="a plug-in of the run's")
    args = parser.parse_args(argv)
    if args.out:
        check_new_file("--out", args.out)
    report = replay(kept_step(args.run, args.step), args.device, args.plugin)
    show(report, Console())
    if args.out:
        with writing(args.out):
            write_text(args.out, dump_json(asdict(report), indent=1) + "\n")
    return ExitCode.OK if report.finite else ExitCode.DIVERGED


def kept_step(run: Path, step: int | None = None) -> Path:
    """The folder of a step that a run has kept."""
    if batch_file(run, 0).is_file():
        return run
    found = {path.name: path for path in checkpoints.saved(run / FOLDER)}
    if not found:
        if not run.is_dir():
            raise UserError(f"run: there is no folder {run}; give a run's folder")
        raise UserError(f"run: {run} has kept no step; a run that ends because a step is not finite does, in {FOLDER}/")
    wanted = f"step-{step}" if step is not None else list(found)[-1]
    if wanted not in found:
        raise UserError(f"--step: {run} has kept {', '.join(found)}, not {wanted}")
    return found[wanted]


def replay(folder: Path, device: str = "auto", plugins: Sequence[str] = ()) -> Report:
    """Takes the step of a folder again. Raises `UserError` where that cannot be done."""
    checkpoint = checkpoints.load_checkpoint(folder)
    state = checkpoint.state
    batches = [batch_file(folder, rank) for rank in range(state["world_size"])]
    if missing := [path.name for path in batches if not path.is_file()]:
        raise UserError(f"{folder}: {', '.join(missing)} missing; the run ended before the step was kept as a whole")
    options = ["--device", device, "--compile", "off", "--replay", "off", "--log.trackers", "none", "--no-baseline"]
    given = [part for plugin in plugins for part in ("--plugin", plugin)]
    info = schemas.checked(entries.Info, state.get("info"), f"{folder / 'state.json'}: info")
    cfg = resolve(["--config", str(folder / "config.yaml"), *options, *given])[1]
    if cfg.model.name == wrapped.GIVEN:
        raise UserError(f"{folder}: the network of this run was given in Python and cannot be built here")
    about = Info(**{name: info[name] for name in entries.Info.model_fields})
    whole = joined(
        [load_batch(path, cfg, about, state["world_size"], state["step"]) for path in batches], cfg.batch.micro
    )
    with started(cfg) as accelerator:
        algorithm = _algorithm(cfg, about, "label_weights.by_image" in checkpoint.model)
        fill(algorithm, checkpoint.model, f"{folder}: model.safetensors")
        step = TrainingStep(cfg, algorithm, accelerator)
        for role, engine in step.engines.items():
            prefix = f"{role}/"
            own = {k.removeprefix(prefix): v for k, v in checkpoint.optimizer.items() if k.startswith(prefix)}
            engine.load_state(own)
            engine.load_scaler(state["scaler"], role)
        step.number = state["step"]
        batch = tree_map(lambda tensor: tensor.to(step.device), whole)
        try:
            return _report(step, batch)
        except (RuntimeError, ValueError, IndexError, KeyError, TypeError) as error:
            # What no file can be asked beforehand: values of buffers and of the parameters of views.
            raise UserError(f"{folder}: its step cannot be taken here: {reason(error)}") from error


def _algorithm(cfg: RunConfig, info: Info, weighed: bool) -> Algorithm:
    """The algorithm of a run without its weights. weighed: whether its labeled images have weights of their own."""

    def network() -> nn.Module:
        return tuned(build(cfg.model, info.classes, info.image_size), cfg.model, info.image_size)

    weights = label_weights(cfg.loss, info, [1.0] * info.labeled if weighed else None)
    return cfg.composition.build(network, info, cfg.ema, cfg.autocast, weights)


def _report(step: TrainingStep, batch: Batch) -> Report:
    number, before = step.number, _not_finite(dict(step.algorithm.named_parameters()))
    with outputs_watched(step.algorithm) as outputs:
        seen = observe(step, batch)
    terms = {"loss": float(seen.loss)} | {name: float(value) for name, value in seen.terms.items() if not value.ndim}
    return Report(
        step=number,
        device=str(step.device),
        terms=terms,
        weights_before=before,
        first_layer=next((name for name, finite in outputs if not finite), None),
        gradients={name: float(value.double().norm()) for name, value in seen.gradients.items()},
        weights_after=_not_finite(dict(step.algorithm.named_parameters())),
    )


def _not_finite(tensors: dict[str, Tensor]) -> list[str]:
    return [name for name, tensor in tensors.items() if not tensor.isfinite().all()]


@contextmanager
def outputs_watched(module: nn.Module) -> Iterator[list[tuple[str, bool]]]:
    """Yields a list that forwards inside extend: (layer, whether its output is finite), in their order."""
    found: list[tuple[str, bool]] = []
    handles = []
    for path, layer in module.named_modules():
        if next(layer.children(), None) is None:
            name = f"{path} ({type(layer).__name__})"

            def look(layer: nn.Module, inputs: Any, output: Any, name: str = name) -> None:
                tensors = [leaf for leaf in tree_leaves(output) if isinstance(leaf, Tensor)]
                found.append((name, all(bool(tensor.isfinite().all()) for tensor in tensors)))

            handles.append(layer.register_forward_hook(look))
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def joined(batches: Sequence[Batch], micro: int) -> Batch:
    """The batches of all ranks as one in the global order: micro-batches are cut before ranks."""

    def join(*parts: Tensor) -> Tensor:
        rows = torch.stack(parts).unflatten(1, (micro, -1)).transpose(0, 1).flatten(0, 2)
        return rows.contiguous(memory_format=torch.channels_last) if rows.ndim == 4 else rows

    first, *others = batches
    return tree_map(join, first, *others) if others else first


def show(report: Report, console: Console) -> None:
    table = Table(title=f"Step {report.step} on {report.device}", title_justify="left", show_header=False, box=None)
    table.add_row("loss", f"{report.terms['loss']:.4g}")
    others = {name: value for name, value in report.terms.items() if name != "loss" and not math.isfinite(value)}
    table.add_row("terms that are not finite", _listed([f"{name} {value}" for name, value in others.items()]))
    if report.weights_before:
        table.add_row("weights that were not before", _listed(report.weights_before))
    table.add_row("first layer that is not finite", report.first_layer or "none")
    bad = [name for name, norm in report.gradients.items() if not math.isfinite(norm)]
    table.add_row("gradients that are not finite", _listed(bad))
    largest = sorted((n, name) for name, n in report.gradients.items() if math.isfinite(n))[: -LARGEST - 1 : -1]
    table.add_row("largest gradients (norm)", _listed([f"{name} {norm:.3g}" for norm, name in largest]))
    table.add_row("weights that are not after it", _listed(report.weights_after))
    console.print(table, highlight=False)
    if report.finite:
        console.print("All of it is finite here: where the run was not, its device was at fault", highlight=False)


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more if names else "none"
