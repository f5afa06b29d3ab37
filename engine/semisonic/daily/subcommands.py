"""The sub-commands of `semisonic daily`: a row each, with its options, and the module whose `run` does it."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from semisonic.config.arguments import Parser, positive

LONGEST_WHO = 100
"""Characters of a person's name."""
FORMATS = ("csv", "parquet", "tree", "label-studio")
CLASS_CHANGES = ("list", "add", "rename", "merge", "split", "retire")
HOW = ("typical", "farthest", "random", "least-sure")
"""Ways to choose the images that are to be labeled before a training."""


class SubCommand(NamedTuple):
    """What one sub-command is, without its code: that is imported when it runs."""

    about: str
    """One line, for the list of all."""
    module: str
    """Has `run(project, args) -> int`, or a function named after a colon: returns the exit code. `args` are the options
    below, by their names."""
    options: Callable[[Parser], None]
    example: str
    """Arguments after the sub-command's name."""
    more: str = ""
    """What its --help says below the line."""
    ranks: bool = False
    """Whether accelerate or torchrun may start it."""
    fields: bool = False
    """Whether it takes the fields of semisonic train, which `args.fields` holds as they were typed."""


def person(text: str) -> str:
    """The name of who labels: printable, not empty and not longer than a line."""
    if not text.strip() or not text.isprintable() or len(text) > LONGEST_WHO:
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is no name; give 1 to {LONGEST_WHO} printable characters")
    return text.strip()


