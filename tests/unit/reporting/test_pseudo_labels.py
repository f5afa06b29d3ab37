"""What a run says of its pseudo-labels while it trains."""

import json
from pathlib import Path

import pytest
import torch

from semisonic.algorithms.monitoring import pseudo_label_metrics
from semisonic.reporting.pseudo_labels import PseudoLabelMonitor, describe, normalized_entropy, summary
from semisonic.schema import UserError
from semisonic.training.metrics import Meter
from tests.support.pseudo_labels import usage


def reading(*shares: float) -> dict[str, object]:
    return {"train/coverage": sum(shares), "train/class_share": list(shares)}


def names(made: PseudoLabelMonitor, step: int, *shares: float) -> tuple[list[str], str | None]:
    figures, line = made.read(step, reading(*shares))
    found = figures.get("train/collapsed_classes", [])
    assert figures["train/collapsed"] == len(found)
    return found, line


EVEN, COLLAPSED = (0.2, 0.2, 0.2, 0.2), (0.4, 0.39, 0.0, 0.01)


def test_figures_follow_from_what_an_algorithm_returns():
    label = torch.tensor([0, 0, 1, 3, 2, 2, 2, 2])
    mask = torch.tensor([1, 1, 1, 1, 0, 0, 0, 0]).float()
    true = torch.tensor([0, 1, 1, -1, 0, 0, -1, 2])
    meter = Meter()
    meter.add({"loss": torch.tensor(2.0), **pseudo_label_metrics(label, mask, true, 4)})
    figures, line = usage().read(1, {f"train/{name}": value for name, value in meter.read().items()})
    assert line is None and figures["train/loss"] == 2.0
    assert figures["train/coverage"] == 0.5
    assert figures["train/pseudo_label_precision"] == pytest.approx(2 / 3)  # one of the four is of an unknown class
    assert figures["train/class_share"] == [0.25, 0.125, 0.0, 0.125]
    assert figures["train/class_entropy"] == pytest.approx(1.5 / 2)  # bits: (1/2, 1/4, 1/4) of log2(4)
    assert not figures.keys() & {"train/pseudo_label_correct", "train/pseudo_label_known"}


def test_nothing_is_said_that_is_not_known():
    unknown = {**reading(0.1, 0.1, 0.1, 0.1), "train/pseudo_label_correct": 0.0, "train/pseudo_label_known": 0.0}
    figures, _ = usage().read(1, unknown)
    assert "train/pseudo_label_precision" not in figures and figures["train/coverage"] == pytest.approx(0.4)
    none, _ = usage().read(1, {**reading(0.0, 0.0, 0.0, 0.0), "train/pseudo_label_known": 0.0})
    assert none["train/coverage"] == 0.0
    assert not none.keys() & {"train/pseudo_label_precision", "train/class_entropy"}
    plain = {"train/loss": 1.0, "train/labeled_accuracy": 0.5}
    assert usage().read(1, plain) == (plain, None) and describe(plain) == ""
    alone, _ = usage().read(1, {"train/coverage": 0.3})  # a method without classes
    assert alone == {"train/coverage": 0.3}


def test_entropy_is_normalized():
    assert normalized_entropy([0.1] * 10) == pytest.approx(1)
    assert normalized_entropy([0, 0.3, 0]) == 0
    assert normalized_entropy([1.0]) == 1


def test_the_alarm_speaks_once_a_change_not_at_every_reading():
    made, lines = usage(), []
    for step in range(50, 1001, 50):
        found, line = names(made, step, *(COLLAPSED if 300 < step <= 600 else EVEN))
        lines.append((step, found, line))
    said = [(step, found) for step, found, line in lines if line]
    # The window is 100 steps: at 400 all of it has collapsed, at 650 half of it no longer.
    assert said == [(400, ["cat", "dog"]), (650, [])]
    assert [found for step, found, _ in lines if 400 <= step <= 600] == [["cat", "dog"]] * 5
    told = next(line for _, _, line in lines if line)
    assert told == "step 400: pseudo-labels have collapsed: 2 of 4 classes get less than 10% of their share: cat, dog"
    assert (
        next(line for step, _, line in lines if step == 650)
        == "step 650: pseudo-labels are spread over all classes again"
    )


def test_the_alarm_waits_for_a_whole_window():
    made = usage()
    assert names(made, 90, *COLLAPSED) == ([], None)
    assert names(made, 100, *COLLAPSED)[0] == ["cat", "dog"]
    long = usage(steps=50_000)  # a hundredth of the run
    assert names(long, 499, *COLLAPSED) == ([], None) and names(long, 500, *COLLAPSED)[0]


def test_the_alarm_needs_coverage():
    made = usage()
    assert names(made, 100, 0.29, 0, 0, 0) == ([], None)
    assert names(made, 200, 0.31, 0, 0, 0)[0] == ["bee", "cat", "dog"]
    assert names(made, 300, 0.1, 0, 0, 0) == (["bee", "cat", "dog"], None)  # not judged: the verdict stands
    assert names(usage("--log.collapse-coverage", "0.5"), 100, 0.4, 0, 0, 0) == ([], None)


