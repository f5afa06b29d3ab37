"""Text that reaches a picture is drawn as it is, whatever it holds."""

import warnings
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from semisonic.compare.page import Line, by_class, chart, pseudo_labels
from semisonic.reporting import console
from semisonic.reporting.console import network_of, save_confusion
from semisonic.reporting.pictures import NAME, name_in_picture, saved

ODD = [
    "$5 to $10",
    r"\frac{$",
    "$\\x$",
    "a\nb\tc",
    "x" * 4000,
    "\u202eright to left",
    "שלום",
    "😀" * 3,
    "\udc80",
    "",
    " ",
]


def test_any_class_can_be_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(matplotlib.rcParams, "text.usetex", True)  # as a user's own settings may say
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        save_confusion(tmp_path / "c.png", np.eye(len(ODD), dtype=int).tolist(), ODD)
    with Image.open(tmp_path / "c.png") as picture:
        assert min(picture.size) > 300
    assert matplotlib.rcParams["text.usetex"], "settings are as they were"


def test_any_entry_can_be_drawn():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        points = np.arange(3.0)
        vectors = {f"{name}:x={name}": np.ones(3) for name in ODD[:5]}
        for drawn in (
            chart("$title", "%", {0: (f"{''.join(ODD)}", Line(points, points, points, points))}),
            by_class(vectors, dict.fromkeys(vectors, 0)),
            pseudo_labels(vectors),
        ):
            assert drawn is not None and drawn.svg.startswith("<svg ") and "<script" not in drawn.svg


def test_a_name_is_one_line_and_short():
    assert name_in_picture("red fox") == "red fox" and name_in_picture("a\nb") == "a\\nb"
    assert len(name_in_picture("x" * 99)) == NAME and name_in_picture("x" * 99).endswith("…")


@pytest.mark.parametrize("classes", [2, 10, 40])
@pytest.mark.parametrize("run", ["run", "fixmatch+ema.decay=0.9-40-seed0 " + "W" * 60, "a long name in words " * 6])
def test_a_confusion_s_title_names_run_network_and_step_and_fits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, classes: int, run: str
):
    figures: list[Figure] = []

    def kept(figure: Figure, kind: str, **options: object) -> bytes:
        figures.append(figure)
        return saved(figure, kind, **options)

    monkeypatch.setattr(console, "saved", kept)
    of = network_of(tmp_path / run.strip() / "checkpoints" / "step-1200", "raw", 1200)
    save_confusion(tmp_path / "c.png", np.eye(classes, dtype=int).tolist(), [str(k) for k in range(classes)], of=of)
    (figure,) = figures
    (title,) = figure.texts
    lines = title.get_text().split("\n")
    assert lines[0] == "Test accuracy 100.00 %"
    assert "".join(" ".join(lines[1:]).split()) == "".join(f"{run.strip()}, raw network, step 1,200".split())
    figure.set_dpi(120)  # as it was drawn
    box, axes = title.get_window_extent(), figure.axes[0].get_window_extent()
    assert box.x0 >= 0 and box.x1 <= figure.bbox.x1 and box.y0 >= axes.y1


def test_a_run_is_named_by_its_folder_and_a_checkpoint_by_its_run_s():
    assert network_of(Path("runs/a"), "ema", 400) == network_of(Path("runs/a/checkpoints/step-400"), "ema", 400)
    assert network_of(Path("runs/a"), "ema", 400) == "a, EMA network, step 400"
