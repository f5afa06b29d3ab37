"""The command `semisonic`, also as `python -m semisonic` and launch/: parse, show help, run, and turn mistakes into
exit codes."""

import difflib
import functools
import gc
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from inspect import getdoc

from semisonic import faults
from semisonic.distributed.launcher import Launcher
from semisonic.reporting.errors import (
    NotPrinted,
    check_working_folder,
    refusals_told,
    report_error,
    short_warnings,
)
from semisonic.reporting.output import lasting_streams, unprinted
from semisonic.schema import ExitCode, UserError
from semisonic.start_up import CONFIGURATION, IMPORTS, StartClock
from semisonic.version import __version__

TRAIN = """Train a semi-supervised image classifier.

  semisonic train [OPTIONS] [FIELDS]
  accelerate launch launch/train.py [OPTIONS] [FIELDS]
  torchrun --nproc_per_node 2 -m semisonic train --device cpu [OPTIONS] [FIELDS]"""
PRETRAIN = """Pre-train a network on a pretext task, without labels: simclr, or --algorithm rotnet.
The labeled images train a linear probe on its features alone, whose accuracy the evaluations show.

  semisonic pretrain [OPTIONS] [FIELDS]
  semisonic train --init RUN --model NAME      # then train from its weights, with any algorithm"""
Command = Callable[[Sequence[str]], int]
"""Takes the arguments of a command line and returns the process's exit code."""


def guarded(command: Command) -> Command:
    """The command, its users' mistakes as lines and an exit code; with --debug they are raised."""

    @functools.wraps(command)
    def run(argv: Sequence[str]) -> int:
        with lasting_streams() as out:
            try:
                with short_warnings(), refusals_told():
                    check_working_folder()
                    code = command(argv)
            except UserError as error:
                if "--debug" in argv:
                    raise
                code = report_error(error)
            except KeyboardInterrupt:
                if "--debug" in argv:
                    raise
                print("error: interrupted", file=sys.stderr)
                code = ExitCode.INTERRUPTED
            if code == ExitCode.OK and (problem := unprinted(out)):
                code = report_error(NotPrinted(f"what was printed is not whole: {problem}"))
        return code

    return run


@contextmanager
def uncollected() -> Iterator[None]:
    """Imports make half a million objects that stay. The garbage collector, which finds nothing among them, would take
    an eighth of their time."""
    on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if on:
            gc.enable()


@guarded
def main(argv: Sequence[str]) -> int:
    """Trains a semi-supervised image classifier."""
    return _train(argv, TRAIN)


@guarded
def pretrain(argv: Sequence[str]) -> int:
    """Pre-trains a network on a pretext task, without labels."""
    return _train(argv, PRETRAIN, pretext=True)


def _train(argv: Sequence[str], usage: str, pretext: bool = False) -> int:
    """`pretext`: a pretext task is the algorithm where none is named, and others are refused."""
    fresh = "torch" not in sys.modules  # else a process in Python, older than this start
    clock = StartClock(of_process=fresh)
    with Launcher(), uncollected():  # imports take seconds, in which a launcher may die
        from semisonic.algorithms.registry import PRETEXT
        from semisonic.config.command_line import Invocation, parse_arguments, resolve
        from semisonic.config.help import show_help, show_lists
        from semisonic.distributed.variables import check_variables

    clock.mark(IMPORTS)
    if faults.list_asked():
        print(faults.listing())
        return 0
    quick, _ = parse_arguments(argv)
    if quick.help:
        return show_help(usage, replace(quick, fields={"algorithm": PRETEXT, **quick.fields}) if pretext else quick)
    if quick.list:
        return show_lists(quick.fields.get("model.name") or quick.fields.get("model"))
    if not quick.print_config:
        check_variables()
    args, cfg = resolve(argv, PRETEXT if pretext else None)
    if pretext:
        _check_pretext(cfg.algorithm.name)
    if args.print_config:
        print(cfg.dump(), end="")
        return 0
    clock.mark(CONFIGURATION)
    invocation = Invocation(cfg, args.resume, args.extend, args.debug, args.verify_data, clock)
    if args.plan:
        from semisonic.runs.plan import plan

        clock.mark(IMPORTS)
        return plan(invocation)
    with Launcher(), uncollected():
        from semisonic.runs.run import execute

    if fresh:
        gc.freeze()  # what was imported stays: no collection needs to look at it, a tenth of a second each
    clock.mark(IMPORTS)
    return execute(invocation)


