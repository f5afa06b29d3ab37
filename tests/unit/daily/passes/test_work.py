"""Work in parts: a part is whole or not there, what was begun is known again, and other work begins anew."""

from pathlib import Path

import numpy as np
import pytest

from semisonic.daily.passes import work
from semisonic.daily.passes.work import Work, begin, begun, rows_of_part
from semisonic.schema import UserError


def test_parts_hold_all_images_once_and_ranks_have_enough_of_them(tmp_path: Path):
    assert [rows_of_part(count) for count in (1, 600, 30_000, 1_000_000)] == [256, 256, 469, 8192]
    found = Work(tmp_path, np.arange(600)).parts
    assert found == [range(256), range(256, 512), range(512, 600)]
    assert Work(tmp_path, np.arange(0)).parts == []


def test_work_that_was_begun_goes_on_with_its_images(tmp_path: Path):
    made = begin(tmp_path / "w", {"network": "a"}, np.array([3, 5, 9]))
    made.write(0, {"images": np.array([3, 9]), "value": np.array([0.5, 1.5], np.float32)})
    again = begin(tmp_path / "w", {"network": "a"}, np.array([3, 9]))  # one was rejected since
    assert again.images.tolist() == [3, 5, 9] and again.done(0)
    assert again.column("value").tolist() == [0.5, 1.5] and again.read(0, "images", "value")[0].tolist() == [3, 9]
    assert begun(tmp_path / "w", {"network": "b"}) is None


@pytest.mark.parametrize(("identity", "images"), [({"network": "b"}, [3, 5]), ({"network": "a"}, [3, 4])])
def test_other_work_begins_anew(tmp_path: Path, identity: dict[str, str], images: list[int]):
    begin(tmp_path / "w", {"network": "a"}, np.array([3, 5])).write(0, {"images": np.array([3])})
    made = begin(tmp_path / "w", identity, np.array(images))
    assert made.images.tolist() == images and not made.done(0)
    assert begun(tmp_path / "w", identity) is not None


def test_no_images_are_no_work_and_finished_work_leaves_nothing(tmp_path: Path):
    begin(tmp_path / "w", {}, np.array([], np.int64)).remove()
    begin(tmp_path / "v", {}, np.array([1])).remove()
    assert list(tmp_path.iterdir()) == []


def test_half_of_what_was_begun_is_nothing(tmp_path: Path):
    made = begin(tmp_path / "w", {"network": "a"}, np.array([3]))
    (tmp_path / "w" / work.BEGUN).write_text('{"network"')
    assert begun(tmp_path / "w", {"network": "a"}) is None
    made.write(0, {"images": np.array([3])})
    assert not begin(tmp_path / "w", {"network": "a"}, np.array([3])).done(0)


def test_a_damaged_part_says_what_to_remove(tmp_path: Path):
    made = begin(tmp_path / "w", {}, np.array([3]))
    made.write(0, {"images": np.array([3])})
    (tmp_path / "w" / "part-00000.npz").write_bytes(b"half")
    with pytest.raises(UserError, match=r"part-00000\.npz.* remove .*w and run this step again"):
        made.read(0, "images")
