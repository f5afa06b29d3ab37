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
    console.print("Train a semi-supervised image classifier.\n\n  accelerate launch launch/train.py [OPTIONS] [FIELDS]\n"
                  "  torchrun --nproc_per_node 2 launch/train.py --device cpu [OPTIONS] [FIELDS]\n", highlight=False)  # fmt: skip
    console.print(_table("Options", list(OPTIONS.items()), ("", "")))
    nested = {"algorithm": {"name": fields.get("algorithm.name", fields.get("algorithm", "fixmatch"))}}
    name = _algorithm_name(_expand_names(nested))
    rows = [(f"--{field}", kind, default, text) for field, kind, default, text in describe_fields(name)]
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
