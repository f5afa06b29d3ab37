"""The page: curves over seeds, colors that can be told apart, and a size that stays small."""

import re
from itertools import combinations
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from semisonic.compare.jobs import folder_name
from semisonic.compare.page import COLORS, POINTS, collect, page, scalar, spread, style
from semisonic.compare.rows import discover, rows_of
from semisonic.pages.drawings import SERIES
from tests.support.comparisons import fabricate, job, lines

PLOT = '<figure class="plot">'


def test_curves_are_means_and_ranges_over_seeds():
    series = [[{"step": 1, "a": 1.0}, {"step": 2, "a": 2.0}, {"step": 2, "b": 9}], [{"step": 1, "a": 3.0}]]
    line = collect(series, scalar("a", 10))
    assert line is not None and line.steps.tolist() == [1, 2]
    assert line.mean.tolist() == [20, 20] and line.low.tolist() == [10, 20] and line.high.tolist() == [30, 20]
    assert collect(series, scalar("c")) is None
    vector = collect([[{"step": 1, "t": [0.1, 0.5]}], [{"step": 1, "t": 0.9}]], spread("t"))
    assert vector is not None and vector.mean[0] == pytest.approx(0.6) and (vector.low[0], vector.high[0]) == (0.1, 0.9)
    long = collect([[{"step": step, "a": 0.0} for step in range(5000)]], scalar("a"))
    assert long is not None and len(long.steps) == POINTS and (long.steps[0], long.steps[-1]) == (0, 4999)


def test_a_thousand_classes_stay_readable(tmp_path: Path):
    for name in ("supervised", "fixmatch"):
        fabricate(job(tmp_path, entry=name), top1=90.0, lines=lines(90.0, name == "fixmatch", classes=1000))
    content = page(rows_of(discover(tmp_path), ["supervised", "fixmatch"]), [], {})
    assert len(content) < 2_000_000 and content.count(PLOT) == 7


def test_a_picture_that_fails_is_a_line_in_its_place(tmp_path: Path, capfd: pytest.CaptureFixture):
    """Here by figures of a run that are no numbers, and by vectors of two lengths."""
    odd = [*lines(90.0, True), {"step": 40, "train/threshold": ["a", None]}]
    fabricate(job(tmp_path, entry="supervised"), top1=90.0, lines=odd)
    fabricate(job(tmp_path, entry="fixmatch"), top1=90.0, lines=lines(90.0, True, classes=3))
    content = page(rows_of(discover(tmp_path), ["supervised", "fixmatch"]), [], {})
    assert content.count(PLOT) == 4 and content.count("is left out: ") == 3
    said = capfd.readouterr().err.splitlines()
    assert len(said) == 3 and all(line.startswith("warning: the picture ") for line in said)


@pytest.mark.parametrize(("colors", "behind"), [(COLORS, "#ffffff"), ([dark for _, dark in SERIES], "#14171b")])
def test_sixteen_colors_are_distinct(colors: list[str], behind: str):
    """Apart from each other and from the light or the dark page, in a space where distances are those of the eye."""

    def linear_of(color: str) -> np.ndarray:
        rgb = np.array(to_rgb(color))
        return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)

    def contrast(first: str, second: str) -> float:
        dark, light = sorted(float(linear_of(color) @ [0.2126, 0.7152, 0.0722]) for color in (first, second))
        return (light + 0.05) / (dark + 0.05)

    def lab(color: str) -> np.ndarray:
        linear = linear_of(color)
        xyz = (
            np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
            @ linear
            / [0.9505, 1, 1.089]
        )
        f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
        return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])

    assert len(COLORS) == 16 and len({tuple(style(k).values()) for k in range(64)}) == 64
    assert min(contrast(color, behind) for color in colors) >= 3  # of WCAG, for graphics
    assert min(float(np.linalg.norm(lab(a) - lab(b))) for a, b in combinations([*colors, behind], 2)) > 18


def test_shares_have_the_same_axes_and_names_stand_above(tmp_path: Path):
    for name in ("supervised", "fixmatch"):
        fabricate(job(tmp_path, entry=name), top1=90.0, lines=lines(90.0, name == "fixmatch"))
    content = page(rows_of(discover(tmp_path), ["supervised", "fixmatch"]), [], {})
    plots = {plot.partition(">")[2].partition("<")[0].strip(): plot for plot in content.split(PLOT)[1:]}
    coverage, precision = (
        next(plot for title, plot in plots.items() if title.startswith(word)) for word in ("Coverage", "Precision")
    )
    for plot in (coverage, precision):  # of 25 to 75 %, and of 90 %
        assert [f">{share}</text>" in plot for share in (0, 20, 40, 60, 80, 100)] == [True] * 6
        assert plot.index('<ul class="legend">') < plot.index("fixmatch</li>") < plot.index('role="img"')


def test_tables_lead_to_each_run_and_to_its_report_where_there_is_one(tmp_path: Path):
    entries = ("supervised", "fixmatch:x=50% of a/b")
    for name in entries:
        fabricate(job(tmp_path, entry=name.partition(":")[0]), top1=90.0)
    runs = discover(tmp_path)
    renamed = runs[0].folder.rename(runs[0].folder.with_name(folder_name(entries[1], "40", 0)))
    (renamed / "report.html").touch()
    content = page(rows_of(discover(tmp_path), list(entries)), [], {"fixmatch-40-seed9": "failed"})
    links = [unquote(link) for link in re.findall(r'href="([^"]+)"', content)]
    assert sorted(links) == sorted(
        ["runs/supervised-40-seed0/"] * 2
        + [f"runs/{renamed.name}/report.html"] * 2
        + [f"runs/{renamed.name}/", "runs/fixmatch-40-seed9/"]
    )
