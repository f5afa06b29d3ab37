"""A comparison of algorithms over seeds and label counts: from its command line to runs that are known to be possible.

An **entry** is what is compared: `ALGORITHM`, or `ALGORITHM:FIELD=VALUE:FIELD=VALUE` for a setting of it. Every entry,
number of labels and seed is a **job**, a normal run in OUT/runs/ENTRY-LABELS-seedS.
"""

import argparse
import os
import pickle
import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote, unquote

import torch

from semisonic.algorithms.registry import ALGORITHMS
from semisonic.config.arguments import Parser
from semisonic.config.command_line import parse_arguments, resolve
from semisonic.config.run_config import RunConfig
from semisonic.cpus import usable_cpus
from semisonic.distributed.variables import check_variables, world_size
from semisonic.plugins import load_plugins, plugin_files
from semisonic.records.yaml_text import read_yaml
from semisonic.runs.continuing import check_same
from semisonic.runs.run_folder import check_resumable, continued, read_status
from semisonic.schema import ExitCode, UserError

OWN = {
    "out": "--out", "seed": "--seeds", "algorithm": "--algorithms", "algorithm.name": "--algorithms",
    "data.labels": "--labels", "baseline": "--algorithms supervised,...",
}  # fmt: skip
"""Fields of a run that the comparison sets itself, and by which option."""
SCRIPT = "compare.py"
"""Of launch/: what help and mistakes call the command where it was started by that."""

State = Literal["new", "stopped", "finished", "diverged"]


@dataclass(frozen=True)
class Entry:
    """An algorithm with the fields (dotted) that make it this entry; `name` is how the command line writes it."""

    name: str
    algorithm: str
    fields: dict[str, str]

    @property
    def label(self) -> str:
        return label(self.name)


def label(name: str) -> str:
    """How an entry is called where people read it: policy-mixmatch (policy=fixed, threshold=0.9)."""
    algorithm, *fields = name.split(":")
    return f"{algorithm} ({', '.join(fields)})" if fields else algorithm


@dataclass(frozen=True)
class Job:
    """One run: `cfg` as the command line `argv` of launch/train.py gives it."""

    entry: Entry
    labels: str
    """Number of labeled images, or all."""
    seed: int
    argv: tuple[str, ...]
    cfg: RunConfig

    @property
    def folder(self) -> Path:
        return self.cfg.run_folder

    def __reduce__(self) -> tuple[Any, ...]:
        fields = (self.entry, self.labels, self.seed, self.argv, self.cfg)
        return _arrived, (plugin_files(self.argv), pickle.dumps(fields))


def _arrived(plugins: Sequence[str], fields: bytes) -> Job:
    """A job in another process, which has run none of its plug-ins: the configuration may be of classes of theirs."""
    load_plugins(plugins)
    return Job(*pickle.loads(fields))


@dataclass(frozen=True)
class Comparison:
    """What a command line asks for."""

    out: Path
    jobs: list[Job]
    """All of them, of every share."""
    mine: list[Job]
    """Those of this share, in the order in which they start."""
    processes: int
    gpus: tuple[str, ...]
    """CUDA_VISIBLE_DEVICES of the runs, round robin; empty on the CPU."""
    report_only: bool = False


def folder_name(entry: str, labels: str, seed: int) -> str:
    """Name of a run's folder; `parse_folder` reads it back."""
    return f"{quote(entry, safe='=(),:').replace(':', '+')}-{labels}-seed{seed}"


def parse_folder(name: str) -> tuple[str, str, int] | None:
    """(entry, labels, seed) of a run's folder, or None where it is no run of a comparison."""
    match = re.fullmatch(r"(.+)-(\d+|all|\d+to\d+)-seed(\d+)", name)
    if match is None:
        return None
    return unquote(match[1].replace("+", ":")), match[2], int(match[3])


