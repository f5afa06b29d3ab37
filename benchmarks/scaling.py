"""How does a step scale over processes, what do they say to each other, and how long would it take on 512 GPUs?

    python benchmarks/scaling.py [OPTIONS] [FIELDS]
    python benchmarks/scaling.py --count small,wrn-28-2,resnet50     # only what is communicated, eager and compiled
    python benchmarks/scaling.py --project RESULT.json [--counts RESULT_OF_COUNT.json] [--latency-us ...]

For each number of processes (one GPU each, NCCL; without a GPU gloo on the CPU, one thread each) a group that trains
with the engine's own trainer waits in its process group while the others measure, so that a drift hits all alike:
  strong   the same global batch over more and more processes: what a user's run does
  weak     a global batch that grows with the processes
  shares   one process alone on 1, 1/2, 1/4, 1/8 of the batch: compute time by images, without any message
Each on a resident batch (step) and with its data (end to end). Efficiency = images/s over those of one process, divided
by the processes. What a step communicates is counted call by call as it is dispatched, and the time of an all-reduce
is measured by size. From these inputs a formula projects the step to 8, 64 and 512 GPUs.
FIELDS are those of launch/train.py. Without --data NAME the images are synthetic.
"""

import argparse
import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

import measure
import projection
import scaling_metrics as metrics
import scaling_report as report
import throughput
from ranks import Group, Work, close_all
from semisonic.schema import UserError
from variants import Plan, configuration, images_per_step
from without_dali import dali_is_installed

COUNTED = "none: messages are counted, whatever is drawn"
IMAGES = 2_000
"""Synthetic training images of a process on the CPU, where a dozen of them share the memory."""


def parser() -> argparse.ArgumentParser:
    gpus = torch.cuda.device_count()
    worlds = [2**k for k in range(gpus.bit_length()) if 2**k <= gpus] if gpus else [1, 2, 4]
    result = argparse.ArgumentParser(
        "scaling.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,  # FIELDS must not be taken for options
    )
    switch, network = argparse.BooleanOptionalAction, projection.Network()
    add = result.add_argument
    add("--processes", type=numbers, default=worlds, help=f"here: {','.join(map(str, worlds))}")
    add("--modes", type=names, default=["strong", "weak"], help="strong, weak or both (default: strong,weak)")
    add("--algorithm", default="fixmatch", help="default: %(default)s")
    add("--model", default="wrn-28-2", help="default: %(default)s")
    add("--image-size", type=int, default=32, help="of synthetic images (default: %(default)s)")
    add("--classes", type=int, default=10, help="of synthetic images (default: %(default)s)")
    add("--batch", type=int, default=64 if gpus else 8, help="labeled images, over all processes (here: %(default)s)")
    add("--ratio", type=int, default=7, help="unlabeled images for each labeled (default: 7)")
    add("--precision", default="bf16" if gpus else "fp32", help="fp32, bf16, fp16 (here: %(default)s)")
    add("--compile", action=switch, default=bool(gpus), help="default: on a GPU")
    add("--deepspeed", type=Path, metavar="FILE", help="train with DeepSpeed and its JSON")
    add(
        "--threads",
        type=int,
        default=0 if gpus else 1,
        help="CPU threads of a process; 0 = its share (here: %(default)s)",
    )
    add("--seed", type=int, default=0)
    add("--no-data", action="store_true", help="leave out end to end; runs without DALI")
    add("--shares", action=switch, default=True, help="measure one process on parts of the batch")
    add("--counting", action=switch, default=True, help="count what a step communicates")
    add("--rounds", type=int, default=3, help="default: %(default)s")
    add("--seconds", type=float, default=2.0, help="of each window, from 2 steps (default: 2)")
    add("--count", type=names, metavar="MODELS", help="only count, for each of these networks, eager and compiled")
    add("--project", type=Path, metavar="RESULT", help="measure nothing: project a result of this script")
    add(
        "--counts",
        type=Path,
        metavar="RESULT",
        help="with --project: a result of --count, where one GPU counted nothing",
    )
    add("--gpus-per-node", type=int, default=network.gpus, help="of the projection (default: %(default)s)")
    add("--latency-us", type=float, help=f"of a small all-reduce in a node (default: {network.latency_us:g})")
    add("--bandwidth-gb", type=float, help=f"of a GPU in a node, GB/s (default: {network.bandwidth_gb:g})")
    add("--node-latency-us", type=float, help=f"added by each doubling of nodes (default: {network.node_latency_us:g})")
    add("--node-bandwidth-gb", type=float, help=f"of a GPU between nodes (default: {network.node_bandwidth_gb:g})")
    add("--overlap", type=float, default=0.0, help="part of the gradients' time that the backward hides (default: 0)")
    add(
        "--covered",
        type=float,
        help="part of BatchNorm's backward messages with a weight gradient between being sent and being waited for "
        f"(default: of compiled results {report.COVERED:g}, as of WRN-28-2; else 0)",
    )
    add("--plot", type=Path, metavar="FILE", help="write a picture of efficiency and communication")
    add("--out", type=Path, metavar="FILE", help="write the results as JSON")
    result.set_defaults(deterministic=False, workers=0, profile=None)
    return result


