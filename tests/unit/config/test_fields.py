"""Fields by their dotted names, of whatever algorithm."""

from semisonic.algorithms.registry import ALGORITHMS
from semisonic.config.fields import algorithm_name, describe_fields
from semisonic.config.run_config import RunConfig
from semisonic.distributed.tracker_names import tracker_problems


def test_every_field_of_every_algorithm_is_described():
    for algorithm, kind in ALGORITHMS.items():
        names = [name for name, *_ in describe_fields(algorithm)]
        assert len(set(names)) == len(names)
        own = {f"algorithm.{field}" for field in kind.Config.model_fields}
        assert {name for name in names if name.startswith("algorithm.")} == own
        assert {name.partition(".")[0] for name in names} == set(RunConfig.model_fields)


def test_the_algorithm_that_fields_name():
    assert algorithm_name({"algorithm": {"name": "vat"}}) == algorithm_name({"algorithm.name": "vat"}) == "vat"
    assert algorithm_name({}) == algorithm_name({"algorithm": {"name": "no such"}}) == "fixmatch"


def test_trackers_are_those_of_accelerate():
    assert tracker_problems(()) == [] and tracker_problems(("tensorboard",)) == []
    (unknown,) = tracker_problems(("tensorboard", "tensorbord"))
    assert unknown.startswith("log.trackers: tensorbord is unknown; any of ") and "wandb" in unknown
    (missing,) = tracker_problems(("comet_ml",))
    assert missing == "log.trackers: the package of comet_ml is not installed; install it or leave comet_ml out"
