"""What one file's ends and pixels say of it, and that no file makes it raise."""

import hashlib
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from semisonic.data.sets import manifest
from semisonic.inspection.facts import Header, digest, header, pixels
from tests.support.image_folders import HEIGHT, WIDTH, encoded, picture


def written(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    return str(path)


def palette_with_alpha() -> bytes:
    return encoded("P", "PNG", transparency=0)


def sixteen_bit(path: Path, gray: bool) -> str:
    if gray:
        Image.fromarray(np.arange(HEIGHT * WIDTH, dtype=np.uint16).reshape(HEIGHT, WIDTH) * 60).save(path)
        return str(path)

    # Pillow writes no PNG of 3 x 16 bits.
    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    rows = b"".join(b"\0" + bytes(range(WIDTH * 6)) for _ in range(HEIGHT))
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", WIDTH, HEIGHT, 16, 2, 0, 0, 0))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))
    return str(path)


@pytest.mark.parametrize(
    ("content", "kind", "color"),
    [
        (encoded("RGB", "JPEG"), "JPEG", "RGB"),
        (encoded("CMYK", "JPEG"), "JPEG", "CMYK"),
        (encoded("L", "PNG"), "PNG", "gray"),
        (encoded("RGBA", "PNG"), "PNG", "RGB + alpha"),
        (encoded("P", "GIF"), "GIF", "palette"),
        (palette_with_alpha(), "PNG", "palette + alpha"),
        (encoded("1", "PNG"), "PNG", "black and white"),
        (encoded("RGB", "BMP"), "BMP", "RGB"),
    ],
)
def test_the_header_says_format_colors_and_size(tmp_path: Path, content: bytes, kind: str, color: str):
    found = header(written(tmp_path / "a", content))
    assert (found.format, found.color, found.reason) == (kind, color, "")
    assert (found.size, found.height, found.width, found.orientation) == (len(content), HEIGHT, WIDTH, 0)
    assert (found.device, found.inode) == ((state := os.stat(tmp_path / "a")).st_dev, state.st_ino)


@pytest.mark.parametrize(("gray", "color"), [(True, "16-bit gray"), (False, "16-bit RGB")])
def test_sixteen_bits_are_seen(tmp_path: Path, gray: bool, color: str):
    assert header(sixteen_bit(tmp_path / "a.png", gray)).color == color


@pytest.mark.parametrize("tag, turned", [(3, False), (6, True)])
def test_sizes_are_those_of_the_turned_image(tmp_path: Path, tag: int, turned: bool):
    exif = Image.Exif()
    exif[0x0112] = tag
    picture().save(tmp_path / "a.jpg", exif=exif)
    found = header(str(tmp_path / "a.jpg"))
    assert found.orientation == tag
    assert (found.height, found.width) == ((WIDTH, HEIGHT) if turned else (HEIGHT, WIDTH))
    assert (found.height, found.width) == manifest.inspect(str(tmp_path / "a.jpg"))[:2]


@pytest.mark.parametrize(("kind", "count", "several"), [
    ("GIF", 2, True), ("TIFF", 3, True), ("WEBP", 2, True), ("PNG", 2, True), ("GIF", 1, False), ("TIFF", 1, False),
    ("PNG", 1, False), ("MPO", 2, False),
])  # fmt: skip
def test_more_than_one_picture_in_a_file_is_seen(tmp_path: Path, kind: str, count: int, several: bool):
    pictures = [Image.new("RGB", (8, 6), (40 * number, 9, 200)) for number in range(count)]
    pictures[0].save(tmp_path / "image", kind, save_all=True, append_images=pictures[1:])
    found = header(str(tmp_path / "image"))
    assert found.several == several and not found.reason
    damaged = written(tmp_path / "cut", (tmp_path / "image").read_bytes()[:-30])
    assert header(damaged).several in (False, several)


def test_what_is_no_image_has_a_reason(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe.png")
    files = {
        written(tmp_path / "empty.png", b""): "empty file",
        written(tmp_path / "text.png", b"hello " * 99): "not an image",
        str(tmp_path / "gone.png"): "No such file or directory",
        str(tmp_path / "pipe.png"): "a named pipe, not a regular file",
        str(tmp_path): "a folder, not a regular file",
    }
    assert {path: header(path).reason for path in files} == files
    assert all(header(path).format == "" and header(path).height == 0 for path in files)
    assert {path: pixels(path).reason for path in files} == files


def test_any_bytes_have_a_header_or_a_reason(tmp_path: Path):
    sound = [encoded("RGB", kind) for kind in ("PNG", "JPEG", "GIF", "TIFF", "WEBP", "BMP")]
    draw = np.random.default_rng(0)
    for content in sound:
        for _ in range(20):
            damaged = bytearray(content)
            for place in draw.integers(0, min(200, len(damaged)), 6):
                damaged[place] = draw.integers(256)
            path = written(tmp_path / "a", bytes(damaged[: draw.integers(1, len(damaged))]))
            found = header(path)
            assert isinstance(found, Header) and bool(found.reason) != (found.height > 0)


def test_the_reason_of_damaged_pixels_is_the_scan_s(tmp_path: Path):
    path = written(tmp_path / "cut.jpg", encoded("RGB", "JPEG")[:400])
    assert pixels(path).reason == manifest.inspect(path)[3] != ""


def test_nearly_empty_is_nearly_one_color_in_every_channel(tmp_path: Path):
    draw = np.random.default_rng(0)

    def image(noise: float, color: tuple[int, int, int]) -> str:
        shown = np.array(color) + draw.normal(0, noise, (40, 40, 3))
        Image.fromarray(shown.clip(0, 255).astype(np.uint8)).save(tmp_path / "a.png")
        return str(tmp_path / "a.png")

    assert pixels(image(1, (200, 30, 90))).nearly_empty
    assert not pixels(image(4, (200, 30, 90))).nearly_empty
    assert not pixels(written(tmp_path / "text.png", b"no image")).nearly_empty


def test_gray_is_seen_in_images_of_color(tmp_path: Path):
    picture().convert("L").convert("RGB").save(tmp_path / "gray.jpg")
    picture().save(tmp_path / "color.jpg")
    assert pixels(str(tmp_path / "gray.jpg")).gray and not pixels(str(tmp_path / "color.jpg")).gray


def test_what_dali_does_not_decode_is_seen(tmp_path: Path):
    assert pixels(written(tmp_path / "a.gif", encoded("P", "GIF"))).via_pillow
    assert not pixels(written(tmp_path / "a.png", encoded("RGB", "PNG"))).via_pillow


def test_a_digest_is_the_manifest_s(tmp_path: Path):
    path = written(tmp_path / "a.png", encoded("RGB", "PNG"))
    found = manifest.examine(path)
    assert found is not None and digest(path) == found.digest
    assert digest(path) == hashlib.blake2b(Path(path).read_bytes(), digest_size=16).digest()
    assert digest(str(tmp_path / "gone")) == b""
