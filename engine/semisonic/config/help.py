"""What --help and --list print."""

import inspect
import os
import sys
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from semisonic.text import name_of, printable

OPTIONS = {
    "--config FILE": "read fields from a YAML file, such as config.yaml of an earlier run",
    "--recipe NAME": "start from a recipe (--list shows them); default: the one named after the data set. Each "
    "algorithm changes it to its paper's settings",
    "--plugin FILE.py": "run a file that registers algorithms, networks, data sets, views, add-ons or recipes; may be "
    "repeated, or list files with commas. With --list or --help, what it adds is shown",
    "--resume": "continue the run in its folder from its latest checkpoint",
    "--extend": "with --resume and --steps N: go on to N steps in all, even where the schedule or a ramp depends on "
    "their number; the rest is planned anew, which config.yaml and summary.json note",
    "--verify-data": "read all image files again, also those whose size and times are as they were; with --resume they "
    "must be what the run began with",
    "--print-config": "print the resolved configuration and exit",
    "--plan": "run a few real steps, print memory, speed, hours and images of the whole run, and exit; writes nothing",
    "--list": "list recipes, algorithms, add-ons, data sets, models and augmentations, and exit; with --model "
    "'timm/PATTERN', such as 'timm/*dino*', timm's networks of this name and the tags of their weights",
    "--debug": "show a traceback for mistakes in the configuration too",
    "--help, -h": "show this; with --data NAME and --algorithm NAME their values and fields",
}
FORMS = """A field is given as --section.field VALUE. --data NAME is short for --data.name NAME, and so for algorithm,
model and optim. A switch is turned on by --switch and off by --no-switch; null means none. Command line beats file
beats recipe beats default: where the recipe of the data set, as the algorithm's paper changes it, has a value of its
own, it is shown. Fields with a * may be others when a run goes on with --resume."""


@contextmanager
def for_a_pipe() -> Iterator[None]:
    """A reader that has seen enough, such as `head`, is no error."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes once more at its end


@for_a_pipe()
def show_help(usage: str, args: Any, without: Sequence[str] = ()) -> int:
    """Options and every field with its type, value and meaning, for the recipe and the algorithm of a command line.

    args: the command line, taken apart. without: options that the command does not have.
    """
    from semisonic.algorithms.registry import BASELINE
    from semisonic.config.command_line import recipe_of
    from semisonic.config.effects import effects
    from semisonic.config.fields import algorithm_name, describe_fields, dotted, shown
    from semisonic.schema import Effect

    recipe, fields = recipe_of(args)
    algorithm = algorithm_name(fields or args.fields)
    chosen = {name: shown(value) for name, value in dotted(fields).items()}
    if algorithm == BASELINE:
        chosen.pop("baseline", None)  # it is its own
    width = min(Console().width, 110)
    print(f"{usage}\n\nOptions")
    for option, text in OPTIONS.items():
        if option not in without:
            _entry(option, text, width)
    print("\nFields\n" + textwrap.fill(" ".join(FORMS.split()), width, initial_indent="  ", subsequent_indent="  "))
    section = None
    free = {name for name, effect in effects(algorithm).items() if effect is Effect.FREE}
    for name, kind, default, text in describe_fields(algorithm):
        here = name.rpartition(".")[0]
        if here != section:
            section = here
            print(f"\n{section or 'run'}")
        value = f"Default: {default}." if default else ""
        if name in chosen and chosen[name] != default:
            value = f"Recipe {recipe}: {chosen[name] or 'none'}. {value}".rstrip()
        mark = " *" if name in free else ""
        _entry(f"--{name.replace('_', '-')} {kind}{mark}", f"{text} {value}".strip(), width)
    return 0


def _entry(head: str, text: str, width: int) -> None:
    print(textwrap.fill(head, width, initial_indent="  ", subsequent_indent="    ", break_long_words=False))
    print(textwrap.fill(text, width, initial_indent="      ", subsequent_indent="      ", break_long_words=False))


@for_a_pipe()
def show_lists(network: str | None = None) -> int:
    """Recipes, algorithms, add-ons, data sets, models and augmentations, a line each. network: a pattern
    `timm/PATTERN`: timm's networks of such a name instead. Raises `UserError` where there is none."""
    if network is not None and network.startswith("timm/"):
        return _show_timm(network)
    from semisonic.addons.registry import ADD_ONS
    from semisonic.algorithms.registry import ALGORITHMS
    from semisonic.data.sets.registry import data_sets
    from semisonic.data.views.registry import view_specs
    from semisonic.models.networks import models
    from semisonic.recipes import RECIPES

    def first_line(thing: object) -> str:
        return (inspect.getdoc(thing) or "").partition("\n")[0]

    named, others = {}, []
    for name, text in models().items():
        if text.startswith("torchvision's"):
            others.append(name)
        else:
            named[name] = text
    groups = {
        "Recipes (--recipe)": {name: first_line(recipe) for name, recipe in RECIPES.items()},
        "Algorithms (--algorithm)": {name: first_line(inspect.getmodule(kind)) for name, kind in ALGORITHMS.items()},
        "What they change of a recipe of CIFAR-10, CIFAR-100, SVHN and STL-10": {
            name: first_line(kind.paper_settings) for name, kind in ALGORITHMS.items()
        },
        "Add-ons (--addons.NAME.FIELD)": {name: first_line(inspect.getmodule(kind)) for name, kind in ADD_ONS.items()},
        "Data sets (--data)": data_sets(),
        "Models (--model)": named,
        "Augmentations (fields of an algorithm, such as --algorithm.strong usb)": view_specs(),
    }
    console = Console()
    for title, entries in groups.items():
        console.print(table(title, list(entries.items()), ("", "")), highlight=False, markup=False)
        if title.startswith("Models"):
            text = f"torchvision's, with random weights or those of model.weights: {', '.join(others)}"
            print(textwrap.fill(text, min(console.width, 110)))
        print()
    return 0


def _show_timm(pattern: str) -> int:
    from semisonic.models.timm_nets import timm_networks

    found = timm_networks(pattern)
    rows = [(name, " ".join(tags) or "no weights published") for name, tags in found.items()]
    columns = ("model.name", "weights, as model.name NAME.TAG")
    Console().print(table(f"timm's networks: {len(rows)}", rows, columns), highlight=False, markup=False)
    return 0


def table(title: str, rows: Sequence[Sequence[str]], columns: Sequence[str]) -> Group:
    """A table of text, whatever that holds. Its title may be wider than it."""
    result = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, show_header=any(columns))
    for column in columns:
        result.add_column(Text(name_of(column)))
    for row in rows:
        result.add_row(*(Text(printable(cell)) for cell in row))
    return Group(*([Text(printable(title), "bold")] if title else []), result)
