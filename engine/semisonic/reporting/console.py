"""What people see: the start-up table, progress with ETA, results, and pictures."""

import math
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console as RichConsole
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from semisonic.checkpoint.atomic_files import write_bytes
from semisonic.config.run_config import RunConfig
from semisonic.contract import Rank
from semisonic.data.loading.sizes import Sizes
from semisonic.data.sets.base import DataSet
from semisonic.data.sets.shown import description
from semisonic.data.sets.splits import Split
from semisonic.reporting.frozen_baselines import NAMES, full_name
from semisonic.reporting.letters import broken
from semisonic.reporting.output import lasting
from semisonic.reporting.pictures import drawing, name_in_picture, saved
from semisonic.reporting.pseudo_labels import describe
from semisonic.text import printable, printable_lines

IMAGES = {"test": "test", "held_out": "held-out"}
"""What may be evaluated, and what it is called."""


class ProgressLines:
    """Progress as it is printed: a bar with ETA on a terminal, a line per reading elsewhere."""

    def __init__(self, console: RichConsole, bar: Progress | None, total: int, done: int):
        self.console, self.bar, self.total = console, bar, total
        self.task = bar.add_task("training", total=total, completed=done, note="") if bar else None
        self.note = ""
        self.begin, self.done = time.monotonic(), done

    def stepped(self, step: int) -> None:
        if self.bar and self.task is not None:
            self.bar.update(self.task, completed=step)

    def trained(self, step: int, metrics: dict[str, Any]) -> None:
        speed, wait = metrics["images_per_second"], metrics["data_wait"]
        text = f"loss {metrics['train/loss']:.3f}  {speed:,.0f} images/s  data wait {wait:.0%}"
        if labels := describe(metrics):
            text += f"  {labels}"
        if self.bar and self.task is not None:
            self.bar.update(self.task, note=f"{text}  {self.note}")
            return
        left = (time.monotonic() - self.begin) / (step - self.done) * (self.total - step)
        eta = timedelta(seconds=round(left))
        self.console.print(f"step {step:,}/{self.total:,}  ETA {eta}  {text}  {self.note}", highlight=False)

    def evaluated(self, entry: dict[str, float]) -> None:
        which = "test" if "test/top1" in entry else "held_out"
        text = f"{IMAGES[which]} top-1 {entry[f'{which}/top1']:.2f} % (EMA)  {entry[f'{which}_raw/top1']:.2f} % (raw)"
        self.note = f"at {entry['step']:,}: {text}"

    def saved(self, step: int) -> None:
        if not self.bar:
            self.console.print(f"step {step:,}/{self.total:,}  checkpoint written", highlight=False)


def labels_used(labels_N: np.ndarray, split: Split, classes: int) -> str:
    """How many labels a run uses, of how many there are. labels_N: int64 [N], -1 where there is none."""
    counts = np.bincount(labels_N[split.labeled], minlength=classes)
    per_class = str(counts[0]) if counts.min() == counts.max() else f"{counts.min()} to {counts.max()}"
    used, known = len(split.labeled), int((labels_N >= 0).sum())
    of_all = f" of {known:,}" if used + len(split.held_out) < known else ""
    return f"{used:,}{of_all} ({per_class} a class), held out {len(split.held_out):,}"


