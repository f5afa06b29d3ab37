"""How often the audit's 95 % interval holds the truth, and how wide it is, on stored predictions whose truth is known.

    python benchmarks/audit_coverage.py [--repeats 1000] [--looks 50 100 400] [--draws N] [--out FILE]

Five runs, whose auto-labels are right in 74 to 99 % (`audit_predictions.py` made them), and two liars: all certainties
0.99 where 78 % are right, and 0.60 where 94 % are. Each repetition draws anew, with its number as the seed. Beside the
audit: Wilson's interval of as many images drawn simply at random. Then what `accept` would take at 98 %: in how many
repetitions a part, how large, and how often less than 98 % of it was right. A cell that FILE has is not made again.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

import measure
from semisonic.curation import audit
from semisonic.curation.acceptance import Looks, surest_part

STORED = Path(__file__).resolve().parent.parent / "tests/fixtures/audit-predictions.npz"
LIARS = {"liar-0.99": ("fashion-40", 0.99), "liar-0.60": ("digits-4", 0.60)}
AT_LEAST = 0.98


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=1_000, help="default: %(default)s")
    parser.add_argument("--looks", type=int, nargs="+", default=[50, 100, 400], help="default: %(default)s")
    parser.add_argument("--draws", type=int, default=audit.DRAWS, help="of the posterior (default: %(default)s)")
    parser.add_argument("--stored", type=Path, default=STORED, metavar="FILE", help="default: %(default)s")
    parser.add_argument("--out", type=Path, metavar="FILE", help="JSON to read and to add to")
    return parser.parse_args(argv)


def stored(file: Path = STORED) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Name -> (certainty [N], right bool [N]) of the runs, and of the liars that are made of them."""
    with np.load(file) as arrays:
        names = sorted({key.split("/")[0] for key in arrays})
        found = {name: (arrays[f"{name}/certainty"].astype(np.float64), arrays[f"{name}/right"]) for name in names}
    for name, (run, certainty) in LIARS.items():
        right = found[run][1]
        found[name] = np.full(len(right), certainty), right
    return found


def wilson_half_width(share: float, n: int) -> float:
    """Of the 95 % interval for a share that n images drawn simply at random have."""
    z = 1.96
    return z / (1 + z * z / n) * float(np.sqrt(share * (1 - share) / n + z * z / (4 * n * n)))


def cell(certainty: np.ndarray, right: np.ndarray, looks: int, repeats: int) -> dict[str, Any]:
    """What comes of so many audits of as many looks; shares from 0 to 1."""
    cut, truth = audit.strata(certainty), float(right.mean())
    found, wilson, parts = [], [], []
    for seed in range(repeats):
        drawn = audit.draw(cut, looks, seed)
        of = audit.counted("run", "day", drawn.method, cut.sizes_S, cut.means_S, drawn.stratum, right[drawn.rows])
        found.append(of.estimate(seed))
        random = np.random.default_rng([seed, 1]).choice(len(right), looks, replace=False)
        wilson.append(wilson_half_width(float(right[random].mean()), looks))
        if looks >= audit.STRATIFIED_FROM:
            part = surest_part(Looks(certainty, cut, drawn.rows, right[drawn.rows]), AT_LEAST, seed)
            parts += [(part.share, float(right[part.rows].mean()))] if part else []
    return {
        "images": len(right),
        "right": truth,
        "method": found[0].method,
        "coverage": float(np.mean([one.low <= truth <= one.high for one in found])),
        "half_width": float(np.mean([one.half_width for one in found])),
        "wilson_half_width": float(np.mean(wilson)),
        "mean_error": float(np.mean([one.value for one in found]) - truth),
        "accepted": len(parts) / repeats,
        "accepted_share": float(np.mean([share for share, _ in parts])) if parts else None,
        "accepted_below": sum(share < AT_LEAST for _, share in parts) / repeats,
    }


def run(args: argparse.Namespace) -> dict[str, Any]:
    """All cells, those of the file first; written after each."""
    audit.DRAWS = args.draws
    result: dict[str, Any] = json.loads(args.out.read_text()) if args.out and args.out.exists() else {}
    result |= {"kind": "audit-coverage", "environment": measure.environment(torch.device("cpu"))}
    cells: list[dict[str, Any]] = result.setdefault("cells", [])
    for looks in args.looks:
        for name, (certainty, right) in stored(args.stored).items():
            about = {"predictions": name, "looks": looks, "repeats": args.repeats}
            if not any(about.items() <= known.items() for known in cells):
                cells.append(about | {"draws": args.draws} | cell(certainty, right, looks, args.repeats))
            if args.out:
                measure.store(args.out, result, f"0 to {args.repeats - 1}")
    return result


def show(result: dict[str, Any]) -> None:
    table = Table(title="Audits, in per cent", title_justify="left")
    for column in (
        "predictions",
        "right",
        "looks",
        "method",
        "coverage",
        "half-width",
        "Wilson's",
        "accepted",
        "wrongly",
    ):
        table.add_column(column, justify="right")
    for one in result["cells"]:
        shares = ("coverage", "half_width", "wilson_half_width", "accepted", "accepted_below")
        percents = [f"{100 * one[key]:.1f}" for key in shares]
        table.add_row(one["predictions"], f"{100 * one['right']:.1f}", str(one["looks"]), one["method"], *percents)
    Console().print(table, highlight=False)


if __name__ == "__main__":
    sys.exit(measure.exit_code(lambda: show(run(parse()))))
