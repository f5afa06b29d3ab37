"""What was found as plain values."""

import json

import numpy as np

from semisonic.inspection.findings import ClassCount, Files, Inspection, Span, Suggestion, Unusable, span


def test_a_span_is_smallest_middle_and_largest():
    assert span(np.array([3, 1, 2, 9])) == Span(1, 2.5, 9) and span(np.zeros(0)) is None


def test_json_names_everything():
    found = Inspection(
        "images", classes=[ClassCount("a", 1, 2, 3, 4)], files=Files(height=Span(1, 2, 3)), problems=["bad"],
        unusable=[Unusable("p", "r")], suggestions=[Suggestion("--x", "y")],
    )  # fmt: skip
    content = json.loads(json.dumps(found.as_json(), allow_nan=False))
    assert content["refused"] is True and content["version"] == 1
    assert content["classes"] == [{"name": "a", "labeled": 1, "drawn": 2, "held_out": 3, "test": 4}]
    assert content["files"]["height"] == {"least": 1, "median": 2, "most": 3} and content["files"]["width"] is None
    assert content["unusable"] == [{"path": "p", "reason": "r"}] and content["suggestions"] == [
        {"option": "--x", "why": "y"}
    ]
