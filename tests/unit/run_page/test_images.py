"""Pictures of mistakes: the right image, from memory and from files, and none where a file has gone."""

import base64
import io
from pathlib import Path

import numpy as np
from PIL import Image

from semisonic.data.sets.base import ImageFiles
from semisonic.data.sets.splits import Split
from semisonic.run_page.facts import Seen
from semisonic.run_page.images import SIDE, mistakes_of, picture
from semisonic.training.mistakes import Mistake


def opened(uri: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))


def test_test_images_are_shown_with_what_they_are_taken_for(planted, data):
    seen = Seen("test", 100, mistakes=[Mistake(4, 1, 0, 0.99), Mistake(2, 2, 1, 0.5)], data=data)
    first, second = mistakes_of(planted(), seen)
    assert (first.true, first.predicted, first.confidence, first.name) == ("dog", "cat", 0.99, "image 4")
    assert second.true == "<b>owl</b>" and first.small
    assert (np.asarray(opened(first.uri)) == data.test.pixels[4]).all()


def test_held_out_images_are_those_of_the_split(planted, data):
    split = Split(np.arange(6), np.arange(6), np.array([7, 10]))
    (shown,) = mistakes_of(planted(split=split), Seen("held_out", 100, mistakes=[Mistake(1, 1, 2, 0.7)], data=data))
    assert (np.asarray(opened(shown.uri)) == data.train.pixels[10]).all()


def test_nothing_is_shown_without_data(planted):
    assert mistakes_of(planted(), Seen("test", 100, mistakes=[Mistake(0, 0, 1, 0.9)])) == []


def test_files_become_small_and_one_that_has_gone_is_told(tmp_path: Path):
    Image.new("RGB", (400, 200), "red").save(tmp_path / "a.jpg")
    Image.new("L", (20, 30)).save(tmp_path / "b.png")
    files = ImageFiles(
        tmp_path, ["a.jpg", "b.png", "gone.png"], np.zeros(3, np.int64), np.zeros((3, 2), np.int32), np.zeros(3, bool)
    )
    uri, small = picture(files, 0)
    assert opened(uri).size == (SIDE, SIDE // 2) and not small and uri.startswith("data:image/webp")
    uri, small = picture(files, 1)
    assert opened(uri).size == (20, 30) and small
    assert picture(files, 2) == (None, False)
