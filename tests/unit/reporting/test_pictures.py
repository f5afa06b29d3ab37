"""Text that reaches a picture is drawn as it is, whatever it holds."""

import warnings
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from PIL import Image

from semisonic.compare.page import Line, by_class, chart, pseudo_labels
from semisonic.reporting.console import save_confusion
from semisonic.reporting.pictures import NAME, name_in_picture

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
