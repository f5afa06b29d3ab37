"""JSON of Label Studio: what is written, and all that its own exports may hold."""

import json
from pathlib import Path
from typing import Any

import pytest

from semisonic.daily.exchange import label_studio
from semisonic.daily.exchange.label_studio import read_tasks, task_of, write_tasks
from semisonic.daily.exchange.rows import Row
from semisonic.schema import UserError

DATA = {"image": "/data/local-files/?d=x/a%20b.png", "path": "/x/a b.png"}


def choice(*names: str, **more: Any) -> dict[str, Any]:
    return {
        "result": [{"from_name": "choice", "to_name": "image", "type": "choices", "value": {"choices": [*names]}}],
        **more,
    }


def read(tmp_path: Path, *tasks: Any) -> tuple[list[Row], list[str]]:
    (tmp_path / "t.json").write_text(json.dumps(tasks))
    problems: list[str] = []
    return list(read_tasks(tmp_path / "t.json", problems)), problems


def test_people_s_labels_are_annotations_and_the_network_s_predictions():
    task = task_of(Row("/x/ü b.png", "cat", "reviewed", "ann", event=3, hash=b"\1" * 16, exported="cat"))
    assert task["data"] == {
        "image": "/data/local-files/?d=x/%C3%BC%20b.png", "path": "/x/ü b.png", "hash": "01" * 16, "state": "reviewed",
        "who": "ann", "at": "", "run": "", "exported": "cat", "event": "3",
    }  # fmt: skip
    assert task["annotations"] == [choice("cat", was_cancelled=False)] and "predictions" not in task
    auto = task_of(Row("/x/a.png", "cat", "auto", run="day-001", certainty=0.5))
    assert auto["predictions"] == [choice("cat", model_version="day-001", score=0.5)] and "annotations" not in auto
    assert task_of(Row("/x/a.png", "", "unsure"))["annotations"] == [{"was_cancelled": True, "result": []}]
    assert task_of(Row("/x/a.png", "", "unlabeled")).keys() == {"data"}


@pytest.mark.parametrize(
    ("task", "label", "state"),
    [
        ({"annotations": [choice("cat")]}, "cat", ""),
        (
            {
                "annotations": [choice("cat", was_cancelled=False, completed_by=7, id=1, lead_time=2.5)],
                "id": 9,
                "drafts": [],
            },
            "cat",
            "",
        ),
        ({"annotations": [{"was_cancelled": True, "result": []}]}, "", "unsure"),
        ({"annotations": [choice("cat", was_cancelled=True)]}, "", "unsure"),
        ({"annotations": [choice("cat"), choice("cat")]}, "cat", ""),
        ({"annotations": [], "predictions": [choice("dog", score=0.9)]}, "dog", "unlabeled"),
        ({"annotations": [], "predictions": None}, "", "unlabeled"),
        ({"annotations": [choice("cat")], "predictions": [choice("dog")]}, "cat", ""),
    ],
)
def test_what_a_task_says(task: dict[str, Any], label: str, state: str, tmp_path: Path):
    ((row,), problems) = read(tmp_path, {"data": DATA, **task})
    assert (row.label, row.state, row.exported, row.path) == (label, state, None, "/x/a b.png") and not problems


def test_what_else_a_set_up_asks_for_is_no_class(tmp_path: Path):
    both = choice("cat")
    both["result"].insert(0, {"from_name": "quality", "type": "choices", "value": {"choices": ["blurred"]}})
    ((row,), problems) = read(tmp_path, {"data": DATA, "annotations": [both]})
    assert row.label == "cat" and not problems


def test_an_annotation_over_a_shown_guess_is_a_review(tmp_path: Path):
    for shown, state in (("auto", "reviewed"), ("accepted", "reviewed"), ("given", "given"), ("unlabeled", "")):
        ((row,), _) = read(tmp_path, {"data": DATA | {"state": shown, "exported": ""}, "annotations": [choice("cat")]})
        assert row.state == state and row.exported == ""
    ((row,), _) = read(tmp_path, {"data": DATA | {"state": "rejected"}, "annotations": [{"was_cancelled": True}]})
    assert row.state == "rejected"


@pytest.mark.parametrize(
    ("data", "path"),
    [
        ({"image": "/data/local-files/?d=x/a%20b%E9.png"}, "/x/a b\udce9.png"),
        ({"image": "file:///x/a%20b.png"}, "/x/a b.png"),
        ({"image": "images/a.png"}, "images/a.png"),
        ({"image": "https://x", "path": "/x/caf\\xe9.png"}, "/x/caf\udce9.png"),
    ],
)
def test_the_image_of_a_task(data: dict[str, str], path: str, tmp_path: Path):
    ((row,), problems) = read(tmp_path, {"data": data})
    assert row.path == path and not problems


@pytest.mark.parametrize(
    ("task", "told"),
    [
        ([], "has no data"),
        ({"data": 3}, "has no data"),
        ({"data": {"image": "https://x/a.png"}}, "names no file: data.path is missing"),
        ({"data": {"path": ["/x"]}}, "data.path is no text"),
        ({"data": {**DATA, "event": "x"}}, "data.event must be a whole number"),
        ({"data": {**DATA, "hash": "x"}}, "data.hash 32 hexadecimal digits"),
        ({"data": DATA, "annotations": {}}, "has annotations that are no list"),
        ({"data": DATA, "annotations": [3]}, "has an annotation that is no object"),
        ({"data": DATA, "annotations": [{"result": []}]}, "has an annotation without a choice"),
        ({"data": DATA, "annotations": [choice("a", "b")]}, "has 2 choices; an image has one class"),
        ({"data": DATA, "annotations": [choice("a"), choice("b")]}, "has 2 annotations that differ; keep one"),
    ],
)
def test_a_wrong_task_is_a_line(task: Any, told: str, tmp_path: Path):
    rows, problems = read(tmp_path, {"data": DATA}, task)
    assert len(rows) == 1 and len(problems) == 1 and problems[0].startswith("task 2: ") and told in problems[0]


def test_more_than_is_read_again_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    assert write_tasks(tmp_path / "none.json", []) == 0 and read_tasks(tmp_path / "none.json", [])
    monkeypatch.setattr(label_studio, "MOST_BYTES", 500)
    with pytest.raises(UserError, match="2 images make a file of over"):
        write_tasks(tmp_path / "t.json", [Row(f"/x/{number}.png", "cat", "given") for number in range(9)])
    assert [path.name for path in tmp_path.iterdir()] == ["none.json"]
