"""Small images of a contact sheet."""

import io
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from semisonic.data.sets.manifest import rgb_image
from semisonic.inspection import sheet
from semisonic.inspection.sheet import SIDE, thumbnail
from tests.support.image_folders import encoded, picture


def drawn(path: Path) -> Image.Image:
    return Image.open(io.BytesIO(thumbnail(str(path))))


@pytest.mark.parametrize(
    ("height", "width", "shown"),
    [(300, 600, (SIDE // 2, SIDE)), (2000, 1, (SIDE, 1)), (20, 10, (80, 40)), (SIDE, SIDE, (SIDE, SIDE))],
)
@pytest.mark.parametrize("kind", ["png", "jpg"])
def test_an_image_fits_into_its_box(tmp_path: Path, height: int, width: int, shown: tuple[int, int], kind: str):
    picture(height, width).save(tmp_path / f"a.{kind}")
    assert drawn(tmp_path / f"a.{kind}").size[::-1] == shown


def test_small_images_keep_their_pixels(tmp_path: Path):
    picture(20, 10).save(tmp_path / "a.png")
    assert np.array_equal(np.asarray(drawn(tmp_path / "a.png"))[::4, ::4], np.asarray(picture(20, 10)))


def test_images_are_turned_as_training_turns_them(tmp_path: Path):
    exif = Image.Exif()
    exif[0x0112] = 6
    picture(100, 200).save(tmp_path / "a.jpg", exif=exif)
    assert drawn(tmp_path / "a.jpg").size == (SIDE // 2, SIDE)


def test_what_cannot_be_decoded_is_empty(tmp_path: Path):
    (tmp_path / "a.jpg").write_bytes(encoded("RGB", "JPEG")[:300])
    assert thumbnail(str(tmp_path / "a.jpg")) == thumbnail(str(tmp_path / "gone.png")) == b""


def test_odd_metadata_give_no_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def odd(image: Image.Image) -> Image.Image:
        warnings.warn("odd metadata", stacklevel=1)
        return rgb_image(image)

    monkeypatch.setattr(sheet, "rgb_image", odd)
    picture().save(tmp_path / "a.png")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert thumbnail(str(tmp_path / "a.png"))