def numbers(text: str) -> list[int]:
    values = sorted({int(part) for part in text.split(",")})
    if values[0] < 1:
        raise ValueError
    return values


def names(text: str) -> list[str]:
    return [part for part in text.split(",") if part]


# What is measured.


def make_plan(args: argparse.Namespace, rest: Sequence[str]) -> Plan:
    fields = [*rest, "--threads", str(args.threads)]
    fields += ["--parallel.deepspeed", str(args.deepspeed)] if args.deepspeed else []
    plan, cfg = throughput.make_plan(args, fields)
    if plan.images and not torch.cuda.is_available():
        plan = replace(plan, images=max(4 * images_per_step(cfg) * max(args.processes), IMAGES))
    return plan


@contextmanager
def as_if_launched(ranks: int) -> Iterator[None]:
    """The configuration is checked for so many ranks, as each of them will."""
    outside = os.environ.get("WORLD_SIZE")
    os.environ["WORLD_SIZE"] = str(ranks)
    try:
        yield
    finally:
        os.environ.pop("WORLD_SIZE")
        if outside is not None:
            os.environ["WORLD_SIZE"] = outside


def works(args: argparse.Namespace, plan: Plan) -> list[Work]:
    """The groups of processes. Raises UserError with everything that is impossible."""
    found = [Work("1", "strong", 1, args.batch, plan)] if 1 in args.processes else []
    for ranks in args.processes:
        for mode in args.modes if ranks > 1 else []:
            labeled = args.batch * (ranks if mode == "weak" else 1)
            own = replace(plan, fields=(*plan.fields, "--batch.labeled", str(labeled)))
            found.append(Work(f"{mode} {ranks}", mode, ranks, labeled, own))
    if args.shares:
        graph = configuration(plan).replayed != "off"  # ranks replay nothing by default: neither must their shares
        for part in range(0 if graph or 1 not in args.processes else 1, 4):
            if args.batch % 2**part == 0:
                labeled = args.batch // 2**part
                own = replace(plan, fields=(*plan.fields, "--batch.labeled", str(labeled), "--replay", "off"))
                found.append(Work(f"share 1/{2**part}", "share", 1, labeled, own))
    problems = [f"--modes: {mode} is unknown; strong or weak" for mode in args.modes if mode not in ("strong", "weak")]
    gpus = torch.cuda.device_count() if configuration(plan).torch_device == "cuda" else 0
    if gpus and max(args.processes) > gpus:
        problems.append(f"--processes: {max(args.processes)} were asked for, but torch sees {gpus} GPUs")
    for work in found:
        with as_if_launched(work.ranks):
            try:
                cfg = configuration(work.plan)
            except UserError as error:
                problems += [line for line in error.messages if line not in problems]
                continue
        if args.counting and work.ranks > 1 and cfg.replayed != "off":
            problems.append("replay: what a graph replays cannot be counted; use --replay off or --no-counting")
    if problems:
        raise UserError(list(dict.fromkeys(problems)))
    return found


