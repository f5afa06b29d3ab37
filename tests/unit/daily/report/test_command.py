"""`daily PROJECT report`: one page and one JSON file, the same for the same project."""

from argparse import Namespace
from pathlib import Path

import pytest

from semisonic.daily.project import Project
from semisonic.daily.report.command import run
from semisonic.daily.report.model import read_report
from semisonic.schema import ExitCode, UserError
from tests.support.daily_days import add_day, give, look, new_project
from tests.support.daily_reports import EVIL


def test_a_report_is_written_and_the_same_again(project: Project, capfd: pytest.CaptureFixture[str]):
    (project.report).mkdir(exist_ok=True)
    (project.report / "day-002.html").write_text("kept")
    assert run(project, Namespace()) == ExitCode.OK
    said = capfd.readouterr().out.splitlines()
    assert (
        said[0].startswith("Of the 60 labels of day 3, ") and said[-1] == f"Report: {project.report / 'day-003.html'}"
    )
    first = {file.name: file.read_bytes() for file in project.report.iterdir()}
    assert set(first) == {"day-002.html", "day-003.html", "day-003.json"} and first["day-002.html"] == b"kept"
    run(project, Namespace())
    assert {file.name: file.read_bytes() for file in project.report.iterdir()} == first
    page = first["day-003.html"].decode()
    assert "data:image/webp;base64," in page and "cannot be shown" not in page
    assert read_report(project.report / "day-003.json").accuracy.said in page.replace("&#39;", "'").replace(
        "\u00a0", " "
    )


def test_a_project_without_anything_has_a_report(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    project = new_project(tmp_path)
    run(project, Namespace())
    assert capfd.readouterr().out.splitlines()[0] == "No image of day 1 has a label yet."
    made = read_report(project.report / "day-001.json")
    assert made.images == 0 and made.far is None and [day.number for day in made.course] == [1]


def test_odd_names_and_lost_images_are_told(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    project = new_project(tmp_path, (EVIL, "dog\u202e", "owl"))
    with project.store() as store:
        add_day(project, store, 20, labeled=6)
        give(project, store, "day-001")
        look(store, [9], "suspicious", EVIL)
    (tmp_path / "camera" / "009.png").unlink()
    (tmp_path / "camera" / "006.png").write_bytes(b"another")
    run(project, Namespace())
    page = (project.report / "day-001.html").read_text()
    assert "<script>" not in page and "<img src=x" not in page and "&lt;script&gt;" in page
    assert page.count("cannot be shown") == 2
    assert "\u202e" not in capfd.readouterr().out
    assert read_report(project.report / "day-001.json").reviewers[0].name == EVIL


def test_a_report_that_cannot_be_written_is_one_line(tmp_path: Path):
    project = new_project(tmp_path)
    project.report.write_text("a file")
    with pytest.raises(UserError) as caught:
        run(project, Namespace())
    assert len(caught.value.messages) == 1 and "report could not be written" in caught.value.messages[0]
