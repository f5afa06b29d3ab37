"""The study of interleaving: its settings and what they differ in."""

import math
from argparse import Namespace
from pathlib import Path

from semisonic.compare.jobs import Job
from semisonic.studies.interleave import STUDY
from semisonic.studies.running import ask, parser
from tests.support.registries import restored


def asked(tmp_path: Path, *argv: str) -> list[Job]:
    given: Namespace
    given, fields = parser(STUDY).parse_known_args([*argv, "--seeds", "0", "--out", str(tmp_path)])
    with restored():
        return ask(STUDY, given, fields, argv).jobs


def test_four_ways_at_two_rates_that_differ_in_nothing_else(tmp_path: Path):
    found = asked(tmp_path)
    ways = {(getattr(job.cfg.algorithm, "forwards", "joined"), job.cfg.optim.lr) for job in found}
    rates = sorted({rate for _, rate in ways})
    assert len(found) == len(ways) == 8 and {way for way, _ in ways} == {"joined", "interleaved", "separate", "ranks"}
    assert rates[0] == 0.002 and math.isclose(rates[1] / rates[0], math.sqrt(3), rel_tol=1e-3)
    for job in found:
        assert (job.cfg.batch.labeled, job.cfg.batch.unlabeled, job.cfg.optim.name) == (32, 32, "adamw")
        assert job.cfg.algorithm.model_dump(exclude={"name", "forwards"}) == found[0].cfg.algorithm.model_dump(
            exclude={"name"}
        )


def test_its_short_form_has_the_three_ways_of_one_process_and_the_larger_rate_of_one_batch(tmp_path: Path):
    found = asked(tmp_path, "--few")
    assert [(getattr(job.cfg.algorithm, "forwards", "joined"), job.cfg.optim.lr) for job in found] == [
        ("joined", 0.002), ("interleaved", 0.002), ("separate", 0.002), ("joined", 0.003464),
    ]  # fmt: skip
