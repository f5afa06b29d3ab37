"""What scaling.py prints and draws."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

import measure
import projection

Result = dict[str, Any]

COVERED = 23 / 25
"""Part of WRN-28-2's BatchNorm messages backward that have a convolution's weight gradient between being sent and being
waited for, in the generated code of 8 ranks: all but that of the last norm, behind which is no convolution, and that of
the norm where the graph is cut for DDP (`without_gpu.py overlap`)."""


def table(*columns: str) -> Table:
    made = Table()
    for column in columns:
        made.add_column(column, justify="right" if column else "left", no_wrap=True)
    return made


def ranged(values: dict[str, Any] | None, form: str) -> str:
    """Median and range."""
    return "" if values is None else " ".join(
        (format(values["median"], form), f"({format(values['min'], form)} to {format(values['max'], form)})")
    )  # fmt: skip


def size(count: float) -> str:
    """Bytes, as people write them."""
    return (
        f"{count / 2**20:.2f} MiB"
        if count >= 2**20
        else f"{count / 2**10:.1f} KiB"
        if count >= 1024
        else f"{count:.0f} B"
    )


def show(result: Result, console: Console) -> None:
    work = result["configuration"]
    threads = "/".join(dict.fromkeys(str(row["threads"]) for row in result["groups"].values()))
    title = (
        f"{work['algorithm']}, {work['model']}, {work['image_size']} px, {work['labeled']} + "
        f"{result['images_per_step'] - work['labeled']} images a step on one process, {work['precision']}, "
        f"{'compiled' if work['compiled'] else 'eager'}, CPU threads each: {threads}"
        + (f", DeepSpeed {work['deepspeed']}" if work["deepspeed"] else "")
    )
    console.print(f"{title}; {result['data']}\n{measure.describe(result)}", highlight=False)
    on_gpu = result["device"] == "cuda"
    columns = ["", "a rank", "step, images/s", "end to end, images/s", "waiting", "efficiency", "end to end"]
    columns += [] if on_gpu else ["step, by core"]
    made = table(*columns)
    for key, row in result["groups"].items():
        speeds = [row[what]["images_per_second"] if what in row else None for what in ("step", "end_to_end")]
        wait = row.get("end_to_end", {}).get("data_wait")
        shown = [key, f"{row['images_per_step'] / row['ranks']:.0f}"]
        shown += [ranged(speed, ",.4g") for speed in speeds] + [f"{wait['median']:.1%}" if wait else ""]
        kinds = ["step", "end_to_end"] + ([] if on_gpu else ["step, by core"])
        shown += [ranged(result["ratios"].get(f"{key}, {kind}"), ".0%") for kind in kinds]
        made.add_row(*shown)
    console.print(made)
    show_counts([{"ranks": int(ranks), **count} for ranks, count in result["communication"].items()], console)
    for ranks, row in result["all_reduce"].items():
        small, large = row["sizes"][0], row["sizes"][-1]
        speed = f"{row['bandwidth_gb']:.2f} GB/s" if row["bandwidth_gb"] else "no bandwidth to be seen"
        console.print(
            f"all-reduce of {ranks} processes: latency {row['latency_us']:,.0f} us, {speed} "
            f"(fit, median error {row['error']:.0%}); {size(small['bytes'])} {1e6 * small['seconds']:,.0f} us, "
            f"{size(large['bytes'])} {1000 * large['seconds']:,.1f} ms",
            highlight=False, soft_wrap=True,
        )  # fmt: skip
    for note in result["notes"]:
        console.print(f"note: {note}", highlight=False, soft_wrap=True)


def show_counts(counts: Sequence[Result], console: Console) -> None:
    """A line for each purpose of each count; optional keys model and compiled."""
    if not counts:
        return
    made = table("", "processes", "purpose", "calls a step", "bytes", "sent by a rank")
    for count in counts:
        name = f"{count['model']}, {'compiled' if count['compiled'] else 'eager'}" if "model" in count else ""
        rows = list(count["step"].items())
        rows += [(f"{purpose}, a reading", row) for purpose, row in count["reading"].items()]
        for purpose, row in rows:
            made.add_row(
                name, str(count["ranks"]), purpose, str(row["calls"]), size(row["bytes"]), size(row["wire_bytes"])
            )
        if not count["step"]:
            made.add_row(name, str(count["ranks"]), "nothing", "0", "", "")
    console.print(made)
    console.print(
        "bytes: of the messages; sent by a rank: of the ring algorithm. A reading: the meter every log.every steps "
        f"({counts[0]['log_every']}), the vote about every second, over the host.",
        highlight=False, soft_wrap=True,
    )  # fmt: skip


# The projection.


def check_rows(result: Result, inputs: projection.Inputs, hidden: projection.Hidden) -> list[str]:
    """The formula, given the network that was measured, against the steps that were: where ranks had a core each."""
    lines = []
    for key, row in result["groups"].items():
        times = result["all_reduce"].get(str(row["ranks"]))
        if row["ranks"] == 1 or times is None:
            continue
        if result["device"] == "cpu" and row["ranks"] * row["threads"] > result["cores"]:
            continue
        slope = 1 / (times["bandwidth_gb"] * 1e9) if times["bandwidth_gb"] else 0.0
        network = projection.Fitted(projection.Fit(times["latency_us"] / 1e6, slope, times["error"]))
        share = row["images_per_step"] / row["ranks"]
        parts = projection.step_parts(inputs, row["ranks"], share, network, hidden)
        predicted = 1000 * (sum(parts.values()) - parts["data"])
        seen = row["step"]["milliseconds"]["median"]
        lines.append(
            f"{key}: {predicted:,.1f} ms by the formula, {seen:,.1f} ms measured ({predicted / seen - 1:+.0%})"
        )
    return lines


def show_projection(
    result: Result, network: projection.Network, overlap: float, covered: float | None, console: Console
) -> None:
    """covered: as `projection.Hidden` has it; None: that of how the result was compiled."""
    inputs = projection.inputs_of(result)
    overlapped = result.get("config", {}).get("parallel", {}).get("overlap", True)
    compiled = result["configuration"].get("compiled", False) and overlapped
    hidden = projection.Hidden(overlap, (COVERED if compiled else 0.0) if covered is None else covered)

    def say(text: str) -> None:
        console.print(text, highlight=False, soft_wrap=True, markup=False)

    say("\n" + str(projection.__doc__))
    say(
        f"measured on {result['hardware']}: compute {1000 * inputs.compute.constant:.2f} ms + "
        f"{1000 * inputs.compute.slope:.3f} ms an image (median error {inputs.compute.error:.0%}), data "
        f"{1000 * inputs.data:.4f} ms an image"
    )
    say(f"counted: {counted_text(inputs)}")
    say(
        f"assumed: {network.gpus} GPUs a node, {network.latency_us:g} us and {network.bandwidth_gb:g} GB/s in a node, "
        f"{network.node_latency_us:g} us for each doubling of nodes and {network.node_bandwidth_gb:g} GB/s between "
        f"them, overlap {overlap:.0%}; {hidden.covered:.0%} of BatchNorm's messages backward have a weight gradient to "
        f"travel under, all of which are {inputs.weights:.0%} of the work on images"
    )
    if result["device"] == "cpu":
        say("note: compute was measured on a CPU: this is that machine's compute behind the network of a GPU cluster")
    rows = projection.project(inputs, network, hidden)
    console.print(projected(rows))
    if (other := other_pass(result, inputs, compiled)) is not None:
        say(f"with weak_pass separate, derived from the above: {counted_text(other)}")
        console.print(projected(projection.project(other, network, hidden)))
    for line in check_rows(result, inputs, hidden):
        say(f"check: {line}")
    for line in projection.notes(inputs, rows):
        say(f"- {line}")


def counted_text(inputs: projection.Inputs) -> str:
    return (
        f"{size(inputs.gradient_bytes)} of gradients and parameters in {inputs.gradient_calls} calls; "
        f"BatchNorm {inputs.forward_calls} calls forward with R x {size(8 * inputs.gathered)}, "
        f"{inputs.backward_calls} backward with {size(8 * inputs.channels)}; "
        f"state {inputs.state_calls} calls, {size(inputs.state_bytes)}"
    )


def other_pass(result: Result, inputs: projection.Inputs, compiled: bool) -> projection.Inputs | None:
    """The inputs of the same step with weak views in a forward of their own, where it was measured with a joint one."""
    if result.get("config", {}).get("algorithm", {}).get("weak_pass") != "joint":
        return None
    return projection.separate_pass(inputs, joined=compiled)


def projected(rows: Sequence[dict[str, Any]]) -> Table:
    made = table(
        "", "GPUs", "images each", "labeled", "compute", "gradients", "BatchNorm", "hidden", "data", "step ms",
        "images/s", "efficiency",
    )  # fmt: skip
    for row in rows:
        mode = "batch fixed" if row["mode"] == "strong" else "batch grows"
        shown = [mode, str(row["ranks"]), f"{row['images']:g}", f"{row['labeled']:g}"]
        if row["seconds"] is None:
            made.add_row(*shown, "does not divide")
            continue
        parts = [row["parts"][name] for name in ("compute", "gradients", "BatchNorm")]
        parts += [row["hidden"], row["parts"]["data"], row["seconds"]]
        shown += [f"{1000 * part:,.2f}" for part in parts]
        made.add_row(*shown, f"{row['images_per_second']:,.0f}", f"{row['efficiency']:.0%}")
    return made


# The picture.


def plot(result: Result, path: Path) -> None:
    """Efficiency over the processes, and bytes that a rank sends in a step by purpose."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(11, 4), layout="constrained")
    kinds = ["step", "end_to_end"] + ([] if result["device"] == "cuda" else ["step, by core"])
    for mode in ("strong", "weak"):
        for kind in kinds:
            points = [
                (row["ranks"], result["ratios"][f"{key}, {kind}"])
                for key, row in result["groups"].items()
                if row["mode"] == mode and f"{key}, {kind}" in result["ratios"]
            ]
            if points:
                worlds, values = [1, *(ranks for ranks, _ in points)], [1.0, *(v["median"] for _, v in points)]
                below = [0.0, *(v["median"] - v["min"] for _, v in points)]
                above = [0.0, *(v["max"] - v["median"] for _, v in points)]
                label = f"{mode}, {kind.replace('_', ' ')}"
                style = "-" if mode == "strong" else "--"
                left.errorbar(worlds, values, (below, above), label=label, linestyle=style, marker="o", capsize=3)
    left.set(xlabel="processes", ylabel="efficiency", ylim=(0, None), xticks=result["configuration"]["processes"])
    if left.get_legend_handles_labels()[0]:
        left.legend(fontsize=8, frameon=False)
    purposes = list(dict.fromkeys(name for count in result["communication"].values() for name in count["step"]))
    bottoms = dict.fromkeys(result["communication"], 0.0)
    for name in purposes:
        steps = {ranks: count["step"].get(name) for ranks, count in result["communication"].items()}
        heights = [(row["wire_bytes"] if row else 0.0) / 2**20 for row in steps.values()]
        calls = "/".join(str(row["calls"] if row else 0) for row in steps.values())
        right.bar(list(steps), heights, bottom=list(bottoms.values()), label=f"{name} ({calls} calls)", width=0.6)
        bottoms = {ranks: bottoms[ranks] + height for ranks, height in zip(steps, heights, strict=True)}
    right.set(xlabel="processes", ylabel="MiB a step that a rank sends (ring)")
    right.set_ylim(0, 1.35 * max([*bottoms.values(), 1e-9]))
    if purposes:
        right.legend(fontsize=8, frameon=False, loc="upper left")
    work = result["configuration"]
    title = f"{work['algorithm']}, {work['model']}, {work['image_size']} px, {result['images_per_step']} images a step"
    figure.suptitle(f"{title}, {work['precision']}\n{result['hardware']}", fontsize=9)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
    pyplot.close(figure)
