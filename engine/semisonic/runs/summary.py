"""summary.json: what came out of a run, how fast, and on what."""

import json
import statistics
from typing import Any

from semisonic.reporting import pseudo_labels
from semisonic.training.process import environment, peak_memory_bytes
from semisonic.training.trainer import Trainer

LAST = 20
"""Evaluations in the "last-20 median" of the MixMatch and FixMatch papers."""


def summarize(trainer: Trainer) -> dict[str, Any]:
    """The results of a finished run; accuracies in percent, of the EMA network unless named raw."""
    final, split = trainer.history[-1], trainer.split
    result: dict[str, Any] = {
        "algorithm": trainer.cfg.algorithm.name,
        "labels": len(split.labeled),
        "step": trainer.step,
        "test_top1": final["eval/top1"],
        "test_top1_raw": final["eval_raw/top1"],
        "test_top1_last20_median": statistics.median(entry["eval/top1"] for entry in trainer.history[-LAST:]),
    }
    if len(split.held_out):
        best = next(entry for entry in trainer.history if entry["step"] == trainer.best_step)
        result["held_out_selected"] = {"step": trainer.best_step, "test_top1": best["eval/top1"]}
        result["labels_used"] = len(split.labeled) + len(split.held_out)
    lines = [json.loads(line) for line in (trainer.run_folder / "metrics.jsonl").read_text().splitlines()]
    speed = [line for line in lines if "images_per_second" in line]
    return (
        result
        | pseudo_labels.summary(lines)
        | {
            "images_per_second": statistics.median(line["images_per_second"] for line in speed),
            "data_wait": statistics.fmean(line["data_wait"] for line in speed),
            "peak_memory_bytes": peak_memory_bytes(trainer.device),
            "wall_seconds": trainer.elapsed,
            **environment(trainer.accelerator),
        }
    )
