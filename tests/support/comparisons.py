"""Runs of comparisons, made up from the files that a run leaves."""

import json
from pathlib import Path

from rich.console import Console
from safetensors.torch import save_file

from semisonic.checkpoint.format import FORMAT
from semisonic.compare.jobs import Entry, Job, make_jobs, parse_entries
from semisonic.compare.report import write_report
from tests.support.checkpoints import state


def job(folder: Path, *fields: str, entry: str = "supervised") -> Job:
    made = Entry(entry, entry.partition(":")[0], {})
    return make_jobs(
        [(made, "40", 0, (f"--algorithm={made.algorithm}", "--no-baseline", "--data.labels=40", *fields))], folder, 1
    )[0]


def fabricate(made: Job, *, status: str = "running", step: int = 5, code: int | None = None, reason: str | None = None,
              top1: float | None = None, lines: list[dict] | None = None, seconds: float = 10.0, **summary: object) -> None:  # fmt: skip
    """The files of a run, finished where there is an accuracy."""
    folder = made.folder
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(made.cfg.dump())
    (folder / "status.json").write_text(
        json.dumps({"status": status, "step": step, "steps": made.cfg.steps, "reason": reason, "exit_code": code})
    )
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines or []))
    if top1 is not None:
        content = {"test_top1": top1, "test_top1_raw": top1 - 1, "test_top1_last20_median": top1 - 0.5, "wall_seconds": seconds,
                   "images_per_second": 100.0, "peak_memory_bytes": 1, "step": step, "hardware": "a computer", "cpu_threads": 1,
                   "versions": {"torch": "2"}, "algorithm": made.cfg.algorithm.name, "labels": 40, "seed": made.cfg.seed, **summary}  # fmt: skip
        (folder / "summary.json").write_text(json.dumps(content))


def finish(made: Job, top1: float, seconds: float = 10.0) -> None:
    """The files of a finished run that others may start from: its checkpoint has no tensors, and images of mean 0.25."""
    fabricate(made, top1=top1, seconds=seconds)
    folder = made.folder / "checkpoints" / "step-5"
    folder.mkdir(parents=True)
    (folder / "state.json").write_text(json.dumps(state(format=FORMAT, step=5, mean=[0.25] * 3, image_size=32)))
    for name in ("model", "optimizer"):
        save_file({}, folder / f"{name}.safetensors")


def lines(top1: float, pseudo_labels: bool, classes: int = 4) -> list[dict]:
    result: list[dict] = []
    for step in (10, 20, 30):
        figures = {"train/coverage": step / 40, "train/pseudo_label_precision": 0.9, "train/class_entropy": 0.5,
                   "train/class_share": [step / 40 / classes] * classes, "train/threshold": [0.5 + step / 100] * classes}  # fmt: skip
        result += [
            {"step": step, "train/loss": 1.0, **(figures if pseudo_labels else {})},
            {"step": step, "test/top1": top1 - 30 + step},
        ]
    return result


def compared(folder: Path, names: tuple[str, ...] = ("supervised", "fixmatch", "fixmatch:threshold=0.5")) -> Path:
    """A comparison of two seeds of each entry, and a run that failed; returns its page."""
    for place, name in enumerate(names):
        entry = parse_entries(name)[0][0]
        fields = tuple(f"--{field}={value}" for field, value in entry.fields.items())
        for seed in range(2):
            argv = (f"--algorithm={entry.algorithm}", "--no-baseline", "--data.labels=40", *fields)
            made = make_jobs([(entry, "40", seed, argv)], folder, 1)[0]
            used = {"coverage": 0.75, "pseudo_label_precision": 0.9, "collapsed_classes": ["3"] if seed else []}
            more = {"pseudo_labels": used} if entry.algorithm != "supervised" else {}
            top1 = 80.0 + 4 * place + seed
            fabricate(made, top1=top1, lines=lines(top1, bool(more), classes=10), **more)
    (made.folder / "report.html").touch()
    failed = make_jobs(
        [(parse_entries(names[0])[0][0], "40", 7, ("--algorithm=supervised", "--no-baseline"))], folder, 1
    )
    fabricate(failed[0], status="failed", code=2, reason="<no image>")
    written = write_report(folder, names, Console(quiet=True), {})
    assert written is not None
    return written
