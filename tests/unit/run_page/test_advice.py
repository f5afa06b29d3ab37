"""What to do next: every rule speaks where its figures are, and a good run hears of nothing that is wrong."""

from typing import Any

import pytest

from semisonic.run_page.advice import Given, advice_of
from semisonic.run_page.classes import matrix_of, rows_of
from semisonic.run_page.facts import Facts, Seen
from semisonic.run_page.use import Margins

GOOD = [[98, 1, 1], [1, 98, 1], [1, 1, 98]]
LOST = [[98, 1, 1], [1, 98, 1], [90, 5, 5]]


def told(facts: Facts, confusion: list[list[int]] | None = None, margins: Margins | None = None) -> list[str]:
    rows = rows_of(facts, Seen("test", 100, confusion))
    matrix = matrix_of(facts.classes, confusion) if confusion else None
    return [" ".join(filter(None, (one.text, one.command))) for one in advice_of(Given(facts, rows, matrix, margins))]


def test_a_good_run_is_told_what_it_is_good_for(planted):
    facts = planted()
    run = str(facts.folder)
    assert told(facts, GOOD) == [
        f"Predict images of your own. semisonic predict {run} IMAGES", f"Export the network. semisonic export {run}",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "last, text",
    [
        ({"train/coverage": 0.2}, "Only 20 % of the unlabeled images have a pseudo-label that counts at the end"),
        ({"train/pseudo_label_precision": 0.4}, "Only 40 % of the pseudo-labels that count are right"),
        ({"test/top1": 80.0, "test_raw/top1": 93.0}, "The averaged network has not arrived: it is 13.0 points behind"),
        ({"test/top1": 70.0, "test_raw/top1": 70.0, "train/labeled_accuracy": 1.0}, "learned by heart: 100 % of them"),
        ({"train/collapsed": 1, "train/collapsed_classes": ["dog"]}, "dog gets hardly any pseudo-label"),
        ({"test/top1": 80.0, "test_raw/top1": 80.0}, "was 90.00 % at step 90 and has fallen to 80.00 %"),
        ({"test/top1": 95.0, "test_raw/top1": 95.0}, "still rose in the last quarter of the run, by 6.0 points"),
    ],
)
def test_what_is_wrong_is_told(planted, last: dict[str, Any], text: str):
    assert any(text in line for line in told(planted(last=last)))
    assert not any(text in line for line in told(planted()))


def test_of_images_it_is_told_what_is_lost_and_confused(planted):
    lines = told(planted(), LOST)
    assert "1 class is lost: of <b>owl</b> at most 20 % of the images are right" in lines[0]
    assert any("90 of the 99 mistakes are images of <b>owl</b> that are taken for cat" in line for line in lines)


def test_doubtful_labels_and_a_wait_for_images(planted):
    lines = told(planted(), GOOD, Margins(6, 2, [], False))
    assert any(line.startswith("2 labels have a margin below 0") for line in lines)
    summary = planted().summary | {"data_wait": 0.4}
    assert any("Steps wait for images 40 % of their time" in line for line in told(planted(summary=summary), GOOD))


@pytest.mark.parametrize(
    "status, said",
    [
        (
            {"status": "failed", "step": 40, "steps": 100, "reason": "no\nspace"},
            "The run failed at step 100 of 100 (no\\nspace). Once the reason is gone, it goes on after step 90, its",
        ),
        (
            {"status": "stopped", "step": 40, "steps": 100, "reason": "max_hours"},
            "The run was stopped at step 100 of 100 (max_hours). It goes on after step 90, its newest checkpoint, with",
        ),
        (
            {"status": "running", "step": 40, "steps": 100},
            "The run was killed at step 100 of 100, or another computer works on it. It goes on after step 90, its",
        ),
    ],
)
def test_an_unfinished_run_is_told_how_it_goes_on(planted, status: dict[str, Any], said: str):
    facts = planted(status=status, summary=None, state={"step": 90})
    first = told(facts)[0]
    assert first.startswith(said) and first.endswith(f"semisonic train --resume --out {facts.folder}")
    first = told(planted(status=status, summary=None, state=None))[0]
    assert "goes on from step 0, with this command." in first
    first = told(planted("--algorithm", "simclr", status=status, summary=None))[0]
    assert first.endswith(f"semisonic pretrain --resume --out {facts.folder}")


def test_a_run_that_is_at_work_is_not_told_to_go_on(planted):
    status = {"status": "running", "step": 40, "steps": 100, "reason": "supervised baseline"}
    first = told(planted(status=status, summary=None, at_work=True))[0]
    assert first == "The run is still going on, at step 100 of 100 (supervised baseline). This page is as of now."


def test_a_run_that_diverged_is_not_told_to_go_on(planted):
    status = {"status": "failed", "step": 40, "steps": 100, "reason": "loss", "exit_code": 3}
    first = told(planted(status=status, summary=None))[0]
    assert first.startswith("The run diverged at step 100 of 100 (loss), and would again. Begin another one")
    assert "--resume" not in first


def test_what_chance_explains_on_few_images_is_not_told(planted):
    few, many = [[3, 0, 0], [0, 2, 1], [0, 0, 3]], [[300, 0, 0], [0, 200, 100], [0, 0, 300]]
    for last, text in (({"test/top1": 95.0, "test_raw/top1": 95.0}, "still rose"),
                       ({"test/top1": 80.0, "test_raw/top1": 80.0}, "has fallen to")):  # fmt: skip
        assert not any(text in line for line in told(planted(last=last), few))
        assert any(text in line for line in told(planted(last=last), many))


def test_a_run_without_test_images_is_told_how_to_measure_it(planted):
    facts = planted("--data.test", "none", lines=[])
    assert (
        "Nothing says how good it is" in told(facts)[0]
        and f"semisonic evaluate {facts.folder} FOLDER" in told(facts)[0]
    )


def test_what_a_pretext_task_is_good_for(planted):
    assert told(planted("--algorithm", "simclr"), GOOD)[-1].startswith("Its features are a start for any other run")
