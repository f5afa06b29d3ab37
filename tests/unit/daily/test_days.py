"""A whole day and the beginning of the next, by the commands alone: what a user sees who does what `next` says."""

from pathlib import Path

import pytest

from semisonic import cli
from semisonic.daily.project import Project
from semisonic.daily.store import ANY, Change, State
from tests.support.daily_runs import digit_files

FIELDS = ["--steps", "3", "--batch.labeled", "4", "--batch.unlabeled-ratio", "1", "--threads", "1", "--device", "cpu"]


def answer(project: Project, *queues: str) -> int:
    """A person labels all of some queues by the files' numbers, which tell the digits."""
    count = 0
    with project.store() as store:
        for queue in queues:
            images = store.queue(queue)
            changes = [
                Change(image, State.REVIEWED, 1 + int(Path(path).stem) % 3, ANY)
                for image, path in zip(images.tolist(), store.paths(images), strict=True)
            ]
            store.record(changes, "ann", f"page:{queue}")
            count += len(changes)
    return count


@pytest.mark.slow
def test_a_day_and_the_next_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    digit_files(tmp_path / "monday", 30, 0)
    folder = str(tmp_path / "p")

    def daily(*arguments: str) -> str:
        capsys.readouterr()
        assert cli.daily([folder, *arguments]) == 0
        return capsys.readouterr().out

    daily("init", "--classes", "zero,one,two", "--data.size", "16", *FIELDS)
    project = Project.open(folder)
    assert "Add the first images" in daily("next")
    assert "Day 1: 30 new" in daily("add", str(tmp_path / "monday"))
    said = daily("next")
    assert said.startswith("choose 30: ") and "Next: Label 30 images in the queue first images" in said
    with project.store() as store:
        store.leave_queue("farthest", store.queue("farthest")[9:])
    assert answer(project, "farthest") == 9
    said = daily("next")
    for line in (
        "train: day 1, on 9 images",
        "label: day-001 is trained",
        "report: that of day 1",
        "Next: Check 21 images",
    ):
        assert f"\n{line}" in f"\n{said}"
    assert (project.report / "day-001.html").exists()
    assert answer(project, "audit", "suspicious", "given") >= 21
    said = daily("next")
    assert "All 30 labels of day 1 are people's own by now" in said, said
    assert "Next: Day 1 is done; add the next images" in said, said
    assert "30 labels in" in daily("export", "--to", "csv") and "Nothing is wrong" in daily("check", "--hashes")
    digit_files(tmp_path / "tuesday", 39, 0)
    assert "Day 2 begins" in daily("add", str(tmp_path / "tuesday"))
    assert "Next: Label 9 images in the queue farthest" in daily("next")
