"""The command lines under launch/: parse, answer --help and its kin, run, and turn mistakes into exit codes."""

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console as RichConsole

from semisonic.schema import UserError

MAIN = int(os.environ.get("RANK", "0")) == 0
AFTER_MAIN = 1.0
"""Seconds that the other ranks wait at a mistake: torchrun kills all once one ends, even the one that prints."""

TRAIN = """Train a semi-supervised image classifier.

  accelerate launch launch/train.py [OPTIONS] [FIELDS]
  torchrun --nproc_per_node 2 launch/train.py --device cpu [OPTIONS] [FIELDS]"""
PRETRAIN = """Pre-train a network on a pretext task, without labels: simclr, or --algorithm rotnet.
The labelled images train a linear probe on its features alone, whose accuracy the evaluations show.

  accelerate launch launch/pretrain.py [OPTIONS] [FIELDS]
  accelerate launch launch/train.py --init RUN --model NAME      # then train from its weights, with any algorithm"""
VIEWS = """Write pictures of all augmentations and batch kernels to --out (or views).
A row is an image, and its first column the image itself.

  python launch/views.py [--data NAME] [--out FOLDER] [FIELDS]"""


def main(argv: Sequence[str]) -> int:
    """launch/train.py."""
    return _guarded(argv, TRAIN)


def pretrain(argv: Sequence[str]) -> int:
    """launch/pretrain.py: launch/train.py for the pretext tasks."""
    return _guarded(argv, PRETRAIN, "simclr")


def _guarded(argv: Sequence[str], usage: str, pretext: str | None = None) -> int:
    try:
        return _main(argv, usage, pretext)
    except UserError as error:
        if "--debug" in argv:
            raise
        from semisonic.run import exit_code

        return report(error, exit_code(error))


def report(error: UserError, code: int = 2) -> int:
    """Prints one line per mistake, on the main process, or on every one that it happens to."""
    if MAIN or error.everywhere:
        for message in error.messages:
            print(f"error: {message}", file=sys.stderr)
    else:
        time.sleep(AFTER_MAIN)
    return code


def _main(argv: Sequence[str], usage: str, pretext: str | None) -> int:
    """`pretext`: the algorithm where none is named; others than pretext tasks are then refused."""
    from semisonic import answers
    from semisonic.commandline import Invocation, parse_arguments, resolve

    quick, _ = parse_arguments(argv)
    if quick.help:
        return answers.show_help(usage, {"algorithm": pretext, **quick.fields} if pretext else quick.fields)
    if quick.list:
        return answers.show_lists()
    args, cfg = resolve(argv, pretext)
    if pretext:
        _check_pretext(cfg.algorithm.name)
    if args.print_config:
        print(cfg.dump(), end="")
        return 0
    if args.plan:
        from semisonic.plan import plan

        return plan(Invocation(cfg, resume=args.resume))
    from semisonic.run import execute

    return execute(Invocation(cfg, resume=args.resume, debug=args.debug))


def _check_pretext(name: str) -> None:
    from semisonic.algorithms.pretext import Pretext
    from semisonic.algorithms.registry import ALGORITHMS

    tasks = [known for known, kind in ALGORITHMS.items() if issubclass(kind, Pretext)]
    if name not in tasks:
        raise UserError(f"algorithm.name: {name} is no pretext task; use {' or '.join(tasks)}, or launch/train.py")


def views(argv: Sequence[str]) -> int:
    """launch/views.py: a grid PNG for each augmentation, view of the configured algorithm, and kernel on batches."""
    from semisonic import answers
    from semisonic.commandline import FLAGS, parse_arguments, resolve

    others = [f"--{flag.replace('_', '-')}" for flag in FLAGS if flag not in ("help", "debug")]
    quick, _ = parse_arguments(argv)
    if quick.help:
        return answers.show_help(VIEWS, quick.fields, without=[*others, "--debug"])
    try:
        if found := [flag for flag in others if flag in argv]:
            raise UserError(f"{found[0]}: is for launch/train.py")
        cfg = resolve(argv)[1]
        from semisonic.batch_gallery import save_changes
        from semisonic.data.augment import EXAMPLES
        from semisonic.data.sources import load_data_set
        from semisonic.gallery import save_views

        data = load_data_set(cfg.data)
        wanted = cfg.algorithm_class.views(cfg.algorithm)
        recipes = dict.fromkeys([*EXAMPLES, *wanted.labelled.values(), *wanted.unlabelled.values()])
        folder = cfg.out or Path("views")
        for file in [*save_views(cfg, data, list(recipes), folder), *save_changes(cfg, data, folder)]:
            print(file)
        return 0
    except UserError as error:
        return report(error)


