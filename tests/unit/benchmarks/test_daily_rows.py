"""What a store of labels costs is measured at any size; at a million images it is within its bounds."""

from pathlib import Path

import pytest

import daily_rows


def test_every_part_works_on_what_the_one_before_has_left(tmp_path: Path):
    args = daily_rows.parse(["--images", "1500", "--classes", "7"])
    found = {name: part(tmp_path / "labels.db", args) for name, part in daily_rows.PARTS.items()}
    assert all(own["seconds"] > 0 and own["cpu"] >= 0 for own in found.values())
    assert found["page"]["images"].keys() == found["page"]["queries"].keys()
    assert found["page"]["images"]["suspicious"] == found["page"]["images"]["free"] == daily_rows.SIZE


def test_what_is_beyond_a_bound_is_told():
    parts = {"add": {"cpu": 61.0, "bytes": 5e8}, "page": {"seconds": 0.01}}
    assert daily_rows.missed({"parts": parts}) == ["add cpu: 61, wanted 60"]


@pytest.mark.long
def test_a_million_images_are_within_bounds(tmp_path: Path):
    args = daily_rows.parse(["--folder", str(tmp_path)])
    assert daily_rows.missed(daily_rows.run(args)) == []