def parser() -> argparse.ArgumentParser:
    """Options of `semisonic compare`; whatever else stands on its command line is for every run."""
    result = Parser(
        SCRIPT if Path(sys.argv[0]).name == SCRIPT else "semisonic compare",
        description="Trains several algorithms over seeds and label counts and compares them. The same command again "
        "continues: finished runs are kept, stopped ones resumed.",
        epilog="All other options are fields of semisonic train for every run, such as --data digits --steps 400. "
        "Writes OUT/compare.html, compare.csv, runs.csv, and each run into OUT/runs.",
        allow_abbrev=False,
    )  # fmt: skip
    add = result.add_argument
    add("--algorithms", metavar="A,B:FIELD=VALUE", help="entries, such as supervised,fixmatch:threshold=0.8; a "
        "field without a dot is one of the algorithm, or else of the run")  # fmt: skip
    add("--seeds", default="0", metavar="0,1,2", help="default: 0")
    add("--labels", metavar="40,all", help="numbers of labeled images; default: the recipe's")
    add("--out", type=Path, default=Path("runs/compare"), help="default: runs/compare")
    add("--set", action="append", default=[], metavar="NAME.FIELD=VALUE", dest="settings", help="a field of all "
        "entries of an algorithm, or of one, such as mixmatch.batch.unlabeled_ratio=1; may be repeated")  # fmt: skip
    add(
        "--settings", type=Path, metavar="FILE", dest="file", help="the same from YAML: NAME: {section: {field: value}}"
    )
    add("--processes", type=int, metavar="N", help="runs at a time; default: one a GPU, or one a CPU core")
    add(
        "--share",
        default="1/1",
        metavar="K/N",
        help="do the K-th of N parts of the runs: N machines, one shared folder",
    )
    add("--report-only", action="store_true", help="make the report of what is in OUT, and run nothing")
    return result