class Console:
    """Prints on the main process, and nothing elsewhere."""

    def __init__(self, main: bool):
        self.rich = RichConsole(file=lasting(sys.stdout), quiet=not main, soft_wrap=True)

    def print(self, text: str) -> None:
        self.rich.print(printable_lines(text), highlight=False, markup=False)

    @contextmanager
    def progress(self, total: int, done: int) -> Iterator[ProgressLines]:
        if not self.rich.is_terminal or self.rich.quiet:
            yield ProgressLines(self.rich, None, total, done)
            return
        columns = (
            BarColumn(bar_width=24), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("ETA"),
            TimeRemainingColumn(), TextColumn("{task.fields[note]}"),
        )  # fmt: skip
        with Progress(*columns, console=self.rich) as bar:
            yield ProgressLines(self.rich, bar, total, done)

    def start_up(
        self, cfg: RunConfig, data: DataSet, split: Split, rank: Rank, device: torch.device, threads: int,
        more: Mapping[str, str] | None = None,
    ) -> None:  # fmt: skip
        """What will run, before it runs. threads: those on the CPU of a rank. more: rows in place of those that follow
        from `cfg`, and further ones."""
        world_size = rank.world_size
        batch, views = cfg.batch, cfg.views
        epoch, size = (split.unlabeled, batch.unlabeled) if views.unlabeled else (split.labeled, batch.labeled)
        share, grown = world_size * batch.micro, cfg.unlabeled_sizes
        grows = len(grown.sizes) > 1 and bool(views.unlabeled)

        def images(share: int) -> str:
            unlabeled = f"{grown.smallest // share} to " * grows + f"{grown.largest // share}"
            return f"{batch.labeled // share} labeled" + (f" + {unlabeled} unlabeled" if views.unlabeled else "")

        compiled = {
            "whole": "one graph (the first steps compile)",
            "blocks": "each block (the first steps compile)",
            "off": "off: eager",
        }
        stage = cfg.execution.zero_stage
        rows = {
            "run folder": f"{cfg.run_folder}",
            "data": f"{data.name}: {len(data.classes)} classes, {data.size}x{data.size}, {data.test_count:,} test",
            "images": description(data),
            "labels": labels_used(data.train.labels, split, len(data.classes)),
            "unlabeled pool": f"{len(split.unlabeled):,}" if views.unlabeled else "not read",
            "algorithm": " ".join(f"{key}={value}" for key, value in cfg.algorithm.model_dump().items()),
            "model": cfg.model.name,
            **({"starts from": cfg.starting_weights} if cfg.starting_weights else {}),
            "steps": f"{cfg.steps:,}; an epoch of the pool is {math.ceil(len(epoch) / size):,}"
            + (f" of the last, {math.ceil(len(epoch) / grown.smallest):,} of the first" if grows else ""),
            "global batch": images(1),
            "of a rank": images(share),
            **({"batch grows": _growth(cfg, grown)} if grows else {}),
            "ranks": f"{world_size}, each with {batch.micro} micro-batch{'es' if batch.micro > 1 else ''} a step"
            + (f"; DeepSpeed ZeRO-{stage}" if stage else "; DDP" if world_size > 1 else ""),
            "device": f"{device.type}, {threads} CPU {'thread' if threads == 1 else 'threads'} a rank",
            "precision": cfg.arithmetic.text,
            "compile": compiled[cfg.graphs],
            "activations": "of each block computed again in the backward" if cfg.recompute else "kept",
            "CUDA graph": {"step": "the whole step", "backward": "forward and backward", "off": "off"}[cfg.replayed],
            "seed": str(cfg.seed),
        }
        if batch.micro > 1:
            rows["BatchNorm"] = "statistics are those of each micro-batch; running momentum 1-(1-m)^(1/k)"
        rows |= _labels_count(cfg) | dict(more or {})
        table = Table(show_header=False, box=None, padding=(0, 1))
        for name, value in rows.items():
            table.add_row(name, Text(printable(value)))
        self.rich.print(table, highlight=False)

    def result(self, summary: dict[str, Any], folder: Path) -> None:
        """The test accuracies, beside the baseline's where there is one, and where everything is."""
        baseline = summary.get("baseline")
        rows, frozen = [baseline] if baseline else [], summary.get("frozen") or {}
        if summary["test_top1"] is None:
            self.print(without_test(summary))
            self.print(f"In {folder}")
            return
        table = Table(title=f"Test accuracy with {summary['labels']} labels", title_justify="left")
        for column in ("", "final (EMA)", "final (raw)", "median of last 20 (EMA)", "time"):
            table.add_column(column, justify="right" if column else "left")
        for name in NAMES:
            if (top1 := frozen.get(name, {}).get("test_top1")) is not None:
                seconds = frozen[name]["seconds"] + frozen["features_seconds"]
                table.add_row(full_name(name), f"{top1:.2f} %", "", "", f"{seconds:.0f} s")
        for row in [*rows, summary]:
            table.add_row(
                f"{row['algorithm']}",
                f"{row['test_top1']:.2f} %",
                f"{row['test_top1_raw']:.2f} %",
                "none" if row["test_top1_last20_median"] is None else f"{row['test_top1_last20_median']:.2f} %",
                f"{row['wall_seconds']:.0f} s",
            )
        self.rich.print(table, highlight=False)
        for row in [*rows, summary]:
            if (interval := row.get("test_top1_interval")) is not None:
                low, high = interval
                what = f"95 % interval of the EMA's accuracy with {row.get('test_images', 'few')} test images"
                self.print(f"{row['algorithm']}: {what}: {low:.2f} to {high:.2f} %")
            if row["test_top1_last20_median"] is None:
                count = row.get("evaluations_past_ramps", 0)
                past = f"{count} {'is' if count == 1 else 'are'} past its ramps"
                self.print(f"{row['algorithm']}: median of the last 20 evaluations: none, {past}")
        if "held_out_selected" in summary:
            chosen = summary["held_out_selected"]
            self.print(f"Chosen on the held-out images: step {chosen['step']:,}, test {chosen['test_top1']:.2f} %")
        self.print(f"In {folder}; more metrics: semisonic evaluate {folder}")


