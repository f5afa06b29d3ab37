"""Your own images: every layout, every odd kind of file, and what the scan says against what DALI does."""

import csv
import io
import itertools
import os
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from semisonic.data.sets import manifest
from semisonic.data.sets.base import DataConfig, DataSet, ImageFiles
from semisonic.data.sets.manifest import BAD, OK, VIA_PILLOW
from semisonic.data.sets.registry import data_problems, load_data_set
from semisonic.data.sets.spellings import LABELED_FOLDERS, UNLABELED_FOLDERS
from semisonic.data.sets.splits import make_split
from semisonic.schema import UserError

HEIGHT, WIDTH = 24, 40
ORIENTATION = 0x0112


def picture(height: int = HEIGHT, width: int = WIDTH, shift: int = 0) -> Image.Image:
    y, x = np.mgrid[:height, :width]
    return Image.fromarray(np.stack([x * 6, y * 10, (x + y) * 3 + shift], -1).clip(0, 255).astype(np.uint8))


def write_images(folder: Path, names: str | list[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for i, name in enumerate(names.split() if isinstance(names, str) else names):
        picture(shift=i).save(folder / name)


def load_it(root: Path | None, **fields) -> DataSet:
    return load_data_set(DataConfig(**{"name": "folder", "root": root, "size": 16, "labels": None} | fields))


def errors_of(root: Path | None, **fields) -> list[str]:
    with pytest.raises(UserError) as caught:
        load_it(root, **fields)
    return caught.value.messages


def files(part) -> list[tuple[str, int]]:
    assert isinstance(part, ImageFiles)
    return list(zip(part.paths, part.labels.tolist(), strict=True))


# layouts


def test_train_and_test_trees(tmp_path: Path):
    write_images(tmp_path / "train/dog", "b.png a.jpg")
    write_images(tmp_path / "train/cat/deep/er", "c.PNG")
    write_images(tmp_path / "val/cat", "d.png")
    (tmp_path / "train/dog/notes.txt").write_text("not an image")
    (tmp_path / "train/dog/.hidden.png").write_text("not an image")
    data = load_it(tmp_path)
    assert data.classes == ("cat", "dog")
    assert files(data.train) == [
        ("train/cat/deep/er/c.PNG", 0),
        ("train/dog/a.jpg", 1),
        ("train/dog/b.png", 1),
    ]
    assert files(data.test) == [("val/cat/d.png", 0)]
    assert data.train.shapes.tolist() == [[HEIGHT, WIDTH]] * 3
    assert data.train.shapes.dtype == np.int32
    assert (data.size, data.flip, data.pad) == (16, True, 2)
    assert data.notes == ("1 files are not images by name, such as train/dog/notes.txt",)


@pytest.mark.parametrize("names", itertools.product(LABELED_FOLDERS, UNLABELED_FOLDERS))
def test_labeled_and_unlabeled(tmp_path: Path, names):
    labeled, unlabeled = names
    write_images(tmp_path / labeled / "a", "1.png 2.png")
    write_images(tmp_path / labeled / "b", "1.png")
    write_images(tmp_path / unlabeled, "x.png")
    write_images(tmp_path / unlabeled / "some/where", "y.png")
    write_images(tmp_path / "test/a", "1.png")
    write_images(tmp_path / "val/a", "1.png")
    data = load_it(tmp_path)
    assert data.train.labels.tolist() == [0, 0, 1, -1, -1]
    assert [Path(p).name for p in data.train.paths[3:]] == ["y.png", "x.png"]
    assert files(data.test) == [("test/a/1.png", 0)]
    assert data.notes == (f"not used in {tmp_path}: val/",)
    split = make_split(DataConfig(labels=None), data.train.labels, 2, seed=0)
    assert split.labeled.tolist() == [0, 1, 2]
    assert split.unlabeled.tolist() == [0, 1, 2, 3, 4]


def test_a_folder_in_two_spellings_is_a_mistake(tmp_path: Path):
    for first, second in ((LABELED_FOLDERS[0], LABELED_FOLDERS[1]), UNLABELED_FOLDERS):
        for name in (first, second):
            write_images(tmp_path / first / name / "a", "1.png")
        lines = data_problems(DataConfig(name="folder", root=tmp_path / first, size=16))
        assert f"data.root: {tmp_path / first} has both {first}/ and {second}/; keep one of them" in lines


def test_bare_tree_keeps_a_fixed_share_for_the_test(tmp_path: Path):
    for name in ("a", "b"):
        write_images(tmp_path / name, [f"{i}.bmp" for i in range(10)])
    write_images(tmp_path / "unlabeled", "u.png")
    data = load_it(tmp_path)
    assert np.bincount(data.test.labels).tolist() == [2, 2]
    assert np.bincount(data.train.labels + 1).tolist() == [1, 8, 8]
    assert not set(data.test.paths) & set(data.train.paths)
    assert "4 of the labeled images, 20% of every class, are the test set" in data.notes[0]
    assert load_it(tmp_path, split_seed=7).test.paths == data.test.paths
    # One more image changes at most the places it takes itself.
    write_images(tmp_path / "a", "new.bmp")
    assert set(load_it(tmp_path).test.paths) - {"a/new.bmp"} <= set(data.test.paths)
    assert np.bincount(load_it(tmp_path, test_fraction=0.5).test.labels).tolist() == [6, 5]


def test_test_images_elsewhere(tmp_path: Path):
    write_images(tmp_path / "data/a", "1.png")
    write_images(tmp_path / "data/b", "1.png")
    write_images(tmp_path / "data/test/a", "not-used.png")
    write_images(tmp_path / "elsewhere/b", "2.png")
    data = load_it(tmp_path / "data", test_root=tmp_path / "elsewhere")
    assert files(data.test) == [(str(tmp_path / "elsewhere/b/2.png"), 1)]
    assert data.test.read(0).tobytes() == (tmp_path / "elsewhere/b/2.png").read_bytes()
    assert len(data.train) == 2
    assert data.notes == (f"not used in {tmp_path / 'data'}: test/",)


def test_links_are_followed_once(tmp_path: Path):
    write_images(tmp_path / "pool", "1.png 2.png")
    write_images(tmp_path / "data/a", "1.png 2.png")
    (tmp_path / "data/b").symlink_to(tmp_path / "pool")
    (tmp_path / "pool/loop").symlink_to(tmp_path / "pool")
    write_images(tmp_path / "data/test/a", "t.png")
    assert [p for p, _ in files(load_it(tmp_path / "data").train)] == [
        "a/1.png",
        "a/2.png",
        "b/1.png",
        "b/2.png",
    ]


def write_csv(file: Path, rows: list[list[str]]) -> Path:
    with open(file, "w", newline="") as handle:
        csv.writer(handle).writerows(rows)
    return file


@pytest.mark.parametrize("beside", [True, False])
def test_csv(tmp_path: Path, beside: bool):
    images = tmp_path if beside else tmp_path / "images"
    write_images(images, "a.png b.jpg c.png d.png")
    rows = [["label", "path", "split"], ["dog", "a.png", "train"], ["cat", "b.jpg", ""], ["", "c.png", ""]]
    file = write_csv(tmp_path / "labels.csv", [*rows, ["dog", "d.png", "test"]])
    data = load_it(None if beside else images, csv=file)
    assert data.classes == ("cat", "dog")
    assert files(data.train) == [("a.png", 1), ("b.jpg", 0), ("c.png", -1)]
    assert files(data.test) == [("d.png", 1)]


def test_mistakes_in_a_csv(tmp_path: Path):
    write_images(tmp_path, "a.png b.png")
    rows = [
        ["a.png", "x", "train"],
        ["./a.png", "y", ""],
        ["", "y", ""],
        ["b.png", "y", "dev"],
        ["c.png", "", "test"],
    ]
    lines = errors_of(None, csv=write_csv(tmp_path / "l.csv", [["path", "label", "split"], *rows]))
    assert [line.split(f" of {tmp_path / 'l.csv'} ")[0] for line in lines] == [
        f"data.csv: line {n}" for n in (3, 4, 5, 6)
    ]
    assert "repeats the image of line 2" in lines[0]
    assert "has split 'dev'" in lines[2]
    (line,) = errors_of(None, csv=write_csv(tmp_path / "m.csv", [["file", "label"]]))
    assert "has no column path" in line
    (tmp_path / "l.csv").write_bytes(b"path,label\na.png,x\n" + b"b.png,\xff\n")
    (line,) = errors_of(None, csv=tmp_path / "l.csv")
    assert line.startswith(f"data.csv: cannot read {tmp_path / 'l.csv'}")
    (line,) = errors_of(None, csv=tmp_path / "none.csv")
    assert line.startswith("data.csv: cannot read ")
    rows = [["path", "label"], ["a.png", "x"], ["b.png", "y"], ["missing.png", "x"], ["b2.png", "y"]]
    lines = errors_of(None, csv=write_csv(tmp_path / "n.csv", rows))
    assert lines[0].startswith("data.bad_files: 2 of 4 images cannot be decoded")
    assert all("No such file" in line for line in lines[1:])


def test_mistakes_in_a_folder(tmp_path: Path):
    def only(root: Path | None, **fields) -> str:
        (line,) = data_problems(DataConfig(**{"name": "folder", "root": root, "size": 16} | fields))
        assert errors_of(root, **fields) == [line]
        return line

    assert only(None).startswith("data.root: needed for data.name=folder")
    assert (
        only(tmp_path / "none") == f"data.root: cannot read the folder {tmp_path / 'none'}: No such file or directory"
    )
    (tmp_path / "file").write_text("")
    assert only(tmp_path / "file").endswith("Not a directory")
    assert "holds no class folders" in only(tmp_path)
    write_images(tmp_path / "train/a", "1.png")
    assert only(tmp_path, size=None).startswith("data.size: needed")
    assert only(tmp_path, test_root=tmp_path / "none").startswith("data.test_root: cannot read")
    write_images(tmp_path / "labeled/a", "1.png")
    assert "has both labeled/ and train/" in only(tmp_path)
    assert "data.labels: 0" in data_problems(DataConfig(name="folder", root=tmp_path / "train", size=16, labels=0))[0]


def test_mistakes_that_show_in_the_listing(tmp_path: Path):
    write_images(tmp_path / "train/a", "1.png 2.png")
    assert "has 1 classes of labeled images; at least 2 are needed" in errors_of(tmp_path)[0]
    (tmp_path / "train/b").mkdir()
    write_images(tmp_path / "train", "stray.png")
    lines = errors_of(tmp_path)
    assert "images directly in" in lines[0]
    assert f"class folder {tmp_path / 'train/b'} holds no images" in lines[1]
    (tmp_path / "train/stray.png").rename(tmp_path / "train/b/1.png")
    assert "too few labeled ones" in errors_of(tmp_path)[0]
    write_images(tmp_path / "test/c", "1.png")
    assert "classes without a labeled training image: c" in errors_of(tmp_path)[0]


# odd files


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


def encoded(mode: str, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    picture().convert(mode).save(buffer, kind, **options)
    return buffer.getvalue()


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


def broken() -> dict[str, tuple[bytes, str]]:
    jpeg, png = encoded("RGB", "JPEG"), encoded("RGB", "PNG")
    checksum = bytearray(png)
    at = png.index(b"IDAT")
    checksum[at + 4 + struct.unpack(">I", png[at - 4 : at])[0]] ^= 255
    return {
        "empty.jpg": (b"", "empty file"),
        "text.jpg": (b"404 not found", "not an image"),
        "half.jpg": (jpeg[: len(jpeg) // 2], "runcated"),
        "end.jpg": (jpeg[:-2], "truncated"),
        "half.png": (png[: len(png) // 2], "runcated"),
        "no-end.png": (png[:-12], ""),
        "checksum.png": (bytes(checksum), "checksum"),
        "float.tif": (encoded("F", "TIFF"), "of mode F"),
    }


def write_all(root: Path, contents: dict[str, bytes]) -> None:
    for name in ("a", "b"):
        write_images(root / "train" / name, "1.png")
    write_images(root / "test/a", "1.png")
    for name, data in contents.items():
        (root / "train/b" / name).write_bytes(data)


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


def test_bad_files_are_reported_together(tmp_path: Path):
    write_all(tmp_path, {name: data for name, (data, _) in broken().items()})
    first, *lines = errors_of(tmp_path)
    assert first.startswith(
        "data.bad_files: 8 of 11 images cannot be decoded; repair or remove them, or set data.bad_f"
    )
    found = {line.split(": ")[1].rsplit("/", 1)[1]: line.split(": ", 2)[2] for line in lines}
    assert found.keys() == broken().keys()
    for name, (_, reason) in broken().items():
        assert reason in found[name], name
    assert not any("\n" in line for line in lines)


def test_only_the_first_twenty_are_listed(tmp_path: Path):
    write_all(tmp_path, {f"{i:02}.png": b"x" for i in range(25)})
    lines = errors_of(tmp_path)
    assert len(lines) == 22
    assert lines[-1] == "data.root: 5 more files cannot be decoded"


def test_bad_files_can_be_left_out(tmp_path: Path):
    write_all(tmp_path, {name: data for name, (data, _) in broken().items()})
    data = load_it(tmp_path, bad_files="skip")
    assert files(data.train) == [("train/a/1.png", 0), ("train/b/1.png", 1)]
    assert data.train.shapes.shape == (2, 2)
    assert data.notes[0].startswith("8 of 11 images cannot be decoded and are left out, such as train/b/")
    (tmp_path / "test/a/1.png").write_bytes(b"")
    assert "is left to train or to test on" in errors_of(tmp_path, bad_files="skip")[0]


# the manifest


@pytest.fixture
def decoded(monkeypatch) -> list[str]:
    """The names of the files that are decoded from now on."""
    names: list[str] = []
    real = manifest.inspect

    def spy(path: str):
        names.append(os.path.basename(path))
        return real(path)

    monkeypatch.setattr(manifest, "inspect", spy)
    return names


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
    os.utime(tmp_path / "train/a/1.png", ns=(1, 1))
    write_images(tmp_path / "train/b", "added.png")
    data = load_it(tmp_path)
    assert sorted(decoded) == ["1.png", "added.png", "new-size.png"]
    assert data.train.shapes[data.train.paths.index("train/b/new-size.png")].tolist() == [8, 9]


def test_a_file_that_could_not_be_read_is_tried_again(tmp_path: Path, monkeypatch):
    write_all(tmp_path, {"x.png": encoded("RGB", "PNG")})
    real = Path.read_bytes

    def refuse(path: Path) -> bytes:
        if path.name == "x.png":
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(Path, "read_bytes", refuse)
    assert "Permission denied" in errors_of(tmp_path)[1]
    monkeypatch.setattr(Path, "read_bytes", real)
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


def test_a_folder_that_cannot_be_written_uses_the_cache(tmp_path: Path, monkeypatch, decoded: list[str]):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    write_all(tmp_path / "data", {})
    (tmp_path / "data/.semisonic").write_text("a file, so that the folder cannot be made")
    load_it(tmp_path / "data")
    assert len(list((tmp_path / "cache/semisonic/manifests").glob("*.npz"))) == 1
    load_it(tmp_path / "data")
    assert len(decoded) == 3


def test_a_manifest_that_can_only_be_read_is_used(tmp_path: Path, monkeypatch, decoded: list[str]):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    write_all(tmp_path / "data", {})
    load_it(tmp_path / "data")
    monkeypatch.setattr(os, "access", lambda *_: False)
    decoded.clear()
    load_it(tmp_path / "data")
    assert decoded == []
    write_images(tmp_path / "data/train/a", "new.png")
    load_it(tmp_path / "data")
    load_it(tmp_path / "data")
    assert decoded == ["new.png"]


def test_ranks_that_start_together_decode_once(tmp_path: Path, decoded: list[str]):
    write_all(tmp_path, {f"x{i}.png": encoded("RGB", "PNG") for i in range(30)})
    with ThreadPoolExecutor(4) as ranks:
        loaded = list(ranks.map(lambda _: load_it(tmp_path), range(4)))
    assert len(decoded) == 33
    assert all(files(data.train) == files(loaded[0].train) for data in loaded)


def test_odd_names_survive(tmp_path: Path, decoded: list[str]):
    write_images(tmp_path / "train/a b,ü", ["x\n.png", "ü.png"])
    with open(os.fsencode(tmp_path / "train/a b,ü") + b"/\xff.png", "wb") as file:  # not UTF-8
        file.write(encoded("RGB", "PNG"))
    write_images(tmp_path / "train/c", "1.png 2.png")
    assert len(load_it(tmp_path).train) == 3
    decoded.clear()
    assert load_it(tmp_path).train.read(0).size > 0
    assert decoded == []


def test_processes_find_the_same(tmp_path: Path, monkeypatch):
    write_all(tmp_path, {"half.jpg": encoded("RGB", "JPEG")[:300], "p.gif": encoded("P", "GIF")})
    paths = [str(p.relative_to(tmp_path)) for p in sorted(tmp_path.rglob("*.*g*")) if p.is_file()]
    here = manifest.scan(tmp_path, paths, workers=1)
    (tmp_path / ".semisonic/manifest.npz").unlink()
    monkeypatch.setattr(manifest, "_PROCESSES_FROM", 1)
    assert manifest.scan(tmp_path, paths, workers=2) == here
    assert [entry.status for entry in here.entries].count(BAD) == 1
