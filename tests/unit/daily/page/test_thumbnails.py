"""Pictures of images: made once, of what was added and of nothing else."""

import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from semisonic.daily.page import thumbnails
from semisonic.daily.page.pictures import source_of
from semisonic.daily.page.thumbnails import NoPicture, Source, Thumbnails, placeholder
from semisonic.daily.project import Project
from semisonic.data.sets.limits import Limits
from tests.support.daily import seen
from tests.support.labeling_page import Browser, draw, new_project, served


def pixels(content: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(content)) as image:
        return np.asarray(image.convert("RGB"))


def source(project: Project, image: int) -> Source:
    with project.store() as store:
        found = source_of(store.connection, image)
    assert found is not None
    return found


def added(folder: Path, *files: Path) -> Project:

    made = Project.create(folder / "project", ["a", "b"], 8)
    with made.store() as store:
        store.add_images([seen(file) for file in files], "ann")
    return made


def test_a_thumbnail_is_made_once_and_kept_by_the_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    made = added(tmp_path, draw(tmp_path / "large.png", 9, 400))
    pictures = Thumbnails(made.thumbs)
    first = pictures.thumbnail(source(made, 1))
    file = made.thumbs / source(made, 1).hash.hex()[:2] / f"{source(made, 1).hash.hex()}.webp"
    assert (
        file.read_bytes() == first.content
        and first.kind == "image/webp"
        and pixels(first.content).shape == (160, 160, 3)
    )
    monkeypatch.setattr(pictures, "_draw", None)
    assert pictures.thumbnail(source(made, 1)) == first
    assert [path.name for path in file.parent.iterdir()] == [file.name]  # nothing half made is left


def test_orientation_and_shape(tmp_path: Path):
    """The camera was turned: red is at the left of the file, and at the top of what a person sees."""
    image = Image.new("RGB", (400, 200), (0, 0, 255))
    image.paste((255, 0, 0), (0, 0, 200, 200))
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(tmp_path / "turned.jpg", exif=exif, quality=95)
    made = added(tmp_path, tmp_path / "turned.jpg")
    small = pixels(Thumbnails(made.thumbs).thumbnail(source(made, 1)).content)
    whole = pixels(Thumbnails(made.thumbs).whole(source(made, 1)).content)
    assert small.shape == (160, 80, 3) and whole.shape == (400, 200, 3)
    for found in (small, whole):
        assert found[10, 40, 0] > 200 and found[-10, 40, 2] > 200


def test_small_images_keep_every_pixel_and_large_ones_are_bounded(tmp_path: Path):
    noise = np.random.default_rng(0).integers(0, 256, (28, 28, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "small.png")
    Image.new("RGB", (5000, 10)).save(tmp_path / "wide.png")
    made = added(tmp_path, tmp_path / "small.png", tmp_path / "wide.png")
    pictures = Thumbnails(made.thumbs)
    assert (pixels(pictures.thumbnail(source(made, 1)).content) == noise).all()
    assert (pixels(pictures.whole(source(made, 1)).content) == noise).all()
    assert pictures.whole(source(made, 2)).kind == "image/jpeg"
    assert pixels(pictures.whole(source(made, 2)).content).shape == (4, 2048, 3)


def test_what_is_gone_changed_damaged_or_too_large_has_no_picture(tmp_path: Path):
    files = [draw(tmp_path / f"{name}.png", number) for number, name in enumerate(("gone", "changed", "large"))]
    (tmp_path / "damaged.png").write_bytes(draw(tmp_path / "whole.png", 9).read_bytes()[:60])
    made = added(tmp_path, *files, tmp_path / "damaged.png")
    files[0].unlink()
    draw(files[1], 200)
    pictures = Thumbnails(made.thumbs, Limits(pixels=63))
    lines = []
    for number in range(1, 5):
        for make in (pictures.thumbnail, pictures.whole):
            with pytest.raises(NoPicture) as caught:
                make(source(made, number))
        lines.append(str(caught.value))
    assert (
        "gone.png: No such file or directory" in lines[0] and "changed.png has changed since it was added" in lines[1]
    )
    assert "8 x 8 pixels are more than" in lines[2] and "cannot be decoded" in lines[3]
    assert not list(made.thumbs.glob("*/*"))


def test_a_kept_thumbnail_is_not_shown_for_a_file_that_has_changed(tmp_path: Path):
    made = added(tmp_path, draw(tmp_path / "a.png", 1))
    pictures = Thumbnails(made.thumbs)
    first = pictures.thumbnail(source(made, 1))
    os.utime(tmp_path / "a.png", ns=(1, 1))
    assert pictures.thumbnail(source(made, 1)) == first  # only touched
    draw(tmp_path / "a.png", 2, 9)
    with pytest.raises(NoPicture, match="has changed"):
        pictures.thumbnail(source(made, 1))


def test_a_moved_image_is_found_where_it_lies_now(tmp_path: Path):
    made = added(tmp_path, draw(tmp_path / "a.png", 1))
    os.rename(tmp_path / "a.png", tmp_path / "b.png")

    with made.store() as store:
        store.add_images([seen(tmp_path / "b.png")], "ann")
    assert pixels(Thumbnails(made.thumbs).thumbnail(source(made, 1)).content)[0, 0].tolist() == [1, 0, 7]


def test_a_folder_that_cannot_be_written_costs_time_and_no_picture(tmp_path: Path):
    made = added(tmp_path, draw(tmp_path / "a.png", 1))
    made.thumbs.write_text("a file in the folder's place")
    thumbnails._tell_once.cache_clear()
    with pytest.warns(UserWarning, match="thumbnails cannot be kept"):
        assert Thumbnails(made.thumbs).thumbnail(source(made, 1)).content


def test_the_server_sends_a_placeholder_with_a_line_and_nobody_keeps_it(tmp_path: Path):
    made = new_project(tmp_path, 2)
    (tmp_path / "images" / "0001.png").unlink()
    with served(made) as browser:
        check_gone(browser)
        found = browser.ask("GET", f"/thumb/2?token={browser.token}")
        assert found.status == 200 and found.headers["Cache-Control"] == "private, max-age=31536000, immutable"
        assert pixels(found.content)[0, 0].tolist() == [2, 0, 7]


def check_gone(browser: Browser) -> None:
    for kind in ("thumb", "image"):
        found = browser.ask("GET", f"/{kind}/1?token={browser.token}")
        assert (found.status, found.content) == (410, placeholder("no picture").content)
        assert "0001.png: No such file" in found.headers["X-Problem"] and found.headers["Cache-Control"] == "no-store"
