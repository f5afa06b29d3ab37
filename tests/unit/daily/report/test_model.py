"""The JSON of a report is read as it was written, and as nothing else."""

import json
from pathlib import Path

import pytest

from semisonic.daily.report.model import read_report, to_json
from semisonic.schema import UserError
from tests.support.daily_reports import EVIL, report


def test_a_report_is_read_as_it_was_written(tmp_path: Path):
    made = report((EVIL, *"bcdefghij"))
    file = tmp_path / "day-003.json"
    file.write_text(to_json(made))
    assert read_report(file) == made
    assert json.loads(file.read_text())["accuracy"]["handed_out"]["n"] == 200


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"version": 2}, "is no report of version 1; write it anew"),
        ({"day": "3"}, "day: '3': input should be a valid integer"),
        ({"more": 1}, "more"),
    ],
)
def test_what_is_no_report_of_this_version_is_refused(tmp_path: Path, change: dict, said: str):
    file = tmp_path / "day-003.json"
    file.write_text(json.dumps(json.loads(to_json(report())) | change))
    with pytest.raises(UserError) as caught:
        read_report(file)
    assert len(caught.value.messages) == 1 and said in caught.value.messages[0]


@pytest.mark.parametrize("text", ["[]", "{}", "nothing"])
def test_other_files_are_refused(tmp_path: Path, text: str):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(UserError, match=r"a\.json"):
        read_report(tmp_path / "a.json")
