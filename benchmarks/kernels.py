"""Every kernel against its plain-torch reference and against what public implementations do instead.

    python benchmarks/kernels.py [--only WORDS] [--rounds N] [--seconds S] [--out FILE]

The variants of a case do the same work and measure in turn, over the rounds; a ratio (other time / our time, so higher
is better) is taken round by round. On a GPU twice: "launched" one call after the other by the host, and "replayed" from
a CUDA graph, which is what the device alone needs and what counts in the engine's replayed step.
To add a case, list it in kernel_cases.py.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

import measure
from kernel_cases import CASES, Action
from semisonic_kernels.multi_tensor import finish_capture

SEED = 0
"""Of random tensors."""
REPEATS = {"cuda": 10, "cpu": 1}
"""Calls in a row between two looks at the clock, and in one CUDA graph."""


def repeated(action: Action, times: int) -> Action:
    def run() -> None:
        for _ in range(times):
            action()

    return run


def captured(action: Action) -> Action:
    """A CUDA graph of several calls, to be replayed."""
    stream, graph = torch.cuda.Stream(), torch.cuda.CUDAGraph()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            action()
    torch.cuda.current_stream().wait_stream(stream)
    with torch.cuda.graph(graph, stream=stream):
        repeated(action, REPEATS["cuda"])()
    finish_capture()
    return graph.replay


def measure_case(
    variants: Mapping[str, Action], device: torch.device, rounds: int, seconds: float
) -> dict[str, list[float]]:
    """Microseconds of a call of each variant, by round."""
    found: dict[str, list[float]] = {name: [] for name in variants}
    for number in range(rounds):
        order = list(variants.items())
        for name, run in order if number % 2 == 0 else reversed(order):
            elapsed, calls = measure.timed(run, device, seconds, warm_up=2)
            found[name].append(1e6 * elapsed / calls / REPEATS[device.type])
    return found


def run(names: Sequence[str], device: torch.device, rounds: int, seconds: float) -> dict[str, Any]:
    """Measurements (microseconds) and ratios of the named cases."""
    result: dict[str, Any] = {"measurements": {}, "ratios": {}, "notes": []}
    for name in names:
        if not (variants := CASES[name](device)):
            continue  # nothing to compare on this device
        modes: dict[str, dict[str, Action]] = {
            "launched": {k: repeated(a, REPEATS[device.type]) for k, a in variants.items()}
        }
        if device.type == "cuda":
            modes["replayed"] = {}
            for variant, action in variants.items():
                try:
                    modes["replayed"][variant] = captured(action)
                except RuntimeError as error:
                    finish_capture(succeeded=False)
                    reason = str(error).splitlines()[0]
                    result["notes"].append(f"{name}, {variant}: cannot be recorded as a CUDA graph ({reason})")
        for mode, actions in modes.items():
            spent = measure_case(actions, device, rounds, seconds)
            label = f"{name}, {mode}" if device.type == "cuda" else name
            result["measurements"][label] = {key: measure.spread(values) for key, values in spent.items()}
            for other in spent:
                if other != "ours" and "ours" in spent:
                    result["ratios"][f"{label}: {other} / ours"] = measure.ratio(spent[other], spent["ours"])
    return result


def show(result: dict[str, Any], console: Console) -> None:
    table = Table()
    for column in ("kernel", "ours", "reference", "peers", "reference / ours", "peers / ours"):
        table.add_column(column, justify="left" if column == "kernel" else "right", no_wrap=True)
    for label, rows in result["measurements"].items():
        cells = [_time(rows[name]["median"]) if name in rows else "" for name in ("ours", "reference", "peers")]
        for other in ("reference", "peers"):
            ratio = result["ratios"].get(f"{label}: {other} / ours")
            cells.append(f"{ratio['median']:.3g} ({ratio['min']:.3g} to {ratio['max']:.3g})" if ratio else "")
        table.add_row(label, *cells)
    console.print(table)
    for note in result["notes"]:
        console.print(f"note: {note}", highlight=False)


def _time(microseconds: float) -> str:
    return f"{microseconds:,.1f} us" if microseconds < 1000 else f"{microseconds / 1000:,.2f} ms"


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        "kernels.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default="", help="cases whose name holds these words; all: " + "; ".join(CASES))
    parser.add_argument("--rounds", type=int, default=7, help="default: %(default)s")
    parser.add_argument("--seconds", type=float, default=0.3, help="of each window (default: %(default)s)")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the results as JSON")
    args = parser.parse_args(argv)
    names = [name for name in CASES if args.only in name]
    if not names:
        print(f"error: --only {args.only}: no such case; one of: {'; '.join(CASES)}", file=sys.stderr)
        return 2
    device, console = torch.device(args.device), Console(width=max(150, Console().width))
    if device.type == "cuda" and not torch.cuda.is_available():
        print("error: --device cuda: torch sees no GPU", file=sys.stderr)
        return 2
    torch.manual_seed(SEED)
    found = measure.environment(device)
    result = {
        "kind": "kernels",
        "configuration": {"seed": SEED, "only": args.only},
        **found,
        "rounds": args.rounds,
        "seconds": args.seconds,
        **run(names, device, args.rounds, args.seconds),
    }
    console.print(f"Time of a call. {measure.describe(found)}", highlight=False)
    show(result, console)
    if args.out:
        measure.store(args.out, result, [SEED])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