def share(text: str) -> float:
    """A share of what is right: between 0 and 1."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is no share; give a number between 0 and 1, such as 0.98")
    return value


def port(text: str) -> int:
    """A port of this machine; 0 = any that is free."""
    if not text.isdecimal() or len(text) > 5 or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is no port; give a whole number up to 65535, or 0 for any")
    return int(text)


def listed(text: str) -> list[str]:
    """Names separated by commas."""
    names = [name.strip() for name in text.split(",")]
    if not all(names):
        raise argparse.ArgumentTypeError(f"{text[:40]!r} has an empty name; separate names by single commas")
    return names


def _who(parser: Parser) -> None:
    parser.add_argument("--who", metavar="NAME", type=person, help="who does this (default: your login name)")


def _nothing(parser: Parser) -> None:
    """Of a sub-command without options."""


def _init(parser: Parser) -> None:
    classes = parser.add_mutually_exclusive_group(required=True)
    classes.add_argument("--classes", metavar="A,B,...", type=listed, help="the classes, in the order of their numbers")
    classes.add_argument(
        "--classes-from", metavar="FOLDER", type=Path, help="its sub-folders, sorted by name, are the classes"
    )
    _who(parser)


def _add(parser: Parser) -> None:
    parser.add_argument(
        "source", metavar="FOLDER|CSV", type=Path,
        help="images of the day; a CSV has columns path and, if any are known, label; or a text with a path a line",
    )  # fmt: skip
    parser.add_argument(
        "--labels", choices=("none", "folders"), default="none",
        help="folders: the images lie in folders of their class, which a person gave (default: none)",
    )  # fmt: skip
    parser.add_argument(
        "--add-classes", action="store_true", help="labels of classes that the project has not add them"
    )
    _who(parser)


def _choose(parser: Parser) -> None:
    parser.add_argument("count", metavar="COUNT", type=positive, help="images to be labeled before the training")
    parser.add_argument("--how", choices=HOW, help="default: typical on day 1, then farthest")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the draw (default: 0)")


def _page(parser: Parser) -> None:
    parser.add_argument("--port", type=port, default=8765, help="default: 8765; 0 = any that is free")
    parser.add_argument("--open", action="store_true", help="open the page in a browser at once")
    _who(parser)


def _train(parser: Parser) -> None:
    parser.add_argument(
        "--folds", type=positive, metavar="N", help="also train N networks, each without an Nth of the labels"
    )
    parser.add_argument("--warm", action="store_true", help="start from the newest network in place of a fresh one")
    parser.add_argument("--again", action="store_true", help="train anew, also where nothing has changed")
    parser.add_argument(
        "--without-missing", action="store_true", help="leave out labeled images whose files are gone or changed"
    )
    parser.add_argument("--verify-data", action="store_true", help="read every image file again, unchanged ones too")


def _label(parser: Parser) -> None:
    parser.add_argument(
        "--days", choices=("all", "newest"), default="all", help="whose images are labeled; others then have no label"
    )
    parser.add_argument(
        "--suspicious", type=positive, metavar="N",
        help="the most suspicious labels that are queued (default: looks.suspicious in project.yaml)",
    )  # fmt: skip
    parser.add_argument(
        "--workers", type=positive, metavar="N", help="processes that read files; 1 = none (default: one per CPU)"
    )


def _accept(parser: Parser) -> None:
    parser.add_argument(
        "--at-least", type=share, default=0.98, metavar="SHARE",
        help="of the accepted labels that must be right, by the audit's lower bound (default: 0.98)",
    )  # fmt: skip
    parser.add_argument(
        "--draw", action="store_true", help="where the audit is too small, put as many further images into its queue"
    )
    _who(parser)


def _export(parser: Parser) -> None:
    parser.add_argument("--to", choices=FORMATS, required=True, help="the format")
    parser.add_argument("--out", type=Path, metavar="PATH", help="a new file or folder (default: PROJECT/export/...)")
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--at-least", type=share, metavar="SHARE",
        help="labels of people, and auto-labels of which so many are right, as for accept",
    )  # fmt: skip
    which.add_argument("--states", type=listed, metavar="A,B,...", help="such as given,reviewed (default: all labeled)")
    parser.add_argument("--days", type=listed, metavar="N,N-N,...", help="images of these days (default: all)")
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--links", action="store_true", help="a tree of links to the images (the default)")
    kind.add_argument("--copies", action="store_true", help="a tree of copies of the images")


def _import(parser: Parser) -> None:
    parser.add_argument("source", metavar="FILE|FOLDER", type=Path, help="a .csv, .parquet or .json, or a tree")
    parser.add_argument("--who", metavar="NAME", type=person, required=True, help="who gave these labels")
    parser.add_argument("--overrule", action="store_true", help="also where a person's label here is newer")
    parser.add_argument("--partly", action="store_true", help="import what can be, in spite of mistakes")


def _next(parser: Parser) -> None:
    parser.add_argument("--dry", action="store_true", help="only say what is to be done")


def _status(parser: Parser) -> None:
    parser.add_argument("--json", action="store_true", help="print one JSON object in place of tables")


def _check(parser: Parser) -> None:
    parser.add_argument("--hashes", action="store_true", help="also read every image and compare its content")


def _undo(parser: Parser) -> None:
    parser.add_argument("events", nargs="*", metavar="EVENT", type=positive, help="numbers of events")
    parser.add_argument("--last", type=positive, metavar="N", help="the last N changes of --who, in place of numbers")
    _who(parser)


def _classes(parser: Parser) -> None:
    parser.add_argument("what", choices=CLASS_CHANGES, metavar="|".join(CLASS_CHANGES), help="what to do")
    parser.add_argument("names", nargs="*", default=[], metavar="NAME", help="see the examples below")
    _who(parser)


def _backup(parser: Parser) -> None:
    parser.add_argument("file", metavar="FILE", type=Path, help="a new file for a copy of labels.db")


NEW = "init"
"""The sub-command that makes the project which all others open."""
SUBCOMMANDS: dict[str, SubCommand] = {
    NEW: SubCommand(
        "Begins a project in a new folder.", "semisonic.daily.beginning", _init,
        "--classes cat,dog,horse --data.size 96",
        "Fields of semisonic train are kept in project.yaml and hold for every training: --data.size, the side of the\n"
        "images that the network sees, --model, --steps, ... Those that a project decides itself are refused.",
        fields=True,
    ),
    "add": SubCommand(
        "Takes new images into the current day; known ones, by content, are skipped.", "semisonic.daily.adding", _add,
        "camera/2026-11-29",
        "Images stay where they are. Once a training of the day has begun, the next images open another day.",
    ),
    "choose": SubCommand(
        "Fills the queue of images that are to be labeled before the training.", "semisonic.daily.choosing", _choose,
        "40", "On day 1 typical and diverse images, later the farthest from all earlier days, where a new class shows.",
        ranks=True,
    ),
    "page": SubCommand(
        "Serves the page on which people label and review.", "semisonic.daily.page", _page, "--port 8765",
        "Prints the address to open in a browser here. Every label is stored when it is given; Ctrl-C ends the page.",
    ),
    "train": SubCommand(
        "Trains on the labels that people gave or confirmed, and on all other images without labels.",
        "semisonic.daily.training", _train, "--steps 2000",
        "A normal run in PROJECT/runs/day-003. Given fields hold for this training alone; a stopped one is continued.",
        ranks=True, fields=True,
    ),
    "label": SubCommand(
        "Labels all other images with the newest network, and fills the queues of the day.",
        "semisonic.daily.labeling.command", _label, "",
        "Auto-labels are never trained on. A stopped labeling goes on where it was.",
        ranks=True,
    ),
    "relabel": SubCommand(
        "Labels the images of all days again with the newest network: the same as label.",
        "semisonic.daily.labeling.command", _label, "", ranks=True,
    ),
    "accept": SubCommand(
        "Marks the surest auto-labels as accepted, as many as the audit backs.", "semisonic.daily.accepting", _accept,
        "--at-least 0.98", "Refused, with the number of further images to check, where the audit is too small.",
    ),
    "report": SubCommand("Writes the day's report, HTML and JSON.", "semisonic.daily.report.command", _nothing, ""),
    "export": SubCommand(
        "Writes the labels as CSV, Parquet, a folder of each class, or JSON of Label Studio.",
        "semisonic.daily.exchange.exporting", _export, "--to csv --states given,reviewed,accepted",
        "Names the state, author, time, run and certainty of each label. States: given, reviewed, rejected and unsure\n"
        "are people's, auto and accepted the network's.",
    ),
    "import": SubCommand(
        "Takes labels that were made or changed elsewhere.", "semisonic.daily.exchange.importing", _import,
        "labels.csv --who ann",
        "Images are found by their path, or else by their content. Mistakes are told together, and nothing is\n"
        "imported then unless --partly is given.",
    ),
    "next": SubCommand(
        "Does what can be done without a person, then says what a person must do, and where.",
        "semisonic.daily.advance", _next, "",
    ),
    "status": SubCommand(
        "Shows days, labels, queues, runs and audits.", "semisonic.daily.overview", _status, "",
    ),
    "check": SubCommand(
        "Checks the store against itself and against the images.", "semisonic.daily.upkeep:check", _check, "--hashes",
        "Exit code 1 where something is wrong.",
    ),
    "undo": SubCommand(
        "Takes back changes by the numbers of their events, or the last ones of a person.",
        "semisonic.daily.upkeep:undo", _undo, "--last 3",
        "Nothing is deleted: an undo is an event, too, and can be undone.",
    ),
    "classes": SubCommand(
        "Lists the classes, adds, renames, merges, splits or retires one.",
        "semisonic.daily.upkeep:classes", _classes, "list",
        "  classes list                     with their numbers of labels\n"
        "  classes add bird\n"
        "  classes rename cat kitten        its labels go with it\n"
        "  classes merge kitten cat         the labels of kitten become cat's\n"
        "  classes split cat tabby siamese  its labels are to be given anew, as one of the others\n"
        "  classes retire horse             no longer offered; its labels are to be given anew\n"
        "Affected labels are queued for a second look. All of it can be undone.",
    ),
    "backup": SubCommand(
        "Copies the store to a new file, consistently, while the page runs.", "semisonic.daily.upkeep:backup", _backup,
        "/backups/labels-day-003.db",
    ),
}  # fmt: skip
