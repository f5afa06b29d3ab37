"""Folders of images: sound ones, odd ones and broken ones, and what loads them."""

import io
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from semisonic.data.sets.base import DataConfig, DataSet, ImageFiles
from semisonic.data.sets.registry import load_data_set
from semisonic.schema import UserError

HEIGHT, WIDTH = 24, 40


def picture(height: int = HEIGHT, width: int = WIDTH, shift: int = 0) -> Image.Image:
    y, x = np.mgrid[:height, :width]
    return Image.fromarray(np.stack([x * 6, y * 10, (x + y) * 3 + shift], -1).clip(0, 255).astype(np.uint8))


def write_images(folder: Path, names: str | list[str]) -> None:
    """Writes images that differ, by their names and the two folders above them."""
    folder.mkdir(parents=True, exist_ok=True)
    for i, name in enumerate(names.split() if isinstance(names, str) else names):
        image = picture(shift=i)
        own = zlib.crc32("/".join([*folder.parts[-2:], name]).encode()).to_bytes(4, "big")
        image.paste((own[0], own[1], own[2]), (0, 0, 8, 8))
        image.save(folder / name)


def load_it(root: Path | None, **fields) -> DataSet:
    return load_data_set(DataConfig(**{"name": "folder", "root": root, "size": 16, "labels": None} | fields))


def errors_of(root: Path | None, **fields) -> list[str]:
    with pytest.raises(UserError) as caught:
        load_it(root, **fields)
    return caught.value.messages


def files(part) -> list[tuple[str, int]]:
    assert isinstance(part, ImageFiles)
    return list(zip(part.paths, part.labels.tolist(), strict=True))


def encoded(mode: str, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    picture().convert(mode).save(buffer, kind, **options)
    return buffer.getvalue()


def write_all(root: Path, contents: dict[str, bytes]) -> None:
    for name in ("a", "b"):
        write_images(root / "train" / name, "1.png")
    write_images(root / "test/a", "1.png")
    for name, data in contents.items():
        (root / "train/b" / name).write_bytes(data)