def parse(argv: Sequence[str]) -> Comparison:
    """The comparison that a command line asks for, every run of which is possible as far as can be seen without images.

    Raises `UserError` with every mistake of every run; nothing has been written then.
    """
    args, fields = parser().parse_known_args(argv)
    load_plugins(plugin_files(fields))  # entries may be of what they register
    if args.report_only and not args.algorithms:
        return Comparison(args.out, [], [], 1, (), report_only=True)
    problems: list[str] = []
    if world_size() > 1:
        problems.append("compare.py starts its processes itself; call it with python, not with a launcher")
    else:
        check_variables()
    problems += field_problems(fields)
    entries, more = parse_entries(args.algorithms or "")
    problems += more
    seeds, more = numbers("--seeds", args.seeds)
    problems += more
    labels, more = numbers("--labels", args.labels, ("all",)) if args.labels is not None else ([""], [])
    problems += more
    settings, more = read_settings(args.settings, args.file, entries)
    problems += more
    share, more = parse_share(args.share)
    problems += more
    if args.processes is not None and args.processes < 1:
        problems.append(f"--processes: {args.processes}; give 1 or more")
    if problems:
        raise UserError(problems)
    plain = [
        (entry, count, int(seed), run_arguments(fields, settings, entry, count))
        for seed in seeds
        for count in labels
        for entry in entries
    ]
    cfg = first_config([arguments for *_, arguments in plain])
    gpus = visible_gpus() if cfg.torch_device == "cuda" else ()
    cores = usable_cpus()
    processes = min(args.processes or len(gpus) or cores, len(plain))
    threads = max(1, cores // processes)
    jobs = make_jobs(plain, args.out, threads)
    if not args.report_only:
        check_folders(jobs)
    mine = [job for index, job in enumerate(jobs) if owner(index, len(entries), share[1]) == share[0] - 1]
    return Comparison(args.out, jobs, mine, processes, gpus, args.report_only)


def field_problems(fields: Sequence[str]) -> list[str]:
    """What speaks against giving these options to every run."""
    args, problems = parse_arguments(fields)
    flags = ("resume", "extend", "help", "list", "print_config", "plan")
    problems += [f"--{name.replace('_', '-')}: is for semisonic train" for name in flags if getattr(args, name)]
    return problems + [f"--{name}: is set by {OWN[name]}" for name in args.fields if name in OWN]


def parse_entries(text: str) -> tuple[list[Entry], list[str]]:
    """Entries separated by commas outside of parentheses, and mistakes in them."""
    names = [name.strip() for name in re.split(r",(?![^()]*\))", text) if name.strip()]
    if not names:
        return [], ["--algorithms: name some, such as supervised,fixmatch"]
    entries, problems = [], []
    for name in dict.fromkeys(names):
        algorithm, *parts = name.split(":")
        if algorithm not in ALGORITHMS:
            problems.append(f"--algorithms: {algorithm!r} is unknown; any of {', '.join(ALGORITHMS)}")
            continue
        fields = {}
        for part in parts:
            field, found, value = part.partition("=")
            if not found or not field:
                problems.append(f"--algorithms: {name}: {part!r} is not FIELD=VALUE")
            fields[dotted(algorithm, field)] = value
        problems += [f"--algorithms: {name}: {field} is set by {OWN[field]}" for field in fields if field in OWN]
        entries.append(Entry(name, algorithm, fields))
    if len(set(names)) < len(names):
        problems.append("--algorithms: the same entry twice")
    return entries, problems


def dotted(algorithm: str, field: str) -> str:
    """A field as the configuration names it; one without a dot is the algorithm's, or else the run's.

    One of neither is taken for the algorithm's, so that those of similar names are offered.
    """
    field = field.strip().replace("-", "_")
    own, other = ALGORITHMS[algorithm].Config.model_fields, {*RunConfig.model_fields, "recipe", "config"}
    return f"algorithm.{field}" if "." not in field and (field in own or field not in other) else field


def numbers(option: str, text: str, words: Sequence[str] = ()) -> tuple[list[str], list[str]]:
    """Comma-separated whole numbers, or certain words, without repetition."""
    values = [value.strip() for value in text.split(",") if value.strip()]
    wrong = [value for value in values if not value.isdecimal() and value not in words]
    values = [str(int(value)) if value.isdecimal() else value for value in values]
    if wrong or not values or len(set(values)) < len(values):
        also = f", or {' or '.join(words)}" if words else ""
        return [], [f"{option}: {text!r}; give different whole numbers separated by commas{also}"]
    return values, []


def parse_share(text: str) -> tuple[tuple[int, int], list[str]]:
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if match and 1 <= int(match[1]) <= int(match[2]):
        return (int(match[1]), int(match[2])), []
    return (1, 1), [f"--share: {text!r} is not K/N with 1 <= K <= N"]


def owner(index: int, entries: int, shares: int) -> int:
    """The share that does a job: every share gets each entry about equally often, whatever the entries cost."""
    return (index % entries + index // entries) % shares


def read_settings(
    assignments: Iterable[str], file: Path | None, entries: Sequence[Entry]
) -> tuple[dict[str, dict[str, str]], list[str]]:
    """Fields by the name of the algorithm or entry that they are for; those of the command line beat the file's."""
    known = {entry.name: entry.algorithm for entry in entries} | {entry.algorithm: entry.algorithm for entry in entries}
    settings: dict[str, dict[str, str]] = {}
    problems: list[str] = []
    for name, fields in _read_yaml(file, problems).items():
        if name not in known:
            problems.append(f"--settings {file}: {name!r} is none of {', '.join(known)}")
        elif not isinstance(fields, dict):
            problems.append(f"--settings {file}: {name}: expected sections and fields")
        else:
            settings[name] = {dotted(known[name], field): value for field, value in flatten(fields).items()}
    for text in assignments:
        # The longest name: an entry's own may hold dots and equals signs, and begins with its algorithm's.
        name = max((name for name in known if text.startswith(f"{name}.")), key=len, default="")
        field, found, value = text[len(name) + 1 :].partition("=")
        if not name or not field or not found:
            problems.append(f"--set {text}: is not NAME.FIELD=VALUE with NAME one of {', '.join(known)}")
        else:
            settings.setdefault(name, {})[dotted(known[name], field)] = value
    for name, fields in settings.items():
        problems += [f"--set {name}.{field}: is set by {OWN[field]}" for field in fields if field in OWN]
    return settings, problems


def _read_yaml(file: Path | None, problems: list[str]) -> dict[str, Any]:
    if file is None:
        return {}
    try:
        content = read_yaml(file, f"--settings {file}", pipes=True)
    except UserError as error:
        problems += error.messages
    else:
        if isinstance(content, dict):
            return content
        problems.append(f"--settings {file}: expected NAME: {{field: value}}, found {type(content).__name__}")
    return {}


def flatten(fields: dict[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested fields as dotted ones, their values as a command line writes them."""
    result: dict[str, str] = {}
    for name, value in fields.items():
        if isinstance(value, dict):
            result |= flatten(value, f"{prefix}{name}.")
        elif isinstance(value, list):
            result[f"{prefix}{name}"] = ",".join(map(str, value))
        else:
            text = {None: "null", True: "true", False: "false"} if value is None or isinstance(value, bool) else {}
            result[f"{prefix}{name}"] = text.get(value, str(value))
    return result


def run_arguments(
    fields: Sequence[str], settings: dict[str, dict[str, str]], entry: Entry, labels: str
) -> tuple[str, ...]:
    """The command line of an entry's runs, but for seed, folder and threads. An entry's own fields win."""
    own = settings.get(entry.algorithm, {}) | settings.get(entry.name, {}) | entry.fields
    count = {"": [], "all": ["--data.labels=null"]}.get(labels, [f"--data.labels={labels}"])
    return (
        *fields, f"--algorithm={entry.algorithm}", *(f"--{name}={value}" for name, value in own.items()),
        *count, "--no-baseline",
    )  # fmt: skip


def first_config(arguments: Iterable[Sequence[str]]) -> RunConfig:
    """The first configuration that can be resolved, or the default: the device is that of all runs."""
    for argv in arguments:
        try:
            return resolve(argv)[1]
        except UserError:
            continue  # reported by `make_jobs`, with all others
    return RunConfig()


def make_jobs(plain: Sequence[tuple[Entry, str, int, tuple[str, ...]]], out: Path, threads: int) -> list[Job]:
    """Resolves and checks every run. Raises `UserError` with every mistake, and which entries make it."""
    jobs, wrong = [], dict[str, dict[str, None]]()
    names = {entry.name for entry, *_ in plain}
    for entry, labels, seed, arguments in plain:
        own = () if "threads" in parse_arguments(arguments)[0].fields else (f"--threads={threads}",)
        argv = (*arguments, *own, f"--seed={seed}")
        try:
            cfg = resolve(argv)[1]
        except UserError as error:
            for message in error.messages:
                wrong.setdefault(message, {})[entry.name] = None
            continue
        if cfg.data.test == "none":
            wrong.setdefault("data.test: runs are compared by their test images; give auto", {})[entry.name] = None
        if labels and cfg.data.labels_head is not None:
            both = "--labels: data.labels_head sets the labels of every class; leave one of the two out"
            wrong.setdefault(both, {})[entry.name] = None
        count = labels or cfg.data.labels_name
        folder = out / "runs" / folder_name(entry.name, count, seed)
        jobs.append(
            Job(entry, count, seed, (*argv, f"--out={folder}"), cfg.model_copy(update={"out": folder}))
        )  # fmt: skip
    if wrong:
        raise UserError(
            message if found.keys() == names else f"{', '.join(found)}: {message}" for message, found in wrong.items()
        )
    return jobs


def check_folders(jobs: Iterable[Job]) -> None:
    """Raises `UserError` with a line for every folder that another comparison, or something else, is in."""
    problems: dict[str, None] = {}
    for job in jobs:
        try:
            state_of(job)
        except UserError as error:
            problems |= dict.fromkeys(error.messages)
    if problems:
        raise UserError(problems)


def state_of(job: Job) -> State:
    """Where a job stands, by its folder. Touches nothing.

    diverged: it ended with a loss that was not finite, as it would again. Raises `UserError` where the folder holds a
    run of other settings, or no run.
    """
    folder = job.folder
    if not (folder / "config.yaml").is_file():
        check_resumable(job.cfg, resume=False)
        return "new"
    check_same(continued(job.cfg), folder)
    if (folder / "summary.json").is_file():
        return "finished"
    return "diverged" if read_status(folder).get("exit_code") == ExitCode.DIVERGED else "stopped"


def visible_gpus() -> tuple[str, ...]:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named:
        return tuple(part.strip() for part in named.split(",") if part.strip())
    return tuple(map(str, range(torch.cuda.device_count())))
