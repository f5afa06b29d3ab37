"""Losses of every algorithm on a tiny configuration, stored: a refactoring must not move them.

"start" is twelve steps as a run begins. In them most unlabeled terms have a weight near 0, or no pseudo-label reaches
its threshold. "full" is twelve steps of the same configuration with the algorithm's ramps at their full weight from the
first step, and with thresholds that some images reach and others do not. An algorithm with neither runs the same again.

  python -m tests.golden.losses [NAME ...]            prints them as decimals
  python -m tests.golden.losses [NAME ...] --hex      as NAME KIND and float.hex, to compare two versions bit by bit
  python -m tests.golden.losses [NAME ...] --write    stores them, for the named algorithms alone

`losses-d96c372.txt` is what --hex gave at commit d96c372, before the engine was reorganized; those of `REDRAWN` are
others today, and all else is the same bit by bit.
"""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from semisonic.algorithms.registry import ALGORITHMS
from semisonic.check import golden
from semisonic.check.golden import STEPS as STEPS  # the tests count them
from semisonic.config.command_line import resolve

FILE = Path(__file__).with_name("losses.json")
BEFORE = Path(__file__).with_name("losses-d96c372.txt")
KINDS = ("start", "full")
REDRAWN = ("mpl",)
"""Algorithms whose losses were stored anew since: MPL's dropout draws by an image's place in the global batch."""

Fields = dict[str, object]
COMMON: Fields = {
    "device": "cpu",
    "precision": "fp32",
    "threads": 1,
    "batch.labeled": 8,
    "batch.unlabeled_ratio": 2,
    "optim.lr": 0.01,
    "log.trackers": "none",
    "baseline": "false",
    "model.norm_start_up": 0,  # as when the losses were stored
}
START: dict[str, Fields] = {"fixmatch": {"algorithm.threshold": 0.3}}
FULL: dict[str, Fields] = {
    "adamatch": {"algorithm.ramp": 0, "algorithm.momentum": 0.5, "algorithm.window": 3},
    # After a warm-up of one step the threshold falls so far that the labels are hard in the end.
    "dash": {"algorithm.epoch": 1.25, "algorithm.warm_up": 0.8, "algorithm.fall_every": 0.25, "algorithm.floor": 1.8},
    "defixmatch": {"algorithm.threshold": 0.14},
    # So steep that the decoders' weights are at their most from the second step on; at the first they are always 0.
    "enaet": {"algorithm.ramp": 0, "algorithm.slopes": "1e6,1e6,1e6,1e6,1e6"},
    "fixmatch": {"algorithm.threshold": 0.14},
    # Without the warm-up the class that the first images are learned in has its whole threshold at once.
    "flexmatch": {"algorithm.warm_up": "false", "algorithm.threshold": 0.7},
    # Thresholds that follow the network at once, and a penalty that counts.
    "freematch": {"algorithm.momentum": 0.5, "algorithm.fairness": 1},
    "ict": {"algorithm.ramp": 0},
    "mean-teacher": {"algorithm.ramp": 0},
    "mixmatch": {"algorithm.ramp": 0},
    "mpl": {"algorithm.uda_steps": 0, "algorithm.wait": 0, "algorithm.warm_up": 0, "algorithm.threshold": 0.15},
    "pi-model": {"algorithm.ramp": 0},
    # The accuracy of the last epoch sets the threshold: epochs of two steps, and no floor that nothing reaches.
    "policy-mixmatch": {"algorithm.ramp": 0, "algorithm.floor": 0, "algorithm.epoch_steps": 2},
    "pseudo-label": {"algorithm.ramp": 0, "algorithm.threshold": 0.14},
    "refixmatch": {"algorithm.threshold": 0.14},
    "remixmatch": {"algorithm.ramp": 0},
    "shrinkmatch": {"algorithm.threshold": 0.12},
    "softmatch": {"algorithm.momentum": 0.5},
    # Only an image that was seen before has a target: four steps are a pass over the pool.
    "temporal-ensembling": {"algorithm.ramp": 0, "batch.unlabeled_ratio": 45},
    "uda": {"algorithm.annealing": "none", "algorithm.threshold": 0.13},
    "vat": {"algorithm.ramp": 0},
}
"""What "full" changes of an algorithm's configuration."""

Measure = Callable[[str, str], list[float]]


def losses(algorithm: str, kind: str) -> list[float]:
    """The losses of the first steps; float32 values, which JSON and float.hex keep exactly."""
    fields = COMMON | START.get(algorithm, {}) | (FULL.get(algorithm, {}) if kind == "full" else {})
    cfg = resolve(["--algorithm", algorithm, *(f"--{name}={value}" for name, value in fields.items())])[1]
    return golden.losses(cfg)


def stored(file: Path = FILE) -> dict[str, dict[str, list[float]]]:
    """Algorithm -> kind -> losses."""
    return json.loads(file.read_text()) if file.exists() else {}


def write(names: Sequence[str], file: Path = FILE, measure: Measure = losses) -> None:
    """Stores the losses of the named algorithms; those of all others stay as they are."""
    content = stored(file) | {name: {kind: measure(name, kind) for kind in KINDS} for name in names}
    file.write_text(json.dumps(dict(sorted(content.items())), indent=1) + "\n")


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser("python -m tests.golden.losses", description="Losses of the tiny configuration.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"algorithms (default: all): {', '.join(ALGORITHMS)}")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--hex", action="store_true", help="print them as float.hex")
    form.add_argument("--write", action="store_true", help=f"store them in {FILE.name}")
    args = parser.parse_args(argv)
    if unknown := [name for name in args.names if name not in ALGORITHMS]:
        parser.error(f"there is no algorithm {' or '.join(unknown)}")
    names = args.names or list(ALGORITHMS)
    if args.write:
        write(names)
        return 0
    for name in names:
        for kind in KINDS:
            print(name, kind, *(value.hex() if args.hex else f"{value:.6g}" for value in losses(name, kind)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