def _growth(cfg: RunConfig, sizes: Sizes) -> str:
    """How the unlabeled batch grows, and what that costs at start-ups."""
    stages = ", ".join(f"{size} from step {start:,}" for start, size in zip(sizes.starts, sizes.sizes, strict=True))
    share = 100 * sizes.before(cfg.steps) / (cfg.steps * sizes.largest)
    read = f"{share:.0f} % of the unlabeled images that a constant one would read"
    each = [name for name, there in (("compiled", cfg.compiled), ("recorded", cfg.replayed != "off")) if there]
    return f"{stages}; {read}" + (f"; each size is {' and '.join(each)} when its steps begin" if each else "")


def _labels_count(cfg: RunConfig) -> dict[str, str]:
    """How labeled images count and are drawn, where that is not all alike."""
    weights = cfg.loss.class_weights
    parts = ["every class is drawn equally often"] if cfg.batch.balanced else []
    if weights != "none":
        parts.append(f"class weights {weights if isinstance(weights, str) else ', '.join(f'{w:g}' for w in weights)}")
    if cfg.data.weight_column is not None:
        parts.append(f"weights of the column {cfg.data.weight_column}")
    return {"labels count": "; ".join(parts)} if parts else {}


def without_test(summary: dict[str, Any]) -> str:
    """What a run without test images has come to, in one line."""
    if "held_out_selected" not in summary:
        return "No accuracy: there are no test images and none are held out (data.test, data.held_out)"
    chosen = summary["held_out_selected"]
    best = f"step {chosen['step']:,}, with {chosen['held_out_top1']:.2f} % of them right"
    return f"No test images. Chosen on the held-out images: {best}, which flatters it: it is the best of several"


NETWORKS = {"ema": "EMA network", "raw": "raw network"}
"""What the weights of a checkpoint are called."""


def network_of(path: Path, weights: str, step: int) -> str:
    """Which network a picture is of: of what run or checkpoint in `path`, with which weights, after which step."""
    folder = path.resolve()
    run = folder.parent.parent if folder.parent.name == "checkpoints" else folder
    return f"{printable(run.name)}, {NETWORKS[weights]}, step {step:,}"


TITLE = 11
"""Points of a picture's title."""


@drawing()
def save_confusion(
    path: Path, confusion: Sequence[Sequence[int]], classes: Sequence[str], images: str = "test", of: str = ""
) -> None:
    """The confusion matrix as a picture, rows normalized; class names where they fit. images: what they are called.
    of: whose it is, as `network_of` says; a long name is broken into the lines that it needs."""
    from matplotlib.figure import Figure

    counts = np.asarray(confusion, dtype=float)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    side = min(4 + 0.35 * len(classes), 14)
    figure = Figure(figsize=(side, side), layout="constrained")
    axes = figure.subplots()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set(xlabel="predicted class", ylabel="true class")
    accuracy = f"{images.capitalize()} accuracy {100 * np.trace(counts) / counts.sum():.2f} %"
    figure.suptitle("\n".join([accuracy, *broken(of, TITLE, round(72 * (side - 0.3)))]), fontsize=TITLE)
    if len(classes) <= 30:
        names = [name_in_picture(name) for name in classes]
        axes.set_xticks(range(len(classes)), names, rotation=90)
        axes.set_yticks(range(len(classes)), names)
        for (row, column), count in np.ndenumerate(counts):
            if count:
                color = "white" if shares[row, column] > 0.5 else "black"
                axes.text(column, row, f"{count:.0f}", ha="center", va="center", color=color, fontsize=8)
    write_bytes(path, saved(figure, "png", dpi=120))