def compare(argv: Sequence[str]) -> int:
    """launch/compare.py: several algorithms, seeds and label counts, each a run of its own, and a report."""
    from semisonic.compare import parse
    from semisonic.compare_runs import compare as run

    try:
        return run(parse(argv))
    except UserError as error:
        return report(error)


def evaluate(argv: Sequence[str]) -> int:
    """launch/evaluate.py."""
    parser = _parser("evaluate.py", "Evaluates a checkpoint on its data set's test images.", batch=256)
    parser.add_argument("--net", choices=("ema", "raw", "both"), default="both", help="which weights (default: both)")
    parser.add_argument("--root", type=Path, help="where the data set lies now, if not where the run found it")
    parser.add_argument("--out", type=Path, help="folder for evaluation.json and pictures of the confusion matrices")
    args = parser.parse_args(argv)
    try:
        from semisonic.answers import table
        from semisonic.inference import evaluate_checkpoint, write_evaluation

        nets = ("ema", "raw") if args.net == "both" else (args.net,)
        results, data = evaluate_checkpoint(args.checkpoint, nets, args.root, args.batch)
        rows = [(net, f"{r.top1:.2f} %", f"{r.top5:.2f} %", f"{r.loss:.4f}") for net, r in results.items()]
        console = RichConsole()
        console.print(table(f"{len(data.test)} test images of {data.name}", rows, ("net", "top-1", "top-5", "loss")))
        per_class = [
            (name, *(f"{result.per_class[index]:.2f} %" for result in results.values()))
            for index, name in enumerate(data.classes)
        ]
        console.print(table("Per class", per_class, ("class", *results)))
        if args.out:
            write_evaluation(results, data, args.out)
        return 0
    except UserError as error:
        return report(error)


def predict(argv: Sequence[str]) -> int:
    """launch/predict.py."""
    parser = _parser("predict.py", "Predicts the classes of a folder of images, or of a run's pool.", batch=64)
    parser.add_argument("folder", type=Path, nargs="?", help="a folder of images (searched to any depth), or one image")
    parser.add_argument("--pool", action="store_true", help="in place of a folder: the run's unlabelled pool, in order")
    parser.add_argument("--root", type=Path, help="--pool: where the data set lies now, if not where the run found it")
    parser.add_argument(
        "--out", type=Path, help="default predictions.csv (or .parquet); with --pool predictions.npy (or .safetensors)"
    )
    parser.add_argument("--net", choices=("ema", "raw"), default="ema", help="which weights (default: ema)")
    args = parser.parse_intermixed_args(argv)
    try:
        from semisonic import inference

        if args.pool == (args.folder is not None):
            raise UserError("--pool: name a folder of images or give --pool, one of the two")
        if args.pool:
            out = args.out or Path("predictions.npy")
            inference.check_output(out, (".npy", ".safetensors"))
            table = inference.predict_pool(args.checkpoint, args.net, args.root, args.batch)
            inference.write_pool(table, out)
            print(f"{len(table)} x {table.shape[1]} probabilities in {out}")
            return 0
        args.out = args.out or Path("predictions.csv")
        inference.check_output(args.out)
        classifier = inference.load_for(args.checkpoint, args.net)
        files, bad = inference.image_files(args.folder)
        for line in bad:
            print(f"left out: {line}", file=sys.stderr)
        predictions = list(inference.predict(classifier, files, args.batch))
        inference.write_predictions(predictions, args.out)
        print(f"{len(predictions)} predictions in {args.out}" + (f"; {len(bad)} files left out" if bad else ""))
        return 0
    except UserError as error:
        return report(error)


def _parser(name: str, description: str, batch: int) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(name, description=description)
    parser.add_argument("checkpoint", type=Path, help="a checkpoint, or a run's folder (its latest checkpoint)")
    parser.add_argument("--batch", type=_positive, default=batch, help=f"images a forward (default: {batch})")
    return parser


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)
