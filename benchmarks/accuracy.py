"""Does the unlabelled data help, and by how much? Runs algorithms over seeds on the same splits and compares them.

    python benchmarks/accuracy.py --seeds 0 1 2 --algorithms supervised fixmatch --out runs/accuracy [FIELDS]

Further fields are passed on to launch/train.py. Every run is a process of its own, and one that is already finished in
the folder is not run again. Prints mean, worst and each seed of the last-20 median, and writes accuracy.json.
"""

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

TRAIN = Path(__file__).parent.parent / "launch" / "train.py"


def run(algorithm: str, seed: int, folder: Path, fields: list[str]) -> dict:
    summary = folder / "summary.json"
    if not summary.exists():
        resume = ["--resume"] if (folder / "config.yaml").exists() else []
        command = [
            sys.executable, TRAIN, "--algorithm", algorithm, "--seed", seed, "--out", folder, "--no-baseline",
            *resume, *fields,
        ]  # fmt: skip
        subprocess.run([str(part) for part in command], check=True)
    return json.loads(summary.read_text())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--algorithms", nargs="+", default=["supervised", "fixmatch"])
    parser.add_argument("--out", type=Path, default=Path("runs/accuracy"))
    args, fields = parser.parse_known_args()
    results: dict[str, list[dict]] = {name: [] for name in args.algorithms}
    for seed in args.seeds:
        for name in args.algorithms:
            results[name].append(run(name, seed, args.out / f"{name}-seed{seed}", fields))

    table = Table(title="Test accuracy (%), last-20 median of the EMA network", title_justify="left")
    for column in ("algorithm", "mean", "worst", *(f"seed {seed}" for seed in args.seeds), "seconds a run"):
        table.add_column(column, justify="right" if column != "algorithm" else "left")
    content: dict = {"seeds": args.seeds, "fields": fields}
    for name, rows in results.items():
        medians = [row["test_top1_last20_median"] for row in rows]
        seconds = statistics.median(row["wall_seconds"] for row in rows)
        table.add_row(
            name, f"{statistics.fmean(medians):.2f}", f"{min(medians):.2f}",
            *(f"{value:.2f}" for value in medians), f"{seconds:.0f}",
        )  # fmt: skip
        content[name] = {"last20_median": medians, "mean": statistics.fmean(medians), "seconds": seconds}
    first = next(iter(results.values()))[0]
    content |= {key: first[key] for key in ("hardware", "device", "cpu_threads", "world_size", "versions")}
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "accuracy.json").write_text(json.dumps(content, indent=1))
    Console().print(table)
    print(f"{first['hardware']}, {first['cpu_threads']} CPU threads; {first['versions']}")


if __name__ == "__main__":
    main()
