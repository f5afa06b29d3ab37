"""Fields by their dotted names, of whatever algorithm, also where texts name them as options."""

import re

from semisonic.algorithms.registry import ALGORITHMS
from semisonic.config.fields import RECORDED, algorithm_name, describe_fields
from semisonic.config.renamed import RENAMED
from semisonic.config.run_config import RunConfig
from tests.support.processes import ROOT

FORMS = ("a.b", "section.field")
"""What stands for any field where the form of an option is told."""


def test_every_field_of_every_algorithm_is_described():
    for algorithm, kind in ALGORITHMS.items():
        names = [name for name, *_ in describe_fields(algorithm)]
        assert len(set(names)) == len(names)
        own = {f"algorithm.{field}" for field in kind.Config.model_fields}
        assert {name for name in names if name.startswith("algorithm.")} == own
        assert {name.partition(".")[0] for name in names} == {*RunConfig.model_fields} - {*RECORDED}


def test_the_algorithm_that_fields_name():
    assert algorithm_name({"algorithm": {"name": "vat"}}) == algorithm_name({"algorithm.name": "vat"}) == "vat"
    assert algorithm_name({}) == algorithm_name({"algorithm": {"name": "no such"}}) == "fixmatch"


def test_options_named_in_texts_exist():
    files = [ROOT / "README.md", *ROOT.glob("engine/semisonic/*/*.py"), *ROOT.glob("benchmarks/*.py")]
    described = [name for algorithm in ALGORITHMS for name, *_ in describe_fields(algorithm)]
    known = {name.replace("_", "-") for name in (*described, *RENAMED.fields)}
    for file in files:
        for option in re.findall(r"--([a-z_-]+(?:\.[a-z_-]+)+)", file.read_text()):
            assert option in FORMS or option.removeprefix("no-").replace("_", "-") in known, f"{file}: --{option}"
