"""Files that are no regular ones, are too large or hold too many pixels: refused at once, in words."""

import os
import socket
import struct
import zlib
from pathlib import Path

import pytest
from PIL import Image

from semisonic.data.sets import manifest
from semisonic.data.sets.limits import ANY, Limits, open_image, open_limited, read_regular
from semisonic.data.sets.manifest import BAD, OK, UNREADABLE
from tests.support.image_folders import HEIGHT, WIDTH, encoded, errors_of, load_it, picture, write_all


@pytest.fixture
def odd(tmp_path: Path) -> Path:
    """A folder in which nothing is a file of its own."""
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "zero.png").symlink_to("/dev/zero")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "gone.png").symlink_to("/not/there.png")
    (tmp_path / "linked-pipe.png").symlink_to("pipe.png")
    with socket.socket(socket.AF_UNIX) as own:
        here = os.getcwd()
        os.chdir(tmp_path)  # the names of sockets are short
        try:
            own.bind("socket.png")
        finally:
            os.chdir(here)
    return tmp_path


REASONS = {
    "pipe.png": "a named pipe, not a regular file",
    "linked-pipe.png": "a link to pipe.png: a named pipe, not a regular file",
    "zero.png": "a link to /dev/zero: a device, not a regular file",
    "folder.png": "a folder, not a regular file",
    "gone.png": "a link to /not/there.png: No such file or directory",
    "socket.png": "a socket, not a regular file",
}


def test_what_is_no_regular_file_is_not_waited_for(odd: Path):
    found = dict(zip(REASONS, manifest.scan(odd, list(REASONS)).entries, strict=True))
    assert {name: entry.reason for name, entry in found.items()} == REASONS
    assert all(entry.status == UNREADABLE for entry in found.values())
    for name in REASONS:
        with pytest.raises(OSError):
            read_regular(odd / name)


def test_a_pipe_among_the_images_is_named(tmp_path: Path):
    write_all(tmp_path, {})
    os.mkfifo(tmp_path / "train/a/pipe.png")
    lines = errors_of(tmp_path)
    assert lines[0].startswith("data.bad_files: 1 of 4 images cannot be decoded")
    assert lines[1] == f"data.root: cannot decode {tmp_path / 'train/a/pipe.png'}: a named pipe, not a regular file"
    assert len(load_it(tmp_path, bad_files="skip").train) == 2


def test_a_pipe_in_place_of_a_csv(tmp_path: Path):
    os.mkfifo(tmp_path / "labels.csv")
    (line,) = errors_of(None, csv=tmp_path / "labels.csv")
    assert line == f"data.csv: cannot read {tmp_path / 'labels.csv'}: a named pipe, not a regular file"


def test_a_large_file_is_not_read(tmp_path: Path):
    write_all(tmp_path, {})
    with open(tmp_path / "train/a/1.png", "r+b") as file:
        file.truncate(40 * 10**9)  # sparse
    line = errors_of(tmp_path)[1]
    assert line.endswith("1.png: 40,000.0 MB are more than data.max_file_mb=512")
    with open_limited(tmp_path / "train/b/1.png", 10**6) as file:
        assert not os.get_blocking(file.fileno()) and file.read(4) == b"\x89PNG"


def test_the_limit_of_a_file_is_the_user_s(tmp_path: Path):
    write_all(tmp_path, {"rest.bmp": b"BM" + bytes(3000)})
    assert "rest.bmp: 0.0 MB are more than data.max_file_mb=0.002" in errors_of(tmp_path, max_file_mb=0.002)[1]
    reason = errors_of(tmp_path)[1]
    assert "rest.bmp" in reason and "max_file_mb" not in reason  # it is read now, and is no image
    assert "max_file_mb" in errors_of(tmp_path, max_file_mb=0.002)[1]  # also where it is known


def test_the_limit_of_a_csv_is_the_user_s(tmp_path: Path):
    (tmp_path / "l.csv").write_text("path,label\n" + "x.png,a\n" * 300)
    (line,) = errors_of(None, csv=tmp_path / "l.csv", max_file_mb=0.001)
    assert line.endswith("are more than data.max_file_mb=0.001")


def test_the_limit_of_pixels_is_the_user_s_in_both_directions(tmp_path: Path, monkeypatch):
    write_all(tmp_path, {})
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)  # Pillow refuses twice as much
    assert len(load_it(tmp_path).train) == 2
    lines = errors_of(tmp_path, max_pixels=HEIGHT * WIDTH - 1)  # of files that the manifest knows
    assert len(lines) == 4
    assert lines[1].endswith(f"{WIDTH} x {HEIGHT} pixels are more than data.max_pixels=959; raise it to read this one")
    assert len(load_it(tmp_path, max_pixels=HEIGHT * WIDTH).train) == 2
    assert Image.MAX_IMAGE_PIXELS == 100


def test_decompression_bombs_are_refused_by_default(tmp_path: Path):
    content = bytearray(encoded("L", "PNG"))
    content[16:24] = struct.pack(">II", 20_000, 10_000)
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    (tmp_path / "panorama.png").write_bytes(content)
    found = manifest.examine(str(tmp_path / "panorama.png"))
    assert found.status == UNREADABLE and "20000 x 10000 pixels are more than data.max_pixels=178956970" in found.reason


def test_files_found_sound_are_decoded_whatever_the_limits(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    picture().save(tmp_path / "1.tif")
    assert manifest.inspect(str(tmp_path / "1.tif"), ANY)[3] == ""
    assert manifest.decode(tmp_path / "1.tif").shape == (HEIGHT, WIDTH, 3)
    assert manifest.png_bytes((tmp_path / "1.tif").read_bytes())
    with pytest.raises(ValueError, match="max_pixels=10"):
        manifest.decode(tmp_path / "1.tif", Limits(pixels=10))
    with open_image(tmp_path / "1.tif") as image:
        assert image.size == (WIDTH, HEIGHT)


def test_what_an_earlier_version_took_for_a_bomb_is_looked_at_again(tmp_path: Path, monkeypatch):
    picture().save(tmp_path / "1.png")
    bomb = manifest.Examined(
        0, 0, BAD, "Image size (200 pixels) exceeds limit, could be decompression bomb DOS attack."
    )
    with monkeypatch.context() as patch:
        patch.setattr(manifest, "examine", lambda *_: bomb)
        assert manifest.scan(tmp_path, ["1.png"]).entries[0].status == BAD
    assert manifest.scan(tmp_path, ["1.png"]).entries[0].status == OK
