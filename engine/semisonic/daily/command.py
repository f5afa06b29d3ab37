"""`semisonic daily`: which sub-command is meant, its options, and the project that it is for."""

import argparse
import getpass
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from semisonic.config.arguments import Parser
from semisonic.daily.subcommands import LONGEST_WHO, NEW, SUBCOMMANDS, SubCommand
from semisonic.distributed.variables import check_variables, world_size
from semisonic.schema import UserError

ABOUT = """Label a little, train, have the rest labeled, find what is wrong, and go on tomorrow.

A project is a folder with the labels of people, a run a day, and what the newest network says of all other images."""
MORE = """A first day, in a terminal and a browser:
  semisonic daily my-project init --classes cat,dog,horse --data.size 96
  semisonic daily my-project add camera/monday
  semisonic daily my-project next        # says what to do; again whenever that is done

semisonic daily PROJECT COMMAND --help explains one command."""


def main(argv: Sequence[str]) -> int:
    """Runs a sub-command; returns the process's exit code. Raises `UserError`."""
    project, name, rest = parse(argv)
    command = SUBCOMMANDS[name]
    args = parse_options(name, rest)
    _check_ranks(name, command)
    if name == NEW:
        from semisonic.daily.beginning import begin

        return begin(project, args)
    from semisonic.daily.project import Project

    module, _, function = command.module.partition(":")
    code: int = getattr(import_module(module), function or "run")(Project.open(project), args)
    return code


def parse(argv: Sequence[str]) -> tuple[Path, str, list[str]]:
    """The project's folder, the sub-command and the rest of a command line."""
    names = "\n".join(f"  {name:<8}  {command.about}" for name, command in SUBCOMMANDS.items())
    parser = Parser(
        "semisonic daily", description=ABOUT, usage="semisonic daily PROJECT COMMAND [OPTIONS]", allow_abbrev=False,
        epilog=f"commands:\n{names}\n\n{MORE}", formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("folder", metavar="PROJECT", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("command", metavar="COMMAND", choices=SUBCOMMANDS, help=argparse.SUPPRESS)
    rest = parser.add_argument("rest", metavar="OPTIONS", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    rest.required = False  # no message names it as missing
    args = parser.parse_args(argv)
    return args.folder, args.command, args.rest


def parse_options(name: str, argv: Sequence[str]) -> argparse.Namespace:
    """The options of a sub-command, with `command`, its name, `who`, `fields` and `debug`. Raises `UserError`."""
    command = SUBCOMMANDS[name]
    parser = parser_of(name)
    args, fields = parser.parse_known_args([token for token in argv if token != "--debug"])
    if fields and not command.fields:
        parser.error(f"unrecognized arguments: {' '.join(fields)}")
    args.command, args.fields, args.debug = name, fields, "--debug" in argv
    if getattr(args, "who", None) is None:
        args.who = login_name()
    return args


def parser_of(name: str) -> Parser:
    command = SUBCOMMANDS[name]
    begin = f"semisonic daily PROJECT {name}"
    fields = " [FIELDS of semisonic train]" if command.fields else ""
    example = f"example:\n  {begin} {command.example}".replace("PROJECT", "my-project").rstrip()
    parser = Parser(
        begin, description=command.about, epilog="\n\n".join(filter(None, [command.more, example])),
        allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    command.options(parser)
    if fields:
        parser.usage = parser.format_usage().removeprefix("usage: ").rstrip() + fields
    return parser


def login_name() -> str:
    """Who does something, where no name is given: printable, as the store wants it."""
    try:
        name = getpass.getuser().strip()
    except (KeyError, OSError):  # a user without a name, as in some containers
        return "unknown"
    return name[:LONGEST_WHO] if name and name.isprintable() else "unknown"


def _check_ranks(name: str, command: SubCommand) -> None:
    """Raises `UserError` where several ranks run what one process does."""
    if command.ranks:
        check_variables()
    elif world_size() > 1:
        able = [other for other, row in SUBCOMMANDS.items() if row.ranks]
        raise UserError(f"{name}: runs in one process; accelerate and torchrun start {', '.join(able)} alone")
