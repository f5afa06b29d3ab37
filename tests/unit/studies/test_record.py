"""What a study's JSON file holds: its figures, and where they come from."""

from pathlib import Path

import pytest

import provenance as stored
from semisonic.compare import jobs
from semisonic.studies.declaration import Factor, Study, raw
from semisonic.studies.record import commit, provenance, record
from semisonic.studies.results import results_of
from tests.support.comparisons import fabricate

STUDY = Study(
    "small", "Does it?", "", (
        Factor("threshold", "FixMatch", "fixmatch", "0.95", {"0.5": "fixmatch:threshold=0.5"}),
        Factor("network", "FixMatch", "fixmatch", "average", {"itself": raw("fixmatch")}),
    ),
)  # fmt: skip
ERRORS = {"fixmatch": (10.0, 12.0), "fixmatch:threshold=0.5": (13.0, 14.0)}


@pytest.fixture
def made(tmp_path: Path) -> list[jobs.Job]:
    asked = [
        "--algorithms",
        ",".join(ERRORS),
        "--seeds",
        "0,1,2",
        "--labels",
        "40",
        "--out",
        str(tmp_path),
        "--steps",
        "7",
    ]
    own = jobs.parse([*asked, "--data", "digits", "--device", "cpu", "--batch.labeled", "32"]).jobs
    for job in own:
        if job.seed < 2:  # the last seed has not finished
            fabricate(job, top1=100 - ERRORS[job.entry.name][job.seed], seconds=4.0 + job.seed,
                      hardware="a computer" if job.seed else "another", versions={"torch": "2", "python": "3.11"})  # fmt: skip
    return own


def test_each_setting_has_its_errors_intervals_differences_and_cost(made: list[jobs.Job]):
    content = record(STUDY, results_of(STUDY, made), made, "semisonic study small")
    base, other, itself = content["settings"]
    assert other["differs"] == ["threshold=0.5"] and other["errors"] == {"0": 13.0, "1": 14.0}
    assert other["error"] == 13.5 and other["error_half_width"] == pytest.approx(12.7062 * 0.7071 / 2**0.5, rel=1e-4)
    (difference,) = other["differences"]
    assert difference["baseline"] == "fixmatch" and difference["difference"] == 2.5 and difference["pairs"] == 2
    assert difference["difference_half_width"] == pytest.approx(12.7062 * 0.5, rel=1e-4)
    assert (other["seconds"], other["image_passes"], other["steps"]) == (4.5, 7 * 1440, 7)
    assert base["differences"] == [] and itself["errors"] == {"0": 11.0, "1": 13.0}
    assert content["factors"][0]["said"].startswith(
        "FixMatch, threshold: no difference from 0.95 is seen with 0.5 (+2.50"
    )
    assert (content["compared"], content["data"], content["labels"], content["steps"]) == (2, "digits", "40", 7)
    assert content["question"] == "Does it?" and content["study"] == "small"


def test_it_says_where_it_comes_from_as_every_stored_result_does(made: list[jobs.Job]):
    own = provenance(made, "semisonic study small")
    facts = stored.checked(own, "small.json")
    assert (facts.command, facts.seeds) == ("semisonic study small", (0, 1, 2))
    assert facts.hardware == "a computer; another" and facts.versions == {"torch": "2", "python": "3.11"}
    assert {"commit", "time", "cpu_threads"} <= facts.further.keys() and facts.further["cpu_threads"] == 1


def test_a_commit_is_that_of_a_repository_that_has_the_code(tmp_path: Path):
    assert commit(tmp_path) is None
    here = commit()
    assert here is None or 6 < len(here.removesuffix("+")) <= 40
