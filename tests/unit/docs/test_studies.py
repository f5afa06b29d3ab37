"""What a page shows of a stored study, and of one that is not there."""

import json
from pathlib import Path
from typing import Any

import pytest

from _extension.pages import mistakes
from _extension.studies import Found, command_of, study
from _extension.words import BadReference

FILE = "study-ema-digits.json"
FACTOR = "FixMatch, decay"


def setting(name: str, error: float | None, **difference: Any) -> dict[str, Any]:
    own = [{"factor": FACTOR, "baseline": "fixmatch", **difference}] if difference else []
    return {
        "name": name, "entry": name, "error": error, "error_half_width": 0.25, "runs": 5, "seconds": 1234.5,
        "image_passes": 192000, "differences": own,
    }  # fmt: skip


def content() -> dict[str, Any]:
    settings = [
        setting("fixmatch", 3.0),
        setting("fixmatch, 0.9", None, has="0.9", difference=None, difference_half_width=None),
        setting("fixmatch, 0.999", 4.5, has="0.999", difference=1.5, difference_half_width=0.5),
    ]
    factor = {"name": FACTOR, "baseline": "0.99", "others": ["0.999", "0.9"], "said": "It is higher.", "note": "Look."}
    return {"factors": [factor], "settings": settings, "notes": ["Short runs."]}


def stored(folder: Path, given: Any) -> Found | None:
    (folder / FILE).write_text(json.dumps(given))
    return study(FILE, folder)


def test_a_factor_is_a_table_from_its_baseline_on(tmp_path: Path):
    found = stored(tmp_path, content())
    assert found is not None and (found.said, found.notes) == (["It is higher."], ["Short runs."])
    part = found.parts[0]
    assert (part.title, part.note) == (FACTOR, "Look.")
    assert [[cell.text for cell in row] for row in part.table.rows] == [
        ["0.99", "3.00 ± 0.25", "–", "5", "1,234", "192,000"],
        ["0.999", "4.50 ± 0.25", "+1.50 ± 0.50", "5", "1,234", "192,000"],
        ["0.9", "–", "–", "5", "1,234", "192,000"],
    ]


def test_the_study_of_labels_has_points(tmp_path: Path):
    point = {"algorithm": "fixmatch", "choose": "typical", "labels": 20, "error": 2.0, "error_half_width": None,
             "behind_best": -0.5, "behind_best_half_width": 1, "against_random": -9.0, "against_random_half_width": 2.5}  # fmt: skip
    found = stored(tmp_path, {"points": [point], "said": ["20 are enough."]})
    assert found is not None and found.said == ["20 are enough."]
    texts = [cell.text for cell in found.parts[0].table.rows[0]]
    assert texts == ["fixmatch", "typical", "20", "2.00", "−0.50 ± 1.00", "−9.00 ± 2.50"]


def test_a_study_that_is_not_stored_is_no_mistake(tmp_path: Path):
    page = tmp_path / "page.md"
    page.write_text(f"# Page\n\n```{{study}} {FILE}\n```\n")
    assert study(FILE, tmp_path) is None and list(mistakes(page, tmp_path)) == []
    assert command_of("study-history-fashion-mnist.json") == "semisonic study history --data fashion-mnist"


@pytest.mark.parametrize("given", [{}, {"factors": [{"name": "x"}]}, {"points": [{}], "said": []}, []])
def test_what_is_no_study_is_told_with_its_page_and_line(tmp_path: Path, given: Any):
    (tmp_path / FILE).write_text(json.dumps(given))
    page = tmp_path / "page.md"
    page.write_text(f"# Page\n\n```{{study}} {FILE}\n```\n")
    found = list(mistakes(page, tmp_path))
    assert len(found) == 1 and found[0].startswith(f"page.md:3: {FILE}: is no study: ")


def test_a_factor_without_a_run_and_another_name_are_told(tmp_path: Path):
    with pytest.raises(BadReference, match=f"{FACTOR} has no finished run"):
        stored(tmp_path, content() | {"settings": []})
    with pytest.raises(BadReference, match=r"ema.json: is no name of a study"):
        study("ema.json", tmp_path)


def test_a_figure_and_its_interval_stay_in_one_line(tmp_path: Path):
    said = "no difference is seen (-0.15 ± 0.17) of mean-teacher, by 2.50 ± 1.10 points."
    (tmp_path / "study-labels-digits.json").write_text(json.dumps({"points": [], "said": [said]}))
    found = study("study-labels-digits.json", tmp_path)
    assert found and found.said == [
        "no difference is seen (−0.15\u00a0±\u00a00.17) of mean-teacher, by 2.50\u00a0±\u00a01.10 points."
    ]
