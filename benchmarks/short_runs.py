"""What start-up corrections do for short runs: test accuracy after few steps, with and without them.

    python benchmarks/short_runs.py [--steps 60 250 500 2000] [--seeds 1 2] [--windows 10] [--images N] [--out FILE]

FixMatch on Fashion-MNIST with 40 labels, 8 + 56 images a step, on WRN-10-2, whose BatchNorm has the momentum 0.001; EMA
of decay 0.999. "none": neither average is corrected. A number W: the EMA by its rule `tf`, and a batch counts in the
running statistics by max(0.001, W / (t + W)) at step t, as with `--model.norm-start-up W`.

In training a step's own batch normalizes, and nothing reads the EMA: all rules see the same run, so each pair of steps
and seed is trained once, and every rule's averages are kept beside it. Those of the rule that the run itself has are
compared with the run's. A cell that FILE has is not made again.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

import measure
from semisonic.config.command_line import resolve
from semisonic.config.run_config import RunConfig
from semisonic.models.ema import EmaConfig, ema_decay
from semisonic.models.norm import BatchNorm2d
from semisonic.training.build import build_trainer
from semisonic.training.trainer import Trainer

MODEL = "wrn-10-2"
CLOSE = 1e-3
"""Largest difference between a rule's averages and the run's own, of values about 1; of larger ones that share."""


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, nargs="+", default=[60, 250, 500, 2000], help="default: %(default)s")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2], help="default: %(default)s")
    parser.add_argument("--windows", type=float, nargs="+", default=[10.0], metavar="W", help="default: %(default)s")
    parser.add_argument("--images", type=int, metavar="N", help="test images (default: all 10,000)")
    parser.add_argument("--data", default="fashion-mnist", metavar="NAME", help="default: %(default)s")
    parser.add_argument(
        "--root", default="/usr/share/datasets/fashion-mnist", help="of the data (default: %(default)s)"
    )
    parser.add_argument("--threads", type=int, default=1, help="default: %(default)s")
    parser.add_argument("--out", type=Path, metavar="FILE", help="JSON to read and to add to")
    return parser.parse_args(argv)


def configuration(args: argparse.Namespace, steps: int, seed: int, folder: str) -> RunConfig:
    shape = ["--model", MODEL, "--batch.labeled", "8", "--batch.unlabeled-ratio", "7", "--ema.decay", "0.999"]
    run = [
        "--steps",
        str(steps),
        "--seed",
        str(seed),
        "--threads",
        str(args.threads),
        "--device",
        "cpu",
        "--out",
        folder,
    ]
    data = ["--data", args.data, *(["--data.root", args.root] if args.root else [])]
    fields = [*data, "--data.labels", "40", "--no-baseline", "--log.trackers", "none", *shape, *run]
    return resolve(fields)[1]


class Rule:
    """The averages of a network by one rule: a window of the running statistics, or None for no correction at all."""

    def __init__(self, trainer: Trainer, window: float | None):
        self.window = window
        self.ema = EmaConfig(decay=trainer.cfg.ema.decay, start_up="none" if window is None else "tf")
        network = trainer.algorithm.network
        self.average = {name: value.detach().clone() for name, value in network.named_parameters()}
        self.statistics = {name: value.clone() for name, value in network.named_buffers() if value.is_floating_point()}

    def follow(self, step: int, network: nn.Module, seen: dict[str, Tensor], momentum: dict[str, float]) -> None:
        """Moves them by a step: by the parameters after it, and by its batch's statistics, named as buffers."""
        weight = 1 - float(ema_decay(self.ema, torch.tensor(step)))
        for name, value in network.named_parameters():
            self.average[name].lerp_(value.detach(), weight)
        for name, value in seen.items():
            start = 0.0 if self.window is None else self.window / (step + self.window)
            self.statistics[name].lerp_(value, max(momentum[name], start))

    def put(self, trainer: Trainer, weights: str) -> None:
        """Gives the network that is evaluated ("ema" or "raw") these averages."""
        module = trainer.algorithm.ema if weights == "ema" else trainer.algorithm.network
        values = self.statistics | (self.average if weights == "ema" else {})
        for name, own in {**dict(module.named_parameters()), **dict(module.named_buffers())}.items():
            if name in values:
                own.data.copy_(values[name])


