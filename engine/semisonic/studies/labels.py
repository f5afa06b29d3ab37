"""How few labels suffice: runs over numbers of labels and ways to choose the images, and what their errors say.

The runs are those of a comparison: every way of choosing is an entry of it, `ALGORITHM:data.labels_from=WAY`.
"""

from argparse import RawDescriptionHelpFormatter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from semisonic.algorithms.registry import DEFAULT
from semisonic.checkpoint.atomic_files import write_text, writing
from semisonic.compare import jobs
from semisonic.compare.rows import discover
from semisonic.compare.scheduler import compare
from semisonic.config.arguments import Parser
from semisonic.config.command_line import resolve
from semisonic.data.sets.registry import DATA_SETS, load_data_set
from semisonic.schema import ExitCode, UserError
from semisonic.studies.declaration import preset_of
from semisonic.studies.plan import plan, show
from semisonic.studies.points import FIELD, WAYS, Point, points_of, record, sentences
from semisonic.studies.record import provenance
from semisonic.studies.running import command_of, own_problems, wide_console, with_plan
from semisonic.text import dump_json, printable

QUESTION = "How few labels suffice, and which images are to be labeled?"


def parser() -> Parser:
    result = Parser(
        "semisonic study labels", allow_abbrev=False, formatter_class=RawDescriptionHelpFormatter,
        description="How few labels suffice, and which images to label: trains over numbers of labels and ways to "
        "choose them.\nWrites OUT/labels.html and labels.json, beside the files of a comparison.",
        epilog="random: any images. balanced: as many of each class, which nobody can choose who has no labels yet.\n"
        "typical: typical and diverse ones by their pixels.\n\n"
        "All other options are fields of semisonic train for every run, such as --data digits --steps 400.\n"
        "The same command again continues: finished runs are kept, stopped ones resumed.\n\n"
        "  semisonic study labels --data digits --counts 1,2,4,10,25 --choose random,balanced,typical --seeds 0,1,2",
    )  # fmt: skip
    add = result.add_argument
    add("--counts", default="1,2,4,10,25", metavar="1,2,4", help="labels a class (default: %(default)s)")
    add("--choose", default=",".join(WAYS), metavar="A,B", help="ways to choose the images (default: %(default)s)")
    add("--algorithms", default=DEFAULT, metavar="A,B", help="default: %(default)s")
    add("--seeds", default="0,1,2", metavar="0,1,2", help="default: %(default)s")
    add("--within", type=float, default=1.0, metavar="X", help="points of error within which a number of labels is "
        "called enough (default: %(default)s)")  # fmt: skip
    add("--out", type=Path, default=Path("runs/study-labels"), help="default: %(default)s")
    add("--processes", metavar="N", help="runs at a time; default: one a GPU, or one a CPU core")
    add("--share", default="1/1", metavar="K/N", help="do the K-th of N parts of the runs")
    return with_plan(result)


def study(argv: Sequence[str]) -> int:
    """The command, from its arguments to its exit code. Raises `UserError` with every mistake."""
    args, fields = parser().parse_known_args(argv)
    ways = [way.strip() for way in args.choose.split(",") if way.strip()]
    problems = [f"--choose: {way!r} is not one of {', '.join(WAYS)}" for way in ways if way not in WAYS]
    if not ways or len(set(ways)) < len(ways):
        problems.append(f"--choose: {args.choose!r}; give different ones of {', '.join(WAYS)}")
    counts, more = jobs.numbers("--counts", args.counts)
    problems += more + (["--counts: 0 labels teach nothing; give 1 or more"] if "0" in counts else [])
    if not 0 <= args.within <= 100:
        problems.append(f"--within: {args.within:g}; give points from 0 to 100")
    problems += [f"--{field}: is set by --counts and --choose" for field in _own(fields)] + own_problems(args)
    names = [name.strip() for name in args.algorithms.split(",") if name.strip()]
    problems += [f"--algorithms: {name}: names alone; give fields as options" for name in names if ":" in name]
    if problems:
        raise UserError(problems)
    classes = _classes([*fields, f"--algorithm={names[0]}"] if names else fields)
    entries = ",".join(f"{name}:{FIELD}={way}" for name in names for way in ways)
    labels = ",".join(str(int(count) * classes) for count in sorted(counts, key=int))
    options = ["--algorithms", entries, "--labels", labels, "--seeds", args.seeds, "--out", str(args.out)]
    options += ["--share", args.share, *(["--processes", args.processes] if args.processes else [])]
    asked = jobs.parse([*options, *(["--report-only"] if args.report_only else []), *fields])
    if not args.report_only:
        rate = args.rate or preset_of(asked.jobs[0].cfg.data.name).rate
        show(plan([asked], rate, args.rate is not None), QUESTION, wide_console())
    if args.plan:
        return ExitCode.OK
    code = compare(asked)
    if points := points_of(discover(args.out)):
        about = {"question": QUESTION, **provenance(asked.jobs, command_of("labels", argv))}
        _report(args.out, points, args.within, classes, about)
    return code


def _own(fields: Sequence[str]) -> list[str]:
    """Options among the fields that the study sets itself."""
    given = {field.removeprefix("--").split("=")[0].replace("-", "_") for field in fields if field.startswith("--")}
    return sorted(given & {"data.labels", FIELD, "data.split", "labels"})


def _classes(fields: Sequence[str]) -> int:
    """How many classes the data have: by their name, or else by reading them."""
    cfg = resolve([*fields, f"--{FIELD}=random"])[1]
    known = DATA_SETS[cfg.data.name].classes
    return known if known is not None else len(load_data_set(cfg.data).classes)


def _report(out: Path, points: Sequence[Point], within: float, classes: int, about: dict[str, Any]) -> None:
    from semisonic.studies.labels_page import page  # matplotlib

    said = sentences(points, within, classes)
    with writing(out):
        write_text(out / "labels.json", dump_json(about | record(points, within, classes, said), indent=1) + "\n")
        write_text(out / "labels.html", page(points, said, classes))
    for line in said:
        print(printable(line))
    print(f"In {printable(out / 'labels.html')} and labels.json")
