"""Images of a project as passes read them."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np

from semisonic.daily.passes.images import AsAdded, known_images, reading_of
from semisonic.inference.keyed import key_of
from tests.support.daily import new_image, new_store
from tests.support.image_folders import write_images


def test_images_are_where_they_lie_now_and_known_by_their_content(tmp_path: Path):
    store = new_store(tmp_path, 3)
    first = new_image(tmp_path / "images", "1.png", content="another")  # in the place of image 1
    store.add_images([first], "me")
    found = known_images(store, np.array([2, 1, 4]))
    names = [found.sources.name(row) for row in range(3)]
    assert names == [str(tmp_path / "images" / "2.png"), "image 1, whose file is another", first.path]
    digests = dict(store.connection.execute("SELECT id, hash FROM image").fetchall())
    assert found.keys.tolist() == [key_of(digests[image]) for image in (2, 1, 4)]
    store.close()


def test_files_are_read_by_the_limits_of_the_project_in_the_words_of_its_fields(tmp_path: Path):
    write_images(tmp_path, "a.png")
    for fields, reason in (({}, ""), ({"data": {"max_pixels": 100}}, "data.max_pixels=")):
        project = SimpleNamespace(settings=SimpleNamespace(fields=fields))
        reading = reading_of(project, 1)  # type: ignore[arg-type]
        found = reading.examine(str(tmp_path / "a.png"))
        assert isinstance(reading, AsAdded) and reading.workers == 1
        assert (reason in found.reason) if reason else not found.reason
