"""What scaling.py makes of the windows of all groups."""

from collections.abc import Sequence
from typing import Any

import measure
import projection
from ranks import Group

BUSY = 0.25
"""Load average for each core from which others are said to have disturbed a measurement."""


def row_of(group: Group, readings: dict[str, list[measure.Reading]], ratio: int, cores: int) -> dict[str, Any]:
    """What one group did."""
    work, info = group.work, group.info
    images = work.labeled * ratio
    row: dict[str, Any] = {
        "mode": work.mode, "ranks": work.ranks, "labeled": work.labeled, "images_per_step": images,
        "threads": info["threads"], "busy_cores": min(cores, work.ranks * info["threads"]),
        "backend": info["backend"], "replayed": info["replayed"],
    }  # fmt: skip
    for what, of_what in readings.items():
        steps = [reading["steps"] / reading["seconds"] for reading in of_what]
        row[what] = {
            "images_per_second": measure.spread([images * speed for speed in steps]),
            "milliseconds": measure.spread([1000 / speed for speed in steps]),
            "peak_bytes": max(reading["peak_bytes"] for reading in of_what),
        }
        if "data_wait" in of_what[0]:
            row[what]["data_wait"] = measure.spread([reading["data_wait"] for reading in of_what])
    return row


def efficiencies(rows: dict[str, dict[str, Any]], what: Sequence[str], on_gpu: bool) -> dict[str, dict[str, Any]]:
    """`strong 2, step` -> efficiency, round by round; and by busy core where processes share the CPU's cores."""
    found: dict[str, dict[str, Any]] = {}
    if "1" not in rows:
        return found
    alone = rows["1"]
    for key, row in rows.items():
        if row["ranks"] == 1:
            continue
        for item in what:
            mine, one = (r[item]["images_per_second"]["rounds"] for r in (row, alone))
            found[f"{key}, {item}"] = measure.ratio(mine, [row["ranks"] * value for value in one])
            if not on_gpu:
                factor = row["busy_cores"] / alone["busy_cores"]
                found[f"{key}, {item}, by core"] = measure.ratio(mine, [factor * value for value in one])
    return found


def compute_of(rows: dict[str, dict[str, Any]], images: int) -> dict[str, Any] | None:
    """Seconds of a step of one process by its images, and what data adds; None where too little was measured."""
    alone = [row for row in rows.values() if row["ranks"] == 1 and row["replayed"] == "off"]
    points = [(row["images_per_step"], row["step"]["milliseconds"]["median"] / 1000) for row in alone]
    if len({x for x, _ in points}) < 2:
        return None
    line = projection.fit([x for x, _ in points], [t for _, t in points])
    whole = next(row for row in alone if row["images_per_step"] == images)
    waiting = 0.0
    if "end_to_end" in whole:
        pairs = zip(*(whole[item]["milliseconds"]["rounds"] for item in ("end_to_end", "step")), strict=True)
        waiting = max(0.0, measure.spread([a - b for a, b in pairs])["median"]) / 1000 / images
    return {
        "points": [{"images": x, "seconds": t} for x, t in points],
        "fixed_seconds": line.constant,
        "seconds_per_image": line.slope,
        "error": line.error,
        "data_seconds_per_image": waiting,
    }


def remarks(result: dict[str, Any], readings: dict[str, Any]) -> list[str]:
    found, cores = [], result["cores"]
    if result["load_before"] > BUSY * cores:
        found.append(
            f"other work kept {result['load_before']:.1f} processes busy on {cores} cores as this began: times and "
            "efficiencies are not those of the machine alone; what was counted is exact"
        )
    if result["device"] == "cpu":
        crowded = sorted({row["ranks"] for row in result["groups"].values() if row["ranks"] * row["threads"] > cores})
        if crowded:
            found.append(
                f"{' and '.join(map(str, crowded))} processes share {cores} cores: their efficiency says nothing of a "
                "cluster; by busy core it says what communication and crowding cost"
            )
        found.append(
            "gloo between processes of one machine is no network: its latency and bandwidth are not a cluster's"
        )
    for key, of_key in readings.items():
        if not all(reading["idle"] for of_what in of_key.values() for reading in of_what):
            found.append(f"{key} was not idle after each of its windows: it disturbed what followed")
    return found
