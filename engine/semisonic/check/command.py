"""`python -m semisonic check --algorithm NAME`: whether one algorithm keeps what every one keeps, in two minutes."""

import argparse
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from rich.console import Console
from rich.text import Text

from semisonic.algorithms.base import Algorithm
from semisonic.algorithms.registry import ALGORITHMS
from semisonic.check import golden, properties, ranks
from semisonic.check.properties import Failed, Skipped
from semisonic.check.tiny import Subject, configured
from semisonic.check.waiting import never_waits
from semisonic.config.arguments import Parser
from semisonic.config.command_line import parse_arguments, resolve
from semisonic.distributed.variables import check_variables, world_size
from semisonic.plugins import line_in, load_plugins, plugin_files
from semisonic.schema import ExitCode, UserError
from semisonic_kernels.fuse import Kernels, use_kernels

PARTS = ("contract", "golden", "ranks")
EVENTFUL: dict[str, object] = {
    "block": 2, "threshold": 0.19, "ramp": 2.0, "warm_up": False, "floor": 0.0, "epoch_steps": 1,
}  # fmt: skip
"""Fields by which the first steps on ten classes touch all terms of a loss, for algorithms that have them and where
they are not given."""
RUN = (
    "--data", "digits", "--model", "wrn-10-1", "--device", "cpu", "--threads", "1", "--steps", "20", "--no-baseline",
    "--batch.labeled", "8", "--batch.unlabeled-ratio", "2", "--batch.micro", "1", "--compile", "off", "--optim", "sgd",
    "--optim.lr", "0.01", "--precision", "fp32", "--log.trackers", "none",
)  # fmt: skip
PROPERTIES: dict[str, tuple[Callable[[Subject], Any], Kernels]] = {
    "output follows the contract": (properties.output_follows_the_contract, "reference"),
    "sees only its own views": (properties.sees_only_its_views, "reference"),
    "loss writes no state, one forward tracks": (properties.loss_writes_no_state, "reference"),
    "every parameter gets a gradient": (properties.every_parameter_gets_a_gradient, "reference"),
    "true classes are never learned from": (properties.truth_is_never_learned, "reference"),
    "all state is saved": (properties.state_round_trips, "reference"),
    "resumes bit for bit": (properties.resumes_bit_for_bit, "reference"),
    "micro-batches mean the whole batch": (properties.micro_batches_mean_the_batch, "reference"),
    "finite at extremes": (properties.stays_finite_at_extremes, "reference"),
    "never waits for the device": (never_waits, "eager"),
    "one graph, compiled once": (properties.is_one_graph, "reference"),
}


@dataclass(frozen=True)
class Outcome:
    name: str
    verdict: str
    """ok, skipped or FAILED."""
    text: str = ""
    seconds: float = 0.0


def check(argv: Sequence[str]) -> int:
    """Runs the checks, prints a line for each, and returns the exit code: 0, or 1 where one failed."""
    args, subject, fields = parse(argv)
    name = args.algorithm
    outcomes: list[Outcome] = []
    console = Console()
    torch.set_num_threads(1)

    def run(title: str, action: Callable[[], Any], kernels: Kernels = "reference") -> None:
        with use_kernels(kernels):
            outcomes.append(outcome_of(title, action, subject.kind, args.debug))
        console.print(line_of(outcomes[-1], min(console.width, 110)))

    with ExitStack() as stack:
        if "ranks" in args.only:  # they train while the rest is checked
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="semisonic-check-")))
            started = stack.enter_context(ranks.running(folder, [*fields, *dropout_for(subject.kind)]))
        if "contract" in args.only:
            for title, (action, kernels) in PROPERTIES.items():
                run(title, partial(action, subject), kernels)
        if "golden" in args.only:
            run("twice the same losses", lambda: _golden(name, fields, args.golden), "eager")
        if "ranks" in args.only:
            run("two ranks equal one process", lambda: ranks.ranks_equal_one_process(*started.results()))
    failed = sum(outcome.verdict == "FAILED" for outcome in outcomes)
    console.print(Text(f"{name}: {failed} of {len(outcomes)} checks failed" if failed else f"{name}: all is well"))
    return ExitCode.ERROR if failed else ExitCode.OK


