"""What the page says: headline figures, state, and what it lacks."""

import pytest

from semisonic.run_page.facts import Seen
from semisonic.run_page.model import run_page

CONFUSION = [[3, 0, 0], [1, 2, 0], [2, 1, 0]]


def test_a_finished_run(planted, data):
    page = run_page(planted(last={"train/class_entropy": -0.0}), Seen("test", 100, CONFUSION, data=data))
    tiles = {tile.name: tile.value for tile in page.tiles}
    assert tiles["averaged network (EMA), test images"] == tiles["raw network, test images"] == "90.00 %"
    assert (page.state, page.said, page.which) == ("finished", "Finished after 100 steps.", "test images")
    assert ("90.0 %", "of the unlabeled images have a pseudo-label that counts") in page.pseudo
    assert ("0.00", "entropy of their classes, of 1 for all alike") in page.pseudo, "of one class it is -0.0"
    assert page.has("precision") and not page.has("threshold") and page.notes == []


def test_what_it_is_compared_with(planted):
    summary = planted().summary | {
        "test_top1_interval": [85.0, 94.0], "baseline": {"test_top1": 70.0},
        "held_out_selected": {"step": 40, "held_out_top1": 99.0, "test_top1": 88.0},
        "test_by_class": {"balanced": 81.0, "many": 95.0, "medium": 85.0, "few": 60.0},
    }  # fmt: skip
    tiles = {tile.name: (tile.value, tile.note) for tile in run_page(planted(summary=summary), Seen("test")).tiles}
    assert tiles["averaged network (EMA), test images"] == ("90.00 %", "95 %: 85.0 to 94.0")
    assert tiles["supervised baseline, same labels"] == ("70.00 %", "")
    assert tiles["chosen by held-out images, on test images"] == ("88.00 %", "step 40")
    assert tiles["mean recall of the classes"] == ("81.00 %", "many 95.0, medium 85.0, few 60.0")


def test_a_run_that_was_extended_and_stopped(planted):
    status = {"status": "stopped", "step": 100, "steps": 200, "reason": "SIGTERM"}
    extended = [{"from": 50, "steps": [50, 200]}]
    page = run_page(planted("--steps", "200", status=status, summary=None, extended=extended), Seen(missing="moved"))
    assert (
        page.said == "Stopped at step 100 of 200: SIGTERM. From step 50 on it was planned for 200 steps in place of 50."
    )
    assert page.notes == ["moved"] and page.mistakes == []


@pytest.mark.parametrize(
    "at_work, state, said",
    [
        (True, "running", "Running at step 100 of 200."),
        (False, "unfinished", "Neither finished nor at work: at step 100 of 200."),
    ],
)
def test_a_run_of_which_no_end_is_written_down(planted, at_work: bool, state: str, said: str):
    status = {"status": "running", "step": 100, "steps": 200}
    page = run_page(planted("--steps", "200", status=status, summary=None, at_work=at_work), Seen())
    assert page.state == state and page.said.startswith(said)


def test_without_an_evaluation_there_is_no_accuracy(planted):
    lines = [line for line in planted().lines if line["kind"] == "train"]
    page = run_page(planted("--data.test", "none", lines=lines), Seen())
    assert page.which is None and not any("network" in tile.name for tile in page.tiles)
    assert [row.name for row in page.rows] == ["cat", "dog", "<b>owl</b>"]


def test_two_networks_are_one_run(planted):
    page = run_page(planted("--algorithm", "mpl"), Seen("test"))
    assert ("algorithm", "mpl") in page.trained and page.charts
