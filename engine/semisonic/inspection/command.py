"""`semisonic inspect`: its arguments, what it prints, and its exit code."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from semisonic.config.arguments import Parser, check_new_file
from semisonic.config.renamed import announce
from semisonic.data.sets.base import DataConfig
from semisonic.inspection.survey import SAMPLE, Survey, survey
from semisonic.reporting.output import lasting
from semisonic.schema import ExitCode, UserError
from semisonic.text import dump_json, printable

ABOUT = """Shows what would be trained on: a folder of images or a CSV, in one table and, with --out, one contact sheet.
Writes nothing else, and nothing beside the images. All that is wrong is told together."""
MORE = """fields: those of data and --seed, as semisonic train takes them, such as
  --data.size 64           counts the images that would be enlarged
  --data.labels 400        shows what a run would draw of each class
  --data.test-root FOLDER  test images that lie elsewhere
  --data.root FOLDER       what the paths of a CSV are relative to
  --data.workers N         processes that read files (default: one per CPU)

Counts, sizes, colors, formats and copies are those of all files, of which only the first and last bytes are read, and
whole ones where two files may be equal. Pixels are looked at in a sample of each role (--sample), so a damaged file
outside of it shows only when a training decodes all. An image is nearly empty where the standard deviation of its
pixels is below 2 of 255 levels in every channel.

exit codes: 0 a training would take these images, 1 it would refuse them, 2 a mistake in the command, 130 Ctrl-C"""
ENDINGS = (".png", ".html")
OWN = ("--sample", "--out", "--json", "--help")
"""Options that are not those of a training."""
WIDTH = 120
"""Columns where there is no terminal."""


class Asked(NamedTuple):
    """What a command line asks for."""

    source: Path
    cfg: DataConfig
    seed: int
    sample: int | None
    """Images of each role that are decoded; None = all."""
    json: bool
    out: Path | None


def main(argv: Sequence[str]) -> int:
    """Runs the command; returns the process's exit code."""
    try:
        asked = parse(argv)
        seen = survey(asked.cfg, asked.seed, str(asked.source), asked.sample)
        if asked.out is not None:
            _write_sheet(seen, asked.cfg, asked.out)
    except KeyboardInterrupt:
        print("interrupted; nothing was written", file=lasting(sys.stderr))
        return ExitCode.INTERRUPTED
    if asked.json:
        print(dump_json(seen.found.as_json(), indent=1), file=lasting(sys.stdout))
    else:
        _show(seen, asked.out)
    return ExitCode.ERROR if seen.found.refused else ExitCode.OK