def parse(argv: Sequence[str]) -> tuple[argparse.Namespace, Subject, list[str]]:
    """Options, the algorithm with its configuration, and the fields of a run of it. Raises `UserError`."""
    parser = Parser(
        "semisonic check",
        description="Checks one algorithm: the contract, its first losses, and two ranks against one process.",
        epilog="Fields of the algorithm may be given as --algorithm.FIELD VALUE.",
        allow_abbrev=False,
    )
    parser.add_argument("--algorithm", metavar="NAME", help="one of --list's, or one that a plug-in registers")
    parser.add_argument("--plugin", action="append", metavar="FILE.py", help="a file that registers it")
    parser.add_argument("--golden", type=Path, metavar="FILE", help="compare the losses with those that this JSON file "
                        "holds, or store them where it has none of this algorithm")  # fmt: skip
    parser.add_argument("--only", type=_parts, default=PARTS, metavar="PART,...", help=f"of {', '.join(PARTS)}")
    parser.add_argument("--debug", action="store_true", help="raise the first error with its traceback")
    args, rest = parser.parse_known_args(argv)
    if world_size() > 1:
        raise UserError("check: starts its processes itself; call it without a launcher")
    check_variables()
    plugins = plugin_files(argv)
    load_plugins(plugins)
    own, problems = parse_arguments(rest)
    problems += [f"--{name}: check takes fields of the algorithm alone" for name in own.fields
                 if not name.startswith("algorithm.")]  # fmt: skip
    if args.algorithm not in ALGORITHMS:
        close = ALGORITHMS.close_to(args.algorithm or "")
        hint = f"did you mean {close}? " if close else ""
        what = f"{args.algorithm!r} is unknown" if args.algorithm else "name one"
        problems.insert(0, f"--algorithm: {what}; {hint}one of {', '.join(ALGORITHMS)}")
    if problems:
        raise UserError(problems)
    given = {name.removeprefix("algorithm."): value for name, value in own.fields.items()}
    return args, *_subject(args.algorithm, given, plugins)


def _subject(name: str, given: dict[str, Any], plugins: Sequence[str]) -> tuple[Subject, list[str]]:
    kind = ALGORITHMS[name]
    fields = [*RUN, "--algorithm", name, *(f"--plugin={path}" for path in plugins)]
    fields += [f"--algorithm.{field}={'null' if value is None else value}" for field, value in given.items()]
    resolve(fields)  # every mistake in what was given, before anything runs
    try:
        eventful = configured(kind, given, **EVENTFUL)
    except ValidationError as error:
        raise UserError([f"algorithm.{item['loc'][0]}: {item['msg']}" for item in error.errors()]) from error
    own = kind.Config.model_fields
    fields += [
        f"--algorithm.{field}={getattr(eventful, field)}" for field in EVENTFUL if field in own and field not in given
    ]
    return Subject(kind, given), fields


def dropout_for(kind: type[Algorithm]) -> list[str]:
    """Dropout of the network, so that places in the global batch count, for a method that has none of its own."""
    return [] if "dropout" in kind.Config.model_fields else ["--model.dropout=0.2"]


def outcome_of(title: str, action: Callable[[], Any], kind: type[Algorithm], debug: bool) -> Outcome:
    """What a check came to; an error of the algorithm's own is a failure, told with its line. debug: it is raised."""
    begin = time.monotonic()

    def outcome(verdict: str, told: object) -> Outcome:
        text = " ".join(str(told).split()) if isinstance(told, (str, Exception)) else ""
        return Outcome(title, verdict, text, time.monotonic() - begin)

    try:
        return outcome("ok", action())
    except Skipped as reason:
        return outcome("skipped", reason)
    except Exception as error:
        if debug:
            raise
        where = place_of(kind, error)
        known = isinstance(error, (Failed, UserError))
        return outcome("FAILED", f"{'' if known else type(error).__name__ + ': '}{error}{where}")


def place_of(kind: type[Algorithm], error: Exception) -> str:
    """Where an algorithm's own code raised an error, or what it inherits from methods of its kind; "" elsewhere."""
    for one in kind.__mro__[: kind.__mro__.index(Algorithm)]:
        file = getattr(sys.modules.get(one.__module__), "__file__", None) or ""
        if line := line_in(file, error):
            return f" ({Path(file).name}, line {line})"
    return ""


def line_of(outcome: Outcome, width: int) -> Text:
    """A line, and below it what there is to say, in so many columns."""
    style = {"ok": "green", "FAILED": "bold red"}.get(outcome.verdict, "yellow")
    line = Text(f"{outcome.name:<42}").append(f"{outcome.verdict:<8}", style).append(f"{outcome.seconds:5.1f} s")
    rows = textwrap.wrap(outcome.text, width - 4, break_long_words=False, break_on_hyphens=False)
    return line.append("".join(f"\n    {row}" for row in rows))


def _golden(name: str, fields: Sequence[str], file: Path | None) -> str:
    found = golden.repeats(resolve(fields)[1])
    shown = " ".join(f"{value:.6g}" for value in found)
    return f"{shown}; {golden.compare_or_store(file, name, found)}" if file else shown


def _parts(text: str) -> tuple[str, ...]:
    chosen = tuple(part for part in text.split(",") if part)
    if not chosen or set(chosen) - set(PARTS):
        raise argparse.ArgumentTypeError(f"{text!r}: some of {', '.join(PARTS)}")
    return chosen
