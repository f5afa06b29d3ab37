"""`semisonic study NAME` of a declared study: its options, its runs, its page."""

import math
import re
import shlex
import sys
from argparse import BooleanOptionalAction, Namespace, RawDescriptionHelpFormatter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rich.console import Console

from semisonic.checkpoint.atomic_files import write_text, writing
from semisonic.compare import jobs
from semisonic.compare.jobs import Comparison
from semisonic.compare.scheduler import compare
from semisonic.config.arguments import Parser
from semisonic.reporting.output import lasting
from semisonic.schema import ExitCode, UserError
from semisonic.studies.declaration import PRESETS, Study, preset_of
from semisonic.studies.plan import evened, load_study, plan, show
from semisonic.studies.record import record
from semisonic.studies.results import results_of
from semisonic.studies.stages import comparisons, is_stopped, ready, stages
from semisonic.text import dump_json, printable


@dataclass(frozen=True)
class Asked:
    """What a command line asks of a study."""

    study: Study
    """As it is trained."""
    comparisons: list[Comparison]
    """One a stage."""
    anew: Callable[[], list[Comparison]]
    """The same, once runs have ended that others start from."""
    out: Path
    rate: float | None
    rate_given: bool
    command: str

    @property
    def jobs(self) -> list[jobs.Job]:
        return [job for comparison in self.comparisons for job in comparison.jobs]


def parser(study: Study) -> Parser:
    presets = ", ".join(PRESETS)
    result = Parser(
        f"semisonic study {study.name}", allow_abbrev=False, formatter_class=RawDescriptionHelpFormatter,
        description=f"{study.question}\nTrains the study's settings over seeds and says what differs from its "
        f"baseline.\nWrites OUT/{study.name}.html and {study.name}.json, beside the files of a comparison.",
        epilog="All other options are fields of semisonic train for every run, such as --steps 100.\nThe list of runs "
        "and what they cost is printed before the first starts.\nThe same command again continues: finished runs are "
        "kept, stopped ones resumed.",
    )  # fmt: skip
    add = result.add_argument
    add(
        "--data", default="digits", metavar="NAME", help=f"with settings of their own: {presets} (default: %(default)s)"
    )
    add("--few", action=BooleanOptionalAction, default=None, help="the most important settings alone")
    add("--labels", metavar="N", help="labeled images in all, or all")
    add("--seeds", metavar="0,1,2", help="default: as many as the data have in the study")
    add("--out", type=Path, default=Path(f"runs/study-{study.name}"), help="default: %(default)s")
    add("--processes", metavar="N", help="runs at a time; default: one a GPU, or one a CPU core")
    add("--share", default="1/1", metavar="K/N", help="do the K-th of N parts of the runs")
    return with_plan(result)


def run(study: Study, argv: Sequence[str]) -> int:
    """The command, from its arguments to its exit code. Raises `UserError` with every mistake."""
    args, fields = parser(study).parse_known_args(argv)
    asked = ask(study, args, fields, argv)
    if not args.report_only:
        show(plan(asked.comparisons, asked.rate, asked.rate_given), study.question, wide_console())
    if args.plan:
        return ExitCode.OK
    code = run_stages(asked)
    report(asked)
    return code


def wide_console() -> Console:
    """Where plans are printed: in a file lines are as long as they need to be."""
    console = Console(file=lasting(sys.stdout), soft_wrap=True)
    if not console.is_terminal:
        console.width = 200
    return console


def run_stages(asked: Asked) -> int:
    """Runs the stages one after the other; returns the exit code of all. A run that failed holds up those alone that
    start from it."""
    codes = {compare(asked.comparisons[0])}
    for number in range(1, len(asked.comparisons)):
        if any(is_stopped(job) for job in asked.comparisons[number - 1].mine):
            break
        found = asked.anew()
        comparison, waiting = ready(found[number], [job for stage in found for job in stage.jobs])
        codes.add(compare(comparison))
        for line in waiting:
            print(f"error: {line}", file=sys.stderr)
            codes.add(ExitCode.STOPPED)
    return next((code for code in (ExitCode.ERROR, ExitCode.STOPPED) if code in codes), ExitCode.OK)


def ask(study: Study, args: Namespace, fields: Sequence[str], argv: Sequence[str]) -> Asked:
    """What a command line asks for, every run of which is possible as far as can be seen without images."""
    preset = preset_of(args.data)
    if preset.few if args.few is None else args.few:
        study = study.reduced()
    every = load_study(study, ("--data", args.data, *preset.fields, *study.fields, *fields))
    problems = own_problems(args) + [
        re.sub("set by --algorithms.*", "set by the study", problem) for problem in jobs.field_problems(every)
    ]
    if args.labels is not None and len(jobs.numbers("--labels", args.labels, ("all",))[0]) != 1:
        problems.append(f"--labels: {args.labels!r}; give one number, or all: a study is of runs with the same labels")
    if not study.factors:
        problems.append(f"--few: {study.name} has no short list for {args.data}; give --no-few for all of its settings")
    if problems:
        raise UserError(problems)
    labels = args.labels or preset.labels
    study = evened(study, every, labels)
    options = ["--seeds", args.seeds or preset.seeds, "--out", str(args.out), "--share", args.share]
    options += ["--labels", labels] if labels else []
    options += ["--processes", args.processes] if args.processes else []
    options += ["--report-only"] if args.report_only else []
    begin, *later = stages(study.entries())
    first = jobs.parse(["--algorithms", ",".join(entry.name for entry in begin), *options, *every])
    anew = partial(comparisons, first, later, every, labels, jobs.parse_share(args.share)[0])
    found = anew()
    jobs.check_folders(job for comparison in found for job in comparison.jobs)
    return Asked(study, found, anew, args.out, args.rate or preset.rate, args.rate is not None,
                 command_of(study.name, argv))  # fmt: skip


def own_problems(args: Namespace) -> list[str]:
    """Mistakes in the options of studies."""
    usable = args.rate is None or (args.rate > 0 and math.isfinite(args.rate))
    problems = [] if usable else [f"--rate: {args.rate:g}; give a number of more than 0"]
    if args.plan and args.report_only:
        problems.append("--plan: is for what is to be run, and --report-only runs nothing; leave one of the two out")
    return problems


def with_plan(result: Parser) -> Parser:
    """The options of a study's parser that are about its plan."""
    add = result.add_argument
    add("--rate", type=float, metavar="X", help="image passes that a run makes in a second, for the estimate of time")
    add("--plan", action="store_true", help="print the runs and what they cost, and run nothing")
    add("--report-only", action="store_true", help="make the page of what is in OUT, and run nothing")
    return result


def command_of(name: str, argv: Sequence[str]) -> str:
    """The command that makes all of a study's runs, as it is typed."""
    return shlex.join(["semisonic", "study", name, *(word for word in argv if word != "--report-only")])


def report(asked: Asked) -> None:
    """Writes and prints what the finished runs say."""
    found = results_of(asked.study, asked.jobs)
    if not any(result.errors for result in found.values()):
        return
    from semisonic.studies.study_page import page  # matplotlib

    content = record(asked.study, found, asked.jobs, asked.command)
    name = asked.study.name
    with writing(asked.out):
        write_text(asked.out / f"{name}.json", dump_json(content, indent=1) + "\n")
        write_text(asked.out / f"{name}.html", page(asked.study, found, content))
    for factor in content["factors"]:
        print(printable(factor["said"]))
    print(f"In {printable(asked.out / f'{name}.html')} and {name}.json")