def start(todo: Sequence[Work], groups: dict[str, Group], say: Console) -> None:
    for work in todo:
        say.print(f"building {work.key}: {work.ranks} processes, {work.labeled} labeled images", highlight=False)
        groups[work.key] = Group(work)


def run_rounds(
    groups: dict[str, Group], what: Sequence[str], rounds: int, seconds: float, say: Console
) -> dict[str, dict[str, list[measure.Reading]]]:
    """group -> what -> readings; every other round backwards."""
    todo = [(key, item) for key, group in groups.items() for item in what if group.work.measures(item)]
    readings: dict[str, dict[str, list[measure.Reading]]] = {key: {} for key in groups}
    for number in range(rounds):
        say.print(f"round {number + 1} of {rounds}", highlight=False)
        for key, item in todo if number % 2 == 0 else reversed(todo):
            readings[key].setdefault(item, []).append(groups[key].measure(item, seconds))
    return readings


def communication_of(groups: dict[str, Group], say: Console) -> tuple[dict[str, Any], dict[str, Any]]:
    """ranks -> what a step communicates, and ranks -> time of an all-reduce by size with its fit."""
    counts, times = {}, {}
    for group in groups.values():
        ranks = str(group.work.ranks)
        if group.work.ranks == 1 or ranks in times:
            continue
        say.print(f"communication of {ranks} processes", highlight=False)
        if group.info["replayed"] == "off":
            counts[ranks] = group.measure("count", 0.0)["count"]
        rows = group.measure("all_reduce", 0.25)["all_reduce"]
        line = projection.fit_all_reduce(rows, group.work.ranks)
        times[ranks] = {
            "sizes": rows,
            "latency_us": 1e6 * line.constant,
            "bandwidth_gb": 1e-9 / line.slope if line.slope else None,
            "error": line.error,
        }
    return counts, times


# Running it.


def execute(args: argparse.Namespace, rest: Sequence[str], groups: dict[str, Group]) -> None:
    say, console = Console(stderr=True), Console(width=max(150, Console().width))
    plan = make_plan(args, rest)
    cfg = configuration(plan)
    load = os.getloadavg()[0]  # before anything of ours runs
    start(works(args, plan), groups, say)
    what = ["step"] if args.no_data else ["step", "end_to_end"]
    readings = run_rounds(groups, what, args.rounds, args.seconds, say)
    first = next(iter(groups.values())).info
    ratio, on_gpu = images_per_step(cfg) // cfg.batch.labeled, first["environment"]["device"] == "cuda"
    rows = {key: metrics.row_of(group, readings[key], ratio, measure.cores()) for key, group in groups.items()}
    counts, times = communication_of(groups, say) if args.counting else ({}, {})
    result = {
        "kind": "scaling",
        "configuration": throughput.describe_work(plan, cfg)
        | {"processes": args.processes, "modes": args.modes, "deepspeed": str(args.deepspeed or "")},
        **first["environment"],
        "cores": measure.cores(),
        "load_before": load,
        "gpus": first["gpus"],
        "images_per_step": images_per_step(cfg),
        "data": "random batches, no data" if args.no_data else first["data"],
        "rounds": args.rounds,
        "seconds": args.seconds,
        "groups": rows,
        "ratios": metrics.efficiencies(rows, what, on_gpu),
        "communication": counts,
        "all_reduce": times,
        "config": cfg.model_dump(mode="json", exclude={"out"}),
    }
    if (compute := metrics.compute_of(rows, images_per_step(cfg))) is not None:
        result["compute"] = compute
    result["notes"] = metrics.remarks(result, readings)
    report.show(result, console)
    if "compute" in result and counts:
        report.show_projection(result, network_of(args), args.overlap, args.covered, console)
    if args.plot:
        report.plot(result, args.plot)
        measure.store_beside(args.plot, first["environment"], [cfg.seed])
    if args.out:
        measure.store(args.out, result, [cfg.seed])


