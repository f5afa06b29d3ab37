"""The scan against what DALI does, and the manifest that spares the next one."""

import hashlib
import io
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from semisonic.data.sets import manifest
from semisonic.data.sets.base import ImageFiles
from semisonic.data.sets.manifest import BAD, OK, VIA_PILLOW
from tests.support.fuzz import INPUTS, attack, npz_files
from tests.support.image_folders import (
    HEIGHT,
    WIDTH,
    encoded,
    errors_of,
    files,
    load_it,
    picture,
    write_all,
    write_images,
)

ORIENTATION = 0x0112


def exif(orientation: int) -> Image.Exif:
    tags = Image.Exif()
    tags[ORIENTATION] = orientation
    return tags


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png16(color_type: int, channels: int) -> bytes:
    values = np.asarray(picture()).astype(">u2")[..., :1].repeat(channels, -1) * 257
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    header = struct.pack(">IIBBBBB", WIDTH, HEIGHT, 16, color_type, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def stray_bytes(jpeg: bytes) -> bytes:
    """Garbage between two segments, which libjpeg skips and DALI's parser refuses."""
    end = 4 + struct.unpack(">H", jpeg[4:6])[0]
    return jpeg[:end] + b"garbage" + jpeg[end:]


XMP = b'<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'

SOUND: dict[str, tuple[bytes, int]] = {
    **{f"{mode}.jpg": (encoded(mode, "JPEG"), OK) for mode in ("L", "RGB", "CMYK")},
    **{f"exif{o}.jpg": (encoded("RGB", "JPEG", exif=exif(o)), OK) for o in range(1, 9)},
    "exif9.jpg": (encoded("RGB", "JPEG", exif=exif(9)), OK),
    "xmp6.jpg": (encoded("RGB", "JPEG", xmp=XMP), VIA_PILLOW),
    "stray.jpg": (stray_bytes(encoded("RGB", "JPEG")), VIA_PILLOW),
    "progressive.jpg": (encoded("RGB", "JPEG", progressive=True), OK),
    "progressive-cmyk.jpg": (encoded("CMYK", "JPEG", progressive=True), OK),
    "trailing.jpg": (encoded("RGB", "JPEG") + b"garbage", OK),
    "png-in-disguise.jpg": (encoded("RGB", "PNG"), OK),
    **{f"{mode}.png": (encoded(mode, "PNG"), OK) for mode in ("1", "L", "LA", "P", "RGB", "RGBA")},
    "palette-alpha.png": (encoded("P", "PNG", transparency=3), OK),
    "gray16.png": (png16(0, 1), OK),
    "rgb16.png": (png16(2, 3), OK),
    "gray-alpha16.png": (png16(4, 2), OK),
    "rgba16.png": (png16(6, 4), OK),
    "exif6.png": (encoded("RGB", "PNG", exif=exif(6)), OK),
    **{f"{mode}.bmp": (encoded(mode, "BMP"), OK) for mode in ("1", "L", "P", "RGB", "RGBA")},
    "lossy.webp": (encoded("RGB", "WEBP"), OK),
    "rgba.webp": (encoded("RGBA", "WEBP", lossless=True), OK),
    "exif6.webp": (encoded("RGB", "WEBP", lossless=True, exif=exif(6)), VIA_PILLOW),
    "palette.gif": (encoded("P", "GIF"), VIA_PILLOW),
    **{f"{mode}.tif": (encoded(mode, "TIFF"), VIA_PILLOW) for mode in ("1", "L", "RGB", "CMYK", "I;16")},
    "exif6.tif": (encoded("RGB", "TIFF", exif=exif(6)), VIA_PILLOW),
    "rgb.ppm": (encoded("RGB", "PPM"), VIA_PILLOW),
    "rgb.tga": (encoded("RGB", "TGA"), VIA_PILLOW),
}


@pytest.fixture(scope="module")
def odd(tmp_path_factory) -> ImageFiles:
    root = tmp_path_factory.mktemp("odd")
    write_all(root, {name: data for name, (data, _) in SOUND.items()})
    train = load_it(root).train
    assert isinstance(train, ImageFiles)
    return train


def test_every_sound_file_is_accepted(odd: ImageFiles):
    via = {Path(path).name: bool(via) for path, via in zip(odd.paths, odd.via_pillow, strict=True)}
    assert via == {name: status == VIA_PILLOW for name, (_, status) in SOUND.items()} | {"1.png": False}


def test_dali_decodes_every_sound_file_to_the_shape_of_the_manifest(odd: ImageFiles):
    from nvidia.dali import fn, pipeline_def, types

    indices = iter(range(len(odd)))

    @pipeline_def(batch_size=len(odd), num_threads=1, device_id=None)
    def decode():
        encoded = fn.external_source(lambda: odd.read(next(indices)), batch=False, dtype=types.UINT8, ndim=1)
        options = {"device": "cpu", "output_type": types.RGB}
        whole = fn.decoders.image(encoded, **options)
        corner = fn.decoders.image_slice(
            encoded, [2, 3], [10, 12], axes=[0, 1], normalized_anchor=False, normalized_shape=False, **options
        )
        return whole, corner

    pipeline = decode(prefetch_queue_depth=1, exec_pipelined=False, exec_async=False)
    whole, corner = pipeline.run()
    for i, path in enumerate(odd.paths):
        image, part = np.array(whole.at(i)), np.array(corner.at(i))
        assert image.shape == (*odd.shapes[i], 3), path
        assert np.array_equal(part, image[2:12, 3:15]), path
        assert np.array_equal(manifest.decode(odd.root / path), image), path
        if Path(path).name not in ("gray16.png", "I;16.tif"):  # which Pillow's convert() clips
            with Image.open(odd.root / path) as opened:
                expected = np.asarray(ImageOps.exif_transpose(opened).convert("RGB"))
            assert np.array_equal(image, expected), path


def test_16_bit_gray_is_scaled_not_clipped(odd: ImageFiles):
    index = next(i for i, path in enumerate(odd.paths) if path.endswith("I;16.tif"))
    with Image.open(odd.root / odd.paths[index]) as stored:
        sixteen = np.asarray(stored).astype(float)
    decoded = np.asarray(Image.open(io.BytesIO(odd.read(index).tobytes())))
    assert decoded.shape == (HEIGHT, WIDTH, 3)
    assert np.array_equal(decoded[..., 0], np.rint(sixteen / 257))


def test_a_second_load_decodes_nothing(tmp_path: Path, decoded: list[str]):
    write_all(tmp_path, {"half.jpg": encoded("RGB", "JPEG")[:300], "p.gif": encoded("P", "GIF")})
    first = load_it(tmp_path, bad_files="skip")
    assert len(decoded) == 5
    decoded.clear()
    second = load_it(tmp_path, bad_files="skip")
    assert decoded == []
    assert files(first.train) == files(second.train)
    assert np.array_equal(first.train.shapes, second.train.shapes)
    assert np.array_equal(first.train.via_pillow, second.train.via_pillow)
    assert "half.jpg" in errors_of(tmp_path)[1]
    assert decoded == []


def test_only_changed_and_new_files_are_decoded_again(tmp_path: Path, decoded: list[str]):
    write_all(tmp_path, {"new-size.png": encoded("RGB", "PNG"), "same.png": encoded("RGB", "PNG")})
    load_it(tmp_path)
    decoded.clear()
    picture(8, 9).save(tmp_path / "train/b/new-size.png")
    os.utime(tmp_path / "train/a/1.png", ns=(1, 1))  # read again, but what is in it is known
    write_images(tmp_path / "train/b", "added.png")
    data = load_it(tmp_path)
    assert sorted(decoded) == ["added.png", "new-size.png"]
    assert data.train.shapes[data.train.paths.index("train/b/new-size.png")].tolist() == [8, 9]


def test_every_file_has_the_hash_of_its_bytes(tmp_path: Path):
    write_all(tmp_path, {"half.jpg": encoded("RGB", "JPEG")[:300], "p.gif": encoded("P", "GIF")})
    paths = ["train/b/half.jpg", "train/b/p.gif", "train/a/1.png", "train/a/none.png"]
    for _ in range(2):  # scanned, and known
        digests = [entry.digest for entry in manifest.scan(tmp_path, paths).entries]
        expected = [hashlib.blake2b((tmp_path / path).read_bytes(), digest_size=16).digest() for path in paths[:3]]
        assert digests == [*expected, b""]


def test_a_file_is_read_once_and_then_only_where_it_changed(tmp_path: Path, monkeypatch):
    write_all(tmp_path, {})
    read: list[str] = []
    real = manifest.read_regular
    monkeypatch.setattr(manifest, "read_regular", lambda path, most: read.append(Path(path).name) or real(path, most))
    paths = ["train/a/1.png", "train/b/1.png"]
    assert manifest.scan(tmp_path, paths).decoded == 2 and len(read) == 2
    copied = (tmp_path / paths[0]).read_bytes()
    (tmp_path / "copy").write_bytes(copied)
    known = (tmp_path / paths[0]).stat()
    os.utime(tmp_path / "copy", ns=(known.st_mtime_ns, known.st_mtime_ns))
    os.replace(tmp_path / "copy", tmp_path / paths[0])  # same path, size and time, but another inode
    assert manifest.scan(tmp_path, paths).decoded == 0 and read[2:] == ["1.png"]
    assert manifest.scan(tmp_path, paths).decoded == 0 and len(read) == 3


def test_a_change_that_leaves_no_trace_is_found_by_reading_all(tmp_path: Path):
    write_all(tmp_path, {})
    paths = ["train/a/1.png", "train/b/1.png"]
    before = manifest.scan(tmp_path, paths)
    file = tmp_path / paths[1]
    times = file.stat().st_atime_ns, file.stat().st_mtime_ns
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    os.utime(file, ns=times)
    assert manifest.scan(tmp_path, paths).entries == before.entries
    with manifest.reading_all(False):
        assert manifest.scan(tmp_path, paths).entries == before.entries
    with manifest.reading_all():
        found = manifest.scan(tmp_path, paths)
    assert found.decoded == 1 and found.entries[0] == before.entries[0]
    assert found.entries[1].digest != before.entries[1].digest
    assert manifest.scan(tmp_path, paths).entries == found.entries


@pytest.mark.parametrize("where", [(manifest, "read_regular"), (Image.Image, "load")])
def test_a_file_that_memory_lacks_for_is_tried_again_and_all_others_stay_known(tmp_path: Path, monkeypatch, where):
    write_all(tmp_path, {})
    paths = ["train/a/1.png", "train/b/1.png"]
    manifest.scan(tmp_path, paths[:1])

    def lacking(*_):
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(*where, lacking)
        assert manifest.scan(tmp_path, paths).entries[1][5:7] == (manifest.UNREADABLE, "MemoryError")
    found = manifest.scan(tmp_path, paths)
    assert found.decoded == 1 and found.entries[1].status == OK


def test_a_file_that_could_not_be_read_is_tried_again(tmp_path: Path, monkeypatch):
    write_all(tmp_path, {"x.png": encoded("RGB", "PNG")})
    real = manifest.read_regular

    def refuse(path: str, most: int) -> bytes:
        if path.endswith("x.png"):
            raise PermissionError(13, "Permission denied", path)
        return real(path, most)

    monkeypatch.setattr(manifest, "read_regular", refuse)
    assert errors_of(tmp_path)[1].endswith("x.png: Permission denied")
    monkeypatch.setattr(manifest, "read_regular", real)
    assert len(load_it(tmp_path).train) == 3


@pytest.mark.parametrize("contents", [b"", b"damaged", None])
def test_a_damaged_or_outdated_manifest_is_made_anew(tmp_path: Path, decoded: list[str], monkeypatch, contents):
    write_all(tmp_path, {})
    load_it(tmp_path)
    decoded.clear()
    if contents is None:
        monkeypatch.setattr(manifest, "_VERSION", manifest._VERSION + 1)
    else:
        (tmp_path / ".semisonic/manifest.npz").write_bytes(contents)
    load_it(tmp_path)
    assert len(decoded) == 3
    load_it(tmp_path)
    assert len(decoded) == 3


def test_processes_find_the_same(tmp_path: Path, monkeypatch):
    write_all(tmp_path, {"half.jpg": encoded("RGB", "JPEG")[:300], "p.gif": encoded("P", "GIF")})
    paths = [str(p.relative_to(tmp_path)) for p in sorted(tmp_path.rglob("*.*g*")) if p.is_file()]
    here = manifest.scan(tmp_path, paths, workers=1)
    (tmp_path / ".semisonic/manifest.npz").unlink()
    monkeypatch.setattr(manifest, "_PROCESSES_FROM", 1)
    assert manifest.scan(tmp_path, paths, workers=2) == here
    assert [entry.status for entry in here.entries].count(BAD) == 1


def test_processes_do_not_run_a_script_again_that_has_no_guard(tmp_path: Path):
    write_all(tmp_path / "images", {"half.jpg": encoded("RGB", "JPEG")[:300], "p.gif": encoded("P", "GIF")})
    script = tmp_path / "script.py"
    script.write_text(
        "import pathlib, sys\nfrom semisonic.data.sets import manifest\nmanifest._PROCESSES_FROM = 1\n"
        "root = pathlib.Path(sys.argv[1])\nmanifest.scan(root, sorted(p.name for p in root.glob('*.*')), workers=2)\n"
        "print('scanned')\n"
    )
    done = subprocess.run([sys.executable, script, tmp_path / "images"], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("scanned\n", "")


def test_a_single_file_that_cannot_be_decoded_says_why(tmp_path: Path):
    (tmp_path / "text.png").write_text("no image")
    Image.new("F", (8, 8)).save(tmp_path / "float.tif")
    for name, reason in (
        ("text.png", "not an image"),
        ("float.tif", "range of values is not defined"),
        ("none", "No such"),
    ):
        with pytest.raises(ValueError, match=reason):
            manifest.decode(tmp_path / name)


@INPUTS
def test_a_manifest_of_any_content_is_a_cache_alone(inputs: int, tmp_path: Path):
    write_images(tmp_path / "images", "a.png b.png")
    manifest.scan(tmp_path / "images", ["a.png", "b.png"])
    (file,) = (tmp_path / "images" / ".semisonic").glob("*.npz")
    with np.load(file) as stored:
        valid = dict(stored)
    attack(manifest._read, tmp_path / "manifest.npz", npz_files(valid), inputs)
    manifest._write(tmp_path / "manifest.npz", manifest._read(file))
    assert manifest._read(tmp_path / "manifest.npz") == manifest._read(file) != {}
