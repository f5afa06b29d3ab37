"""The command `semisonic report`: the page of a run, made anew from its folder and its newest checkpoint."""

import os
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import numpy as np

from semisonic.checkpoint import format as checkpoints
from semisonic.config.arguments import Parser, output_problem, positive
from semisonic.config.run_config import RunConfig
from semisonic.data.loading.calls import Placement
from semisonic.data.loading.image_source import source_of
from semisonic.data.loading.loader import evaluation_slices
from semisonic.data.sets.base import DataSet
from semisonic.data.sets.fingerprint import POOL, TEST
from semisonic.data.sets.splits import load_split
from semisonic.inference.classifier import classifier_of
from semisonic.inference.command import PLACES
from semisonic.inference.evaluate import Places, check_data, configuration_of, default_device, images_of
from semisonic.plugins import load_plugins
from semisonic.reporting.output import printed_beside
from semisonic.run_page.facts import Seen, check_is_run, facts_of
from semisonic.run_page.page import FILE, write
from semisonic.schema import ExitCode, UserError
from semisonic.text import printable
from semisonic.training.metrics import evaluate
from semisonic.training.mistakes import Mistakes

DESCRIPTION = """Writes the page of a run: its figures and curves, its classes, the images that it gets wrong, and what
to do next. A run writes it at its end, too. The network of its newest checkpoint sees the evaluated images once
more."""
ADVICE = "--root says where they are"


def main(argv: Sequence[str]) -> int:
    """The command, from its arguments to its exit code."""
    parser = Parser("semisonic report", description=DESCRIPTION)
    parser.add_argument("run", type=Path, metavar="RUN", help="a run's folder, finished or not")
    parser.add_argument("--out", type=Path, metavar="FILE", help=f"the page (default: RUN/{FILE}, made anew)")
    parser.add_argument("--batch", type=positive, default=256, help="images a forward (default: 256)")
    parser.add_argument(
        "--plugin", action="append", default=[], metavar="FILE.py", help="a plug-in of the run's; may be repeated"
    )
    for name, text in PLACES.items():
        option = f"--{name.replace('_', '-')}"
        parser.add_argument(option, type=Path, help=f"where {text} now, if not where the run found it")
    args = parser.parse_args(argv)
    check_is_run(args.run)
    out = args.out or args.run / FILE
    if problem := _out_problem("--out" if args.out else "RUN", out):
        raise UserError(problem)
    load_plugins(args.plugin)
    printed_beside()
    places = Places(**{name: getattr(args, name) for name in PLACES})
    cfg = configuration_of(args.run, places)
    seen = see(args.run, cfg, places, args.batch)
    facts = facts_of(args.run, cfg)
    print(printable(write(facts, seen, out)))
    if seen.missing:
        print(printable(seen.missing))
    return ExitCode.OK


def _out_problem(option: str, out: Path) -> str | None:
    """Why the page cannot be written; one that is there is replaced, and nothing else."""
    if out.suffix != ".html":
        return f"{option} {out}: the file must end in .html"
    if os.path.lexists(out) and not out.is_file():
        return f"{option} {out}: is no file"
    return output_problem(option, out)


def see(folder: Path, cfg: RunConfig, places: Places, batch: int) -> Seen:
    """What the network of a run's newest checkpoint makes of its test images, or else of its held-out ones.

    What cannot be had, as images that have moved, is told in `missing`, and raises nothing.
    """
    latest = checkpoints.latest(folder / "checkpoints")
    if latest is None:
        return Seen(missing="The run has no checkpoint yet, so nothing is said of single images.")
    try:
        return _seen(folder, latest, cfg, places, batch)
    except UserError as error:
        lines = "; ".join(error.messages)
        return Seen(missing=f"Nothing is said of single images, for they cannot be evaluated: {lines}")


def _seen(folder: Path, latest: Path, cfg: RunConfig, places: Places, batch: int) -> Seen:
    checkpoint = checkpoints.load_checkpoint(latest)
    step, data = checkpoint.state["step"], images_of(cfg, places)
    file = folder / "split.npz"
    held_out = load_split(file).held_out if file.exists() else np.empty(0, np.int64)
    which = "test" if data.test_count else "held_out" if len(held_out) else None
    if which != "test":
        check_data(latest, checkpoint.state, data, POOL, ADVICE)
    if which is None:
        return Seen(None, step, data=data)
    if which == "test":
        check_data(latest, checkpoint.state, data, TEST, ADVICE)
    device = default_device()
    classifier = classifier_of(checkpoint, latest, "ema").to(device)
    if list(data.classes) != classifier.classes:
        raise UserError(f"the classes of the data, {data.classes}, are not the run's {tuple(classifier.classes)}")
    source = source_of(data, device, test=True) if which == "test" else source_of(data, device, held_out)
    mistakes = Mistakes(batch)
    with closing(evaluation_slices(source, batch, Placement(device))) as slices:
        result = evaluate(classifier, slices, len(data.classes), everywhere=False, seen=mistakes.add)
    return Seen(
        which, step, result.confusion, mistakes.read(everywhere=False), data, _pool_problem(latest, checkpoint, data)
    )


def _pool_problem(latest: Path, checkpoint: checkpoints.Checkpoint, data: DataSet) -> str | None:
    """Why labeled images are not what they were, where the test images are."""
    try:
        check_data(latest, checkpoint.state, data, POOL, ADVICE)
    except UserError as error:
        return (
            f"The labeled images are others by now, and what is said of them may be wrong: {'; '.join(error.messages)}"
        )
    return None
