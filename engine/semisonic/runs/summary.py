"""summary.json: what came out of a run, how fast, and on what."""

import statistics
from collections.abc import Sequence
from typing import Any

from semisonic import start_up
from semisonic.config.run_config import RunConfig
from semisonic.reporting import pseudo_labels
from semisonic.reporting.metrics_file import TRAIN, read_metrics
from semisonic.training.class_groups import FIGURES
from semisonic.training.intervals import interval_of_few
from semisonic.training.process import environment, peak_memory_bytes
from semisonic.training.trainer import Trainer

LAST = 20
"""Evaluations in the median of the last 20 that the MixMatch and FixMatch papers report. With fewer there is none, and
those while a ramp lasts do not count: the median would be of the way there."""


def _interval(top1: float, tests: int) -> list[float] | None:
    """As JSON has it, so that a summary that was read is the one that was written."""
    interval = interval_of_few(top1, tests)
    return None if interval is None else list(interval)


def past_ramps(history: Sequence[dict[str, float]], cfg: RunConfig) -> list[float]:
    """The test accuracies of the evaluations at which all ramps were over, those of the learning rate included."""
    warmed_up = cfg.optim.wait + cfg.optim.warm_up
    begin = max(cfg.algorithm_class.ramped(cfg.algorithm, cfg.steps), warmed_up)
    return [entry["test/top1"] for entry in history if entry["step"] >= begin and "test/top1" in entry]


def summarize(trainer: Trainer) -> dict[str, Any]:
    """What a finished run was and came to; accuracies in percent, of the EMA network unless named raw,
    None without the images for them."""
    final, split, cfg = trainer.history[-1] if trainer.history else {}, trainer.split, trainer.cfg
    past, root = past_ramps(trainer.history, cfg), cfg.data.root
    tests = trainer.data.test_count
    result: dict[str, Any] = {
        "data": {"name": cfg.data.name, "root": str(root.absolute()) if root else None},
        "algorithm": cfg.algorithm.name,
        "network": cfg.model.name,
        "labels": len(split.labeled),
        "seed": cfg.seed,
        "folder": str(trainer.run_folder.absolute()),
        "step": trainer.step,
        "test_images": tests,
        "test_top1": final.get("test/top1"),
        "test_top1_interval": _interval(final["test/top1"], tests) if tests and final else None,
        "test_top1_raw": final.get("test_raw/top1"),
        "test_top1_last20_median": statistics.median(past[-LAST:]) if len(past) >= LAST else None,
        "evaluations_past_ramps": len(past),
    }
    if trainer.weights:
        result["weights"] = trainer.weights
    if by_class := {name: final[f"test/{name}"] for name in FIGURES if f"test/{name}" in final}:
        result["test_by_class"] = by_class
    if len(split.held_out):
        best = next(entry for entry in trainer.history if entry["step"] == trainer.best_step)
        result["held_out_selected"] = {
            "step": trainer.best_step,
            "held_out_top1": best["held_out/top1"],
            "test_top1": best.get("test/top1"),
        }
        result["labels_used"] = len(split.labeled) + len(split.held_out)
    lines = read_metrics(trainer.run_folder / "metrics.jsonl")
    return (
        result
        | pseudo_labels.summary(lines)
        | {
            **speed_of([line for line in lines if line["kind"] == TRAIN], trainer),
            "peak_memory_bytes": peak_memory_bytes(trainer.device),
            "wall_seconds": trainer.elapsed,
            "start_up": start_up.clock().report(),
            **environment(trainer.accelerator),
        }
    )


def speed_of(readings: Sequence[dict[str, Any]], trainer: Trainer) -> dict[str, float | None]:
    """How fast the run was, by its readings; where all of them were lost, by its time, evaluations included."""
    if not readings:
        return {"images_per_second": trainer.images.before(trainer.step) / trainer.elapsed, "data_wait": None}
    return {
        "images_per_second": statistics.median(line["images_per_second"] for line in readings),
        "data_wait": statistics.fmean(line["data_wait"] for line in readings),
    }