def count_only(args: argparse.Namespace, rest: Sequence[str], groups: dict[str, Group]) -> None:
    """Counts for several networks, eager and compiled; the smallest batch that divides, since messages ignore it."""
    say, console = Console(stderr=True), Console(width=max(140, Console().width))
    args.no_data, args.shares, args.modes, args.ratio = True, False, ["strong"], 1
    args.processes = [ranks for ranks in args.processes if ranks > 1]
    args.batch = args.processes[-1] if args.processes else 0
    if not args.processes:
        raise UserError("--processes: one process communicates nothing; give 2 or more")
    found: list[dict[str, Any]] = []
    for model in args.count:
        for compiled in (False, True):
            args.model, args.compile = model, compiled
            for work in works(args, make_plan(args, rest)):
                say.print(f"{model}, {'compiled' if compiled else 'eager'}, {work.ranks} processes", highlight=False)
                groups["count"] = Group(work)
                environment = groups["count"].info["environment"]
                count = groups["count"].measure("count", 0.0)["count"]
                found.append({"model": model, "compiled": compiled, "ranks": work.ranks, **count})
                groups.pop("count").close()
                if args.out:  # each time: to compile a large network can take long
                    about = {"kind": "communication", "algorithm": args.algorithm}
                    measure.store(args.out, {**about, **environment, "counts": found}, COUNTED)
    report.show_counts(found, console)


def network_of(args: argparse.Namespace) -> projection.Network:
    given = {
        "latency_us": args.latency_us, "bandwidth_gb": args.bandwidth_gb, "node_latency_us": args.node_latency_us,
        "node_bandwidth_gb": args.node_bandwidth_gb,
    }  # fmt: skip
    wrong = [
        f"--{name.replace('_', '-')}: must be positive"
        for name, value in given.items()
        if value is not None and value <= 0
    ]
    wrong += ["--gpus-per-node: must be 1 or more"] if args.gpus_per_node < 1 else []
    wrong += ["--overlap: must lie between 0 and 1"] if not 0 <= args.overlap <= 1 else []
    wrong += ["--covered: must lie between 0 and 1"] if not 0 <= (args.covered or 0) <= 1 else []
    if wrong:
        raise UserError(wrong)
    return projection.Network(args.gpus_per_node, **{name: value for name, value in given.items() if value is not None})


def project(args: argparse.Namespace) -> None:
    console = Console(width=max(140, Console().width))
    result = stored(args.project, "scaling", "--project")
    if args.counts:
        result["communication"] = counts_of(args.counts, result["configuration"])
    try:
        report.show_projection(result, network_of(args), args.overlap, args.covered, console)
    except ValueError as error:
        raise UserError(f"--project {args.project}: {error}") from error


def stored(path: Path, kind: str, option: str) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"{option} {path}: {error}") from error
    if not isinstance(content, dict) or content.get("kind") != kind:
        raise UserError(f"{option} {path}: no result of scaling.py of kind {kind}")
    return content


def counts_of(path: Path, work: dict[str, Any]) -> dict[str, Any]:
    """What was counted for a result's algorithm and network, of which calls and bytes depend on nothing else."""
    content = stored(path, "communication", "--counts")
    wanted = (work["algorithm"], work["model"], work["compiled"])
    found = [c for c in content["counts"] if (content["algorithm"], c["model"], c["compiled"]) == wanted]
    if not found:
        how = "compiled" if work["compiled"] else "eager"
        raise UserError(f"--counts {path}: holds no {work['algorithm']} with {work['model']}, {how}")
    return {str(count["ranks"]): count for count in found}


def main(argv: Sequence[str]) -> int:
    args, rest = parser().parse_known_args(argv)
    if not args.no_data and not args.count and not args.project and not dali_is_installed():
        print("error: DALI is not installed; install it, or measure without data (--no-data)", file=sys.stderr)
        return 2
    groups: dict[str, Group] = {}

    def action() -> None:
        network_of(args)
        if args.project:
            project(args)
        elif args.count:
            count_only(args, rest, groups)
        else:
            execute(args, rest, groups)

    try:
        return measure.exit_code(action)
    finally:
        close_all(list(groups.values()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
