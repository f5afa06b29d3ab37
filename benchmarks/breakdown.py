"""Where the time of a step goes, as horizontal stacked bars."""

from pathlib import Path
from typing import Any

COLORS = {
    "forward + backward": "#4c72b0",
    "loss, optimizer, EMA, bookkeeping": "#dd8452",
    "loss, optimizer, logging": "#dd8452",
    "EMA": "#c44e52",
    "data": "#55a868",
}


def plot(breakdown: dict[str, dict[str, float]], title: str, path: Path) -> None:
    """Writes a picture; `breakdown`: row -> part of the step -> milliseconds. Parts below zero (noise) show as none."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(9, 1.4 + 0.7 * len(breakdown)), layout="constrained")
    labeled: set[str] = set()
    for row, parts in breakdown.items():
        left = 0.0
        for name, milliseconds in parts.items():
            width = max(0.0, milliseconds)
            label = None if name in labeled else name
            bar = axes.barh(row, width, left=left, color=COLORS[name], label=label, height=0.6)
            if width > 0.04 * _longest(breakdown):
                axes.bar_label(
                    bar,
                    [f"{milliseconds:,.0f}" if milliseconds >= 100 else f"{milliseconds:.3g}"],
                    label_type="center",
                    color="white",
                    fontsize=8,
                )
            labeled.add(name)
            left += width
        axes.text(left, row, f" {left:.4g} ms", va="center", fontsize=8)
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.set_xlabel("milliseconds a step")
    axes.set_title(title, fontsize=9, loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside lower center", ncols=3, fontsize=8, frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
    pyplot.close(figure)


def _longest(breakdown: dict[str, dict[str, float]]) -> float:
    return max(sum(max(0.0, value) for value in parts.values()) for parts in breakdown.values())


def engine_parts(ms: dict[str, float]) -> dict[str, float]:
    """Parts of the engine's step from the milliseconds of bare, step and (where measured) end_to_end."""
    parts = {"forward + backward": ms["bare"], "loss, optimizer, EMA, bookkeeping": ms["step"] - ms["bare"]}
    if "end_to_end" in ms:
        parts["data"] = ms["end_to_end"] - ms["step"]
    return parts


def conventional_parts(seconds: dict[str, Any]) -> dict[str, float]:
    """Parts of the conventional loop's step in milliseconds, in the engine's order."""
    ms = {name: 1000 * value for name, value in seconds.items()}
    return {
        "forward + backward": ms["forward + backward"],
        "loss, optimizer, logging": ms["rest"],
        "EMA": ms["EMA"],
        "data": ms["data"],
    }