def parse(argv: Sequence[str]) -> Asked:
    """The command line taken apart. Raises `UserError` with every mistake in it, before any image is looked at."""
    own, tokens, problems = _apart(argv)
    parser = Parser(
        "semisonic inspect", description=ABOUT, epilog=MORE, allow_abbrev=False,
        usage="semisonic inspect FOLDER|CSV [OPTIONS] [FIELDS]", formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("source", metavar="FOLDER|CSV", type=Path, help="as --data.root or --data.csv of a training")
    parser.add_argument(
        "--sample", metavar="N|all", default=str(SAMPLE),
        help=f"images of each role that are decoded, spread over its list (default: {SAMPLE})",
    )  # fmt: skip
    parser.add_argument("--out", type=Path, metavar="FILE", help="a contact sheet as FILE.png or FILE.html, a new file")
    parser.add_argument("--json", action="store_true", help="print one JSON object, with all paths, in place of tables")
    args = parser.parse_args(own)
    source = args.source
    cfg, seed, wrong = _fields(source, tokens)
    sample, more = _sample(args.sample)
    problems += [*wrong, *more, *_source_problems(source), *_out_problems(args.out, source)]
    if problems:
        raise UserError(problems)
    return Asked(source, cfg, seed, sample, args.json, args.out)


def _apart(argv: Sequence[str]) -> tuple[list[str], list[str], list[str]]:
    """The command's own arguments, fields of a training with their values, and what is wrong with the others."""
    own, fields, problems, rest = [], [], [], list(argv)
    while rest:
        token = rest.pop(0)
        name = token.partition("=")[0]
        known = not token.startswith("--") or name in OWN
        alone = "=" in token or name.startswith("--no-") or name in ("--json", "--help") or not token.startswith("--")
        value = [rest.pop(0)] if not alone and rest and not rest[0].startswith("--") else []
        if known:
            own += [token, *value]
        elif name.startswith(("--data.", "--no-data.")) or name == "--seed":
            fields += [token, *value]
        else:
            problems.append(f"{name}: semisonic inspect takes {', '.join(OWN)}, --seed and the fields of data")
    return own, fields, problems


def _fields(source: Path, tokens: Sequence[str]) -> tuple[DataConfig, int, list[str]]:
    """The section `data` with its given fields, the seed, and what is wrong with them."""
    from semisonic.config.command_line import nested, parse_arguments
    from semisonic.config.validation import validated

    args, problems = parse_arguments(tokens)
    announce(args.notes)
    kind = "data.root" if source.is_dir() else "data.csv"
    if kind in args.fields:
        problems.append(f"--{kind}: is {source} already; give it once")
    if args.fields.get("data.name", "folder") != "folder":
        problems.append("--data.name: semisonic inspect is for images of your own; leave it out")
    fields, more = nested({**args.fields, "data.name": "folder", kind: str(source)})
    cfg, wrong = validated(fields, args.typed)
    problems += [*more, *wrong]
    given = {name: getattr(cfg.data, name) for name in fields["data"] if name in DataConfig.model_fields}
    return DataConfig(**given), cfg.seed, problems


def _sample(text: str) -> tuple[int | None, list[str]]:
    if text == "all":
        return None, []
    if not text.isdecimal() or len(text) > 9 or int(text) < 1:
        return None, [f"--sample: {text[:40]!r} is not valid; give a whole number above 0 and below 10^9, or all"]
    return int(text), []


def _source_problems(source: Path) -> list[str]:
    if source.is_dir() or source.is_file():
        return []
    if os.path.lexists(source) and source.exists():
        return [f"{source}: neither a folder of images nor a CSV file"]
    return [f"{source}: no such folder or CSV file"]


def _out_problems(out: Path | None, source: Path) -> list[str]:
    """What speaks against writing a contact sheet there."""
    if out is None:
        return []
    try:
        check_new_file("--out", out, ENDINGS)
    except UserError as error:
        return error.messages
    if source.is_dir() and out.resolve().is_relative_to(source.resolve()):
        return [f"--out {out}: lies among the images of {source}; name a file elsewhere"]
    return []


def _write_sheet(seen: Survey, cfg: DataConfig, out: Path) -> None:
    """Decodes the images on the sheet and writes it."""
    from semisonic.checkpoint.atomic_files import write_bytes
    from semisonic.inspection.contact import contact_sheet
    from semisonic.inspection.sheet_html import html
    from semisonic.inspection.sheet_png import png

    sheet = contact_sheet(seen, cfg)
    content = png(sheet) if out.suffix == ".png" else html(sheet).encode()
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(out, content)
    except OSError as error:
        raise UserError(f"--out {out}: cannot be written: {error.strerror or error}") from error


def _show(seen: Survey, out: Path | None) -> None:
    from rich.console import Console

    from semisonic.inspection.report import show

    console = Console(file=lasting(sys.stdout), highlight=False)
    if not console.is_terminal:
        console.width = max(console.width, WIDTH)
    show(seen.found, console)
    console.print()
    if out is None:
        console.print("A contact sheet of these images: --out FILE.png or FILE.html", markup=False)
    else:
        console.print(f"Contact sheet: {printable(out)}", markup=False, soft_wrap=True)