def test_the_share_is_that_of_the_labeled_images():
    rare = usage(prior=(0.6, 0.38, 0.01, 0.01))
    assert names(rare, 100, 0.6, 0.38, 0.01, 0.0011) == ([], None)  # a ninth of a hundredth is more than a tenth of it
    assert names(rare, 200, 0.6, 0.38, 0.01, 0.0009)[0] == ["dog"]
    assert names(usage(prior=(0.5, 0.5, 0.0, 0.0)), 100, 0.5, 0.49, 0.01, 0) == ([], None)  # none is due


def test_a_class_of_which_few_pseudo_labels_are_due_is_not_judged():
    """20,000 images in the window: of a class of a thousandth 20 are due, too few to miss; of one of two, 40."""
    assert names(usage(prior=(0.5, 0.498, 0.001, 0.001)), 100, 0.5, 0.5, 0, 0) == ([], None)
    assert names(usage(prior=(0.5, 0.496, 0.002, 0.002)), 100, 0.5, 0.5, 0, 0)[0] == ["cat", "dog"]


def test_a_batch_that_grows_counts_by_the_images_that_were_read():
    """A class of a thousandth is due 20 pseudo-labels at 200 images a step, too few to judge; it is not due them in
    smaller steps. What a reading says counts by its images, so that later ones weigh more."""
    growing = ("--batch.unlabeled-schedule", "growing", "--batch.unlabeled-stages", "4", "--batch.unlabeled-bend", "0")
    of_one, whole = usage(prior=(0.5, 0.496, 0.002, 0.002)), usage(*growing, prior=(0.5, 0.496, 0.002, 0.002))
    assert names(of_one, 100, 0.5, 0.5, 0, 0)[0] == ["cat", "dog"]  # 40 are due of 20,000 images
    assert names(whole, 100, 0.5, 0.5, 0, 0) == ([], None)  # 10 of 5,000
    assert [images for _, images, _ in whole.readings] == [100 * 50]
    assert names(whole, 950, 0.5, 0.5, 0, 0)[0] == ["cat", "dog"]


def test_a_class_at_the_limit_does_not_flicker():
    made = usage()
    assert names(made, 100, 0.4, 0.2, 0.2, 0.018)[0] == ["dog"]  # 0.088 of its share
    assert names(made, 200, 0.4, 0.2, 0.2, 0.03) == (["dog"], None)  # 0.145
    found, line = names(made, 300, 0.4, 0.2, 0.2, 0.05)  # 0.235
    assert found == [] and line
    assert names(made, 400, 0.4, 0.2, 0.2, 0.03) == ([], None)


def test_the_alarm_can_be_turned_off():
    assert names(usage("--log.collapse", "0"), 100, 1, 0, 0, 0) == ([], None)


def test_a_resumed_run_takes_up_the_alarm_where_it_was(tmp_path: Path):
    path, whole = tmp_path / "metrics.jsonl", usage()
    shares = [EVEN, COLLAPSED, COLLAPSED, COLLAPSED, EVEN, EVEN]
    lines, said = [{"step": 10, "test/top1": 3.0}], []
    for step, share in enumerate(shares, start=1):
        figures, line = whole.read(50 * step, reading(*share))
        lines.append({"step": 50 * step, **figures})
        said.append(line)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    for stop in range(len(shares)):
        again = usage()
        again.restore(path, 50 * stop)
        for step in range(stop, len(shares)):
            figures, line = again.read(50 * (step + 1), reading(*shares[step]))
            assert ({"step": 50 * (step + 1), **figures}, line) == (lines[step + 1], said[step])
    between = usage()  # the next reading is of 50 steps, of which 20 came before
    between.restore(path, 170, 150)
    figures, line = between.read(200, reading(*shares[3]))
    assert ({"step": 200, **figures}, line) == (lines[4], said[3])
    assert [steps for steps, _, _ in between.readings][-1] == 50
    fresh = usage()
    fresh.restore(tmp_path / "nothing", 0)
    assert not fresh.readings
    for odd in (["a"] * 4, [0.5], "a", [None] * 4):
        path.write_text(json.dumps({"step": 1, "train/class_share": odd}) + "\n")
        with pytest.raises(UserError, match="train/class_share of step 1: not a share of each class"):
            usage().restore(path, 2)


def test_the_summary_has_the_last_figures_and_every_change():
    made, lines = usage(), [{"step": 1, "test/top1": 2.0}]
    for step in range(50, 1001, 50):
        lines.append({"step": step, **made.read(step, reading(*(COLLAPSED if 300 < step <= 600 else EVEN)))[0]})
    assert summary(lines) == {
        "pseudo_labels": {
            "coverage": pytest.approx(0.8),
            "class_entropy": pytest.approx(1),
            "collapsed_classes": [],
            "collapses": [{"step": 400, "classes": ["cat", "dog"]}, {"step": 650, "classes": []}],
        }
    }
    assert summary([{"step": 1, "train/loss": 1.0}]) == {}
