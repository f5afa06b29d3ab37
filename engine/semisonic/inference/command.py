"""The commands `semisonic predict` and `semisonic evaluate`."""

import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console as RichConsole

from semisonic.config.arguments import Parser, check_folder, positive
from semisonic.data.sets.limits import FILE_MB, PIXELS, Limits
from semisonic.data.sets.manifest import reading_all
from semisonic.distributed.variables import world_size
from semisonic.inference.job import ROWS, Job, run
from semisonic.inference.outputs import MOST_VIEWS, Wanted
from semisonic.inference.reading import Reading
from semisonic.plugins import load_plugins
from semisonic.reporting.output import printed_beside
from semisonic.schema import ExitCode, UserError
from semisonic.text import printable

PREDICT = """Predicts the classes of images, or of a run's pool. Started by torchrun or accelerate launch, each rank
predicts a share. Exit code 5: some files could not be used, and are listed beside the predictions."""
PLACES = {
    "root": "the data set lies",
    "csv": "data.csv lies",
    "test_root": "the test images lie",
    "split": "data.split lies",
}
OF_IMAGES = (
    "list",
    "format",
    "part",
    "workers",
    "max_file_mb",
    "max_pixels",
    "resume",
    "top",
    "views",
    "probabilities",
    "logits",
    "features",
)
"""Options of `predict` that have no meaning with --pool."""


def evaluate(argv: Sequence[str]) -> int:
    """The command, from its arguments to its exit code."""
    from semisonic.inference import evaluate as inference
    from semisonic.inference.report import show

    parser = _parser(
        "semisonic evaluate", "Evaluates a checkpoint on its test images, or on labeled ones of your own.", batch=256
    )
    parser.add_argument(
        "folder", type=Path, nargs="?", help="images of your own, one folder a class (default: the run's test images)"
    )
    parser.add_argument("--net", choices=("ema", "raw", "both"), default="both", help="which weights (default: both)")
    _data_options(parser, "")
    parser.add_argument("--out", type=Path, help="folder for evaluation.json and pictures of the confusion matrices")
    args = parser.parse_intermixed_args(argv)
    if args.folder is not None and (given := _data_given(args)):
        raise UserError([f"{name}: is for the run's own test images; leave it out with a folder" for name in given])
    load_plugins(args.plugin)
    if args.out:
        check_folder("--out", args.out, "an evaluation", "evaluation.json", "confusion-*.png")
        printed_beside()
    weights = ("ema", "raw") if args.net == "both" else (args.net,)
    if args.folder is None:
        with reading_all(args.verify_data):
            evaluated = inference.evaluate_checkpoint(
                args.checkpoint, weights, inference.Places(**_places(args)), args.batch
            )
    else:
        evaluated = inference.evaluate_folder(args.checkpoint, args.folder, weights, args.batch)
    for note in evaluated.notes:
        print(printable(note), file=sys.stderr)
    show(evaluated, RichConsole())
    if args.out:
        inference.write_evaluation(evaluated, args.out)
    return ExitCode.OK


def predict(argv: Sequence[str]) -> int:
    """The command, from its arguments to its exit code."""
    args = _predict_parser().parse_intermixed_args(argv)
    if args.pool + (args.images is not None) + (args.list is not None) != 1:
        raise UserError(
            "images: name a folder, an image, a CSV or an .npy file, or give --list or --pool; one of these"
        )
    if problems := _misplaced(args):
        raise UserError(problems)
    load_plugins(args.plugin)
    printed_beside()
    if args.pool:
        return _predict_pool(args)
    limits = Limits(args.max_file_mb or FILE_MB, args.max_pixels or PIXELS)
    wanted = Wanted(args.top or 5, args.views or 0, args.probabilities, args.logits, args.features)
    return run(
        Job(
            checkpoint=args.checkpoint, net=args.net, images=args.images, listed=args.list,
            out=args.out or Path("predictions.csv"), kind=args.format,
            wanted=wanted, batch=args.batch, rows=args.part or ROWS,
            reading=Reading(args.workers, limits), resume=args.resume,
        )
    )  # fmt: skip