def _check_pretext(name: str) -> None:
    from semisonic.algorithms.pretext import Pretext
    from semisonic.algorithms.registry import ALGORITHMS

    tasks = [known for known, kind in ALGORITHMS.items() if issubclass(kind, Pretext)]
    if name not in tasks:
        raise UserError(f"algorithm.name: {name} is no pretext task; use {' or '.join(tasks)}, or semisonic train")


@guarded
def views(argv: Sequence[str]) -> int:
    """Writes pictures of augmentations, and of what a run trains on."""
    from semisonic.inference.views_command import main

    return main(argv)


@guarded
def compare(argv: Sequence[str]) -> int:
    """Compares several algorithms, seeds and label counts, each a run of its own."""
    from semisonic.compare.jobs import parse
    from semisonic.compare.scheduler import compare as run

    return run(parse(argv))


@guarded
def study(argv: Sequence[str]) -> int:
    """Answers a question by many runs, on a page: how few labels suffice."""
    from semisonic.studies.command import main as run

    return run(argv)


@guarded
def evaluate(argv: Sequence[str]) -> int:
    """Evaluates a checkpoint on its data set's test images, or on a folder of your own."""
    from semisonic.inference.command import evaluate as run

    return run(argv)


@guarded
def predict(argv: Sequence[str]) -> int:
    """Predicts the classes of a folder of images, or of a run's pool."""
    with Launcher(), uncollected():
        from semisonic.inference.command import predict as run

    return run(argv)


@guarded
def report(argv: Sequence[str]) -> int:
    """Writes the page of a run: figures, curves, classes, mistakes, and what to do next."""
    with uncollected():
        from semisonic.inference.run_report import main as run

    return run(argv)


@guarded
def export(argv: Sequence[str]) -> int:
    """Writes a trained network as safetensors, a torch.export program or ONNX, with a model card."""
    with uncollected():
        from semisonic.export.command import main as run

    return run(argv)


@guarded
def inspect(argv: Sequence[str]) -> int:
    """Shows what a folder or CSV of your own would be trained on, and what is wrong with it; writes nothing."""
    from semisonic.inspection.command import main as run

    return run(argv)


@guarded
def check(argv: Sequence[str]) -> int:
    """Checks one algorithm, built in or a plug-in's: contract, first losses, and two ranks."""
    from semisonic.check.command import check as run

    return run(argv)


@guarded
def replay(argv: Sequence[str]) -> int:
    """Takes a step that was not finite, and ended a run, once more, and tells where that begins."""
    from semisonic.runs.replay import main as run

    return run(argv)


@guarded
def daily(argv: Sequence[str]) -> int:
    """Labels a stream of images: people a few, a training the rest, day by day, with audited accuracy."""
    with Launcher(), uncollected():
        from semisonic.daily.command import main as run

    return run(argv)


COMMANDS: dict[str, Command] = {
    "train": main,
    "pretrain": pretrain,
    "compare": compare,
    "study": study,
    "evaluate": evaluate,
    "predict": predict,
    "report": report,
    "export": export,
    "inspect": inspect,
    "views": views,
    "check": check,
    "replay": replay,
    "daily": daily,
}


OVERVIEW = """Semi-supervised image classification: a few labels, many images without.

  semisonic COMMAND [OPTIONS]        (or python -m semisonic COMMAND ...)
"""
FIRST_STEPS = """
  semisonic train                    train on the digits that come with it: a minute on two CPU cores
  semisonic train --help             every option and field; likewise for the other commands
  semisonic train --list             recipes, algorithms, data sets, models and augmentations

In Python: semisonic.train("digits"), and semisonic.load(RUN) for what was trained."""


@guarded
def dispatch(argv: Sequence[str]) -> int:
    """`semisonic COMMAND ...`; an overview where there is no command."""
    name, *rest = argv or ["--help"]
    if name in COMMANDS:
        return COMMANDS[name](rest)
    if name == "--version":
        print(f"semisonic {__version__}")
        return ExitCode.OK
    if name.startswith("-") and name not in ("-h", "--help"):
        raise UserError(f"{name}: options follow a command, as in semisonic train {name}; one of {', '.join(COMMANDS)}")
    if name not in ("-h", "--help", "help"):
        close = difflib.get_close_matches(name, COMMANDS, n=1, cutoff=0.5)
        hint = f"did you mean {close[0]}? One of " if close else "one of "
        raise UserError(f"{name}: no such command; {hint}{', '.join(COMMANDS)}")
    print(OVERVIEW)
    for command, function in COMMANDS.items():
        print(f"  {command:<10} {getdoc(function)}")
    print(FIRST_STEPS)
    return ExitCode.OK


def run() -> None:
    """The command of the shell: `semisonic`."""
    sys.exit(dispatch(sys.argv[1:]))
