"""The page of the study of labels."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from semisonic.compare.page import image, style
from semisonic.pages.drawings import Drawing
from semisonic.pages.rendering import render
from semisonic.reporting.pictures import drawing
from semisonic.studies.points import Point, series_of

COLUMNS = ("labels", "a class", "images", "runs", "error %", "against the best")


@drawing()
def curves(points: Sequence[Point]) -> Drawing:
    """Error against labels, with intervals over seeds."""
    figure = Figure(figsize=(4.5, 3.2), layout="constrained")
    axes = figure.subplots()
    shift = 0.985
    for index, ((algorithm, way), own) in enumerate(series_of(points).items()):
        labels = np.array([point.labels for point in own]) * shift ** (1 - index)  # so that bars do not hide each other
        half = [point.error.half or 0 for point in own]
        mean = [point.error.mean for point in own]
        axes.errorbar(
            labels, mean, half, label=f"{algorithm}, {way}", capsize=3, marker="o", markersize=4, **style(index)
        )
    every = sorted({point.labels for point in points})
    axes.set(xscale="log", xlabel="labeled images", ylabel="test error, %", ylim=(0, None))
    axes.set_xticks(every, [f"{count:,}" for count in every], minor=False)
    axes.minorticks_off()
    axes.grid(alpha=0.25)
    title = "Test error against the number of labels, with 95 % intervals over seeds"
    return image(figure, title, legend=True, captioned=True)


def page(points: Sequence[Point], said: Sequence[str], classes: int) -> str:
    """The whole page."""
    parts = []
    for (algorithm, way), own in series_of(points).items():
        best = min(own, key=lambda point: point.error.mean)
        rows = [
            (
                f"{point.labels:,}", f"{point.labels / classes:g}", way, str(len(point.errors)), point.error.text(),
                "" if point is best or not (behind := point.behind(best)) else behind.text(sign=True),
            )
            for point in own
        ]  # fmt: skip
        parts.append({"title": f"{algorithm}, {way} images", "rows": rows})
    return render("studies/labels.html.j2", said=said, picture=curves(points), columns=COLUMNS, parts=parts)
