"""Trackers are those that Accelerate has; others, and missing packages, are told."""

from semisonic.distributed.tracker_names import tracker_problems


def test_trackers_are_those_of_accelerate():
    assert tracker_problems(()) == [] and tracker_problems(("tensorboard",)) == []
    (unknown,) = tracker_problems(("tensorboard", "tensorbord"))
    assert unknown.startswith("log.trackers: tensorbord is unknown; any of ") and "wandb" in unknown
    (missing,) = tracker_problems(("comet_ml",))
    assert missing == "log.trackers: comet_ml is not installed; install the package of comet_ml, or leave comet_ml out"