class Watch:
    """The statistics of what enters each BatchNorm in a step's one forward that tracks."""

    def __init__(self, network: nn.Module):
        self.seen: dict[str, Tensor] = {}
        self.momentum: dict[str, float] = {}
        for name, layer in network.named_modules():
            if isinstance(layer, BatchNorm2d):
                layer.register_forward_pre_hook(self.note(name))
                self.momentum |= dict.fromkeys((f"{name}.running_mean", f"{name}.running_var"), layer.momentum)

    def note(self, name: str) -> Any:
        def hook(layer: nn.Module, inputs: tuple[Tensor]) -> None:
            if layer.training:
                variance, mean = torch.var_mean(inputs[0].detach().float(), (0, 2, 3))
                self.seen |= {f"{name}.running_mean": mean, f"{name}.running_var": variance}

        return hook


def cell(args: argparse.Namespace, steps: int, seed: int, windows: Sequence[float]) -> dict[str, dict[str, float]]:
    """Rule -> weights -> test accuracy in per cent, of one run."""
    with tempfile.TemporaryDirectory() as folder:
        trainer = build_trainer(configuration(args, steps, seed, folder))
        rules = {"none": Rule(trainer, None), **{f"{window:g}": Rule(trainer, window) for window in windows}}
        watch, network = Watch(trainer.algorithm.network), trainer.algorithm.network
        with trainer.loader() as loader:
            for step in range(steps):
                trainer.training_step(next(loader))
                for rule in rules.values():
                    rule.follow(step, network, watch.seen, watch.momentum)
        compare(trainer, rules)
        found: dict[str, dict[str, float]] = {}
        for name, rule in rules.items():
            for weights in ("ema", "raw"):
                rule.put(trainer, weights)
                right, count = trainer.evaluate(weights, "test", args.images).counts
                found.setdefault(name, {})[weights] = 100 * right / count
    return found


def compare(trainer: Trainer, rules: dict[str, Rule]) -> None:
    """Raises `measure.Failed` where the rule that the run itself has comes to other averages than the run."""
    window = trainer.cfg.model.norm_start_up
    rule = rules.get(f"{window:g}" if window else "none")
    if rule is None:
        return
    own = dict(trainer.algorithm.ema.named_buffers())
    for name, value in {**rule.statistics, **rule.average}.items():
        off = float((own[name] - value).abs().max() / value.abs().max().clamp(min=1))
        if off > CLOSE:
            raise measure.Failed("compare", f"{name} differs by {off:.1e} from the run's own")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """All cells, those of the file first; written after each."""
    result: dict[str, Any] = json.loads(args.out.read_text()) if args.out and args.out.exists() else {}
    result |= {"kind": "short-runs", "model": MODEL, "environment": measure.environment(torch.device("cpu"))}
    cells: list[dict[str, Any]] = result.setdefault("cells", [])
    for steps in args.steps:
        for seed in args.seeds:
            known = {entry["rule"] for entry in cells if (entry["steps"], entry["seed"]) == (steps, seed)}
            windows = [window for window in args.windows if f"{window:g}" not in known]
            if known and not windows:
                continue
            for rule, accuracy in cell(args, steps, seed, windows).items():
                if rule not in known:
                    cells.append({"steps": steps, "seed": seed, "rule": rule, "images": args.images, **accuracy})
            if args.out:
                measure.store(args.out, result, measure.seeds_of(result["cells"]))
    cells.sort(key=lambda entry: (entry["steps"], entry["seed"]))
    return result


def show(result: dict[str, Any]) -> None:
    table = Table(title="Test accuracy in per cent", title_justify="left")
    for column in ("steps", "seed", "rule", "EMA", "raw"):
        table.add_column(column, justify="right")
    for entry in result["cells"]:
        table.add_row(
            *(str(entry[key]) for key in ("steps", "seed", "rule")), f"{entry['ema']:.2f}", f"{entry['raw']:.2f}"
        )
    Console().print(table, highlight=False)


if __name__ == "__main__":
    sys.exit(measure.exit_code(lambda: show(run(parse()))))