def _predict_pool(args: Namespace) -> int:
    # What training needs takes 40 MB and a second, of which predictions of images have no use.
    from semisonic.inference.evaluate import Places
    from semisonic.inference.pool import check_output, predict_pool, write_pool

    if world_size() > 1:
        raise UserError("--pool: is for one process; start it without a launcher")
    out = args.out or Path("predictions.npy")
    check_output(out)
    with reading_all(args.verify_data):
        table = predict_pool(args.checkpoint, args.net, Places(**_places(args)), args.batch)
    write_pool(table, out)
    count, classes = table.probabilities.shape
    print(f"{count} x {classes} probabilities in {printable(out)}")
    return ExitCode.OK


def _predict_parser() -> Parser:
    parser = _parser("semisonic predict", PREDICT, batch=64)
    add = parser.add_argument
    add("images", type=Path, nargs="?", help="a folder (searched to any depth), an image, a CSV with a column "
        "path, or an .npy file of images [N, H, W, 3] or [N, H, W]")  # fmt: skip
    add("--list", type=Path, metavar="FILE", help="in place of these: the paths in a file, one a line; - reads them")
    add("--pool", action="store_true", help="in place of these: the run's unlabeled pool, in its order")
    add("--out", type=Path, help="a .csv or .parquet file, or a folder of parts (default: predictions.csv); with "
        "--pool an .npy or .safetensors file (default: predictions.npy)")  # fmt: skip
    add("--format", choices=("csv", "parquet"), help="of the parts in a folder (default: parquet)")
    add("--resume", action="store_true", help="go on with predictions that were stopped; begin where there are none")
    add("--net", choices=("ema", "raw"), default="ema", help="which weights (default: ema)")
    add("--top", type=positive, metavar="K", help="classes that are named, most probable first (default: 5)")
    add("--views", type=positive, metavar="K", help=f"the mean over K weak views of each image, up to {MOST_VIEWS:,}")
    add("--probabilities", action="store_true", help="a column for the probability of each class")
    add("--logits", action="store_true", help="a column for the logit of each class")
    add("--features", action="store_true", help="columns for what enters the network's last layer")
    add("--part", type=positive, metavar="N", help=f"images of a part, the most that a stop loses (default: {ROWS:,})")
    add(
        "--workers",
        type=positive,
        metavar="N",
        help="processes that read and check files; 1 = none (default: one per CPU)",
    )
    add("--max-file-mb", type=positive, metavar="N", help=f"larger files are left out (default: {FILE_MB:g} MB)")
    add("--max-pixels", type=positive, metavar="N", help=f"images of more pixels are left out (default: {PIXELS:,})")
    _data_options(parser, "--pool: ")
    return parser


def _misplaced(args: Namespace) -> list[str]:
    """Options that have no meaning beside the others."""
    if args.pool:
        given = [name for name in OF_IMAGES if getattr(args, name) not in (None, False)]
        return [f"--{name.replace('_', '-')}: is for images of your own; leave it out with --pool" for name in given]
    return [f"{name}: is for --pool; images of your own are read where you name them" for name in _data_given(args)]


def _parser(name: str, description: str, batch: int) -> Parser:
    parser = Parser(name, description=description)
    parser.add_argument("checkpoint", type=Path, help="a checkpoint, or a run's folder (its latest checkpoint)")
    parser.add_argument("--batch", type=positive, default=batch, help=f"images a forward (default: {batch})")
    parser.add_argument(
        "--plugin", action="append", default=[], metavar="FILE.py", help="a plug-in of the run's; may be repeated"
    )
    return parser


def _data_options(parser: Parser, when: str) -> None:
    for name, text in PLACES.items():
        option = f"--{name.replace('_', '-')}"
        parser.add_argument(option, type=Path, help=f"{when}where {text} now, if not where the run found it")
    parser.add_argument(
        "--verify-data", action="store_true", help=f"{when}read all of the run's image files again, unchanged ones too"
    )


def _data_given(args: Namespace) -> list[str]:
    given = [f"--{name.replace('_', '-')}" for name in PLACES if getattr(args, name) is not None]
    return given + ["--verify-data"] * args.verify_data


def _places(args: Namespace) -> dict[str, Path | None]:
    """By the names of the fields of `Places`."""
    return {name: getattr(args, name) for name in PLACES}
