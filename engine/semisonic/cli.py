"""The command line of launch/train.py: parse, answer --help and its kin, run, and turn mistakes into exit codes."""

import os
import sys
from collections.abc import Sequence

from rich.console import Console as RichConsole
from rich.table import Table

from semisonic.schema import UserError

MAIN = int(os.environ.get("RANK", "0")) == 0


def main(argv: Sequence[str]) -> int:
    debug = "--debug" in argv
    try:
        return _main(argv)
    except UserError as error:
        if debug:
            raise
        from semisonic.run import EXIT_DIVERGED, EXIT_USER
        from semisonic.trainer import Diverged

        return report(error, EXIT_DIVERGED if isinstance(error, Diverged) else EXIT_USER)


def report(error: UserError, code: int = 2) -> int:
    """Prints one line per mistake, on the main process only."""
    if MAIN:
        for message in error.messages:
            print(f"error: {message}", file=sys.stderr)
    return code


def _main(argv: Sequence[str]) -> int:
    from semisonic.config import Invocation, parse_arguments, resolve

    quick, _ = parse_arguments(argv)
    if quick.help:
        return _help(quick.fields)
    if quick.list:
        return _list()
    args, cfg = resolve(argv)
    if args.print_config:
        print(cfg.dump(), end="")
        return 0
    from semisonic.run import execute

    return execute(Invocation(cfg, resume=args.resume, init=args.init, debug=args.debug))


def _table(title: str, rows: Sequence[Sequence[str]], columns: Sequence[str]) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold", no_wrap=column == "field")
    for row in rows:
        table.add_row(*row)
    return table


def _help(fields: dict[str, str]) -> int:
    from semisonic.config import OPTIONS, _algorithm_name, _expand_names, describe_fields

    console = RichConsole()
    console.print("Train a semi-supervised image classifier.\n", highlight=False)
    console.print("  accelerate launch launch/train.py [OPTIONS] [FIELDS]", highlight=False, markup=False)
    console.print("  torchrun --nproc_per_node 2 launch/train.py --device cpu [OPTIONS] [FIELDS]\n", markup=False)
    console.print(_table("Options", list(OPTIONS.items()), ("", "")))
    nested = {"algorithm": {"name": fields.get("algorithm.name", fields.get("algorithm", "fixmatch"))}}
    name = _algorithm_name(_expand_names(nested))
    rows = [("--" + field.replace("_", "-"), *about) for field, *about in describe_fields(name)]
    console.print()
    console.print(_table(f"Fields (algorithm {name})", rows, ("field", "type", "default", "")), markup=False)
    return 0


def _list() -> int:
    import inspect

    from semisonic.algorithms.registry import ALGORITHMS
    from semisonic.data.augment import RECIPES as VIEWS
    from semisonic.data.sources import data_sets
    from semisonic.models import models
    from semisonic.recipes import RECIPES

    def first_line(thing: object) -> str:
        return (inspect.getdoc(thing) or "").partition("\n")[0]

    algorithms = {name: first_line(inspect.getmodule(kind)) for name, kind in ALGORITHMS.items()}
    recipes = {name: first_line(recipe) for name, recipe in RECIPES.items()}
    groups = {
        "Recipes (--recipe)": recipes,
        "Algorithms (--algorithm)": algorithms,
        "Data sets (--data)": data_sets(),
        "Models (--model)": models(),
        "Augmentations (views of an algorithm)": VIEWS,
    }
    console = RichConsole()
    for title, entries in groups.items():
        console.print(_table(title, list(entries.items()), ("", "")), highlight=False, markup=False)
        console.print()
    return 0


def views(argv: Sequence[str]) -> int:
    """launch/views.py: a grid PNG for each augmentation and for each view of the configured algorithm."""
    from pathlib import Path

    from semisonic.config import resolve

    try:
        args, cfg = resolve(argv)
        if args.help:
            return _help(args.fields)
        from semisonic.algorithms.registry import ALGORITHMS
        from semisonic.data.augment import EXAMPLES
        from semisonic.data.sources import load
        from semisonic.data.splits import make_split
        from semisonic.gallery import save_views

        data = load(cfg.data)
        split = make_split(cfg.data, data.train.labels, len(data.classes), cfg.seed)
        wanted = ALGORITHMS[cfg.algorithm.name].views(cfg.algorithm)
        recipes = dict.fromkeys([*EXAMPLES, *wanted.labelled.values(), *wanted.unlabelled.values()])
        for file in save_views(cfg, data, split, list(recipes), cfg.out or Path("views")):
            print(file)
        return 0
    except UserError as error:
        return report(error)


def evaluate(argv: Sequence[str]) -> int:
    """launch/evaluate.py."""
    import argparse
    from pathlib import Path

    parser = argparse.ArgumentParser("evaluate.py", description="Evaluates a checkpoint on its data set's test images.")
    parser.add_argument("checkpoint", type=Path, help="a checkpoint, or a run's folder (its latest checkpoint)")
    parser.add_argument("--net", choices=("ema", "raw", "both"), default="both", help="which weights (default: both)")
    parser.add_argument("--root", type=Path, help="where the data set lies now, if not where the run found it")
    parser.add_argument("--batch", type=int, default=256, help="images a forward (default: 256)")
    parser.add_argument("--out", type=Path, help="folder for evaluation.json and pictures of the confusion matrices")
    args = parser.parse_args(argv)
    try:
        from semisonic.inference import evaluate_checkpoint, write_evaluation

        nets = ("ema", "raw") if args.net == "both" else (args.net,)
        results, data = evaluate_checkpoint(args.checkpoint, nets, args.root, args.batch)
        rows = [
            (net, f"{r.top1:.2f} %", f"{r.top5:.2f} %", f"{r.loss:.4f}") for net, r in results.items()
        ]  # fmt: skip
        console = RichConsole()
        console.print(_table(f"{len(data.test)} test images of {data.name}", rows, ("net", "top-1", "top-5", "loss")))
        per_class = [
            (name, *(f"{result.per_class[index]:.2f} %" for result in results.values()))
            for index, name in enumerate(data.classes)
        ]
        console.print(_table("Per class", per_class, ("class", *results)))
        if args.out:
            write_evaluation(results, data, args.out)
        return 0
    except UserError as error:
        return report(error)


def predict(argv: Sequence[str]) -> int:
    """launch/predict.py."""
    import argparse
    from pathlib import Path

    parser = argparse.ArgumentParser("predict.py", description="Predicts the classes of a folder of images.")
    parser.add_argument("checkpoint", type=Path, help="a checkpoint, or a run's folder (its latest checkpoint)")
    parser.add_argument("folder", type=Path, help="a folder of images (searched to any depth), or one image")
    parser.add_argument("--out", type=Path, default=Path("predictions.csv"), help="a .csv or .parquet file")
    parser.add_argument("--net", choices=("ema", "raw"), default="ema", help="which weights (default: ema)")
    parser.add_argument("--batch", type=int, default=64, help="images a forward (default: 64)")
    args = parser.parse_args(argv)
    try:
        from semisonic import inference

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
