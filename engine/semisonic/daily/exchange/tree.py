"""Labels as folders: one for each class, with links to its images or copies of them, as torchvision's ImageFolder and
most tools read it.

A hidden list at the top, `.labels.csv`, says what each file was exported as, and holds the images without a class.
What counts on the way back is the folder in which a file lies.
"""

import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import unquote_to_bytes

from semisonic.checkpoint.atomic_files import sync_folder
from semisonic.daily.exchange.rows import COLUMNS, FILE, Row, digest_of
from semisonic.daily.exchange.tables import read_csv, write_csv
from semisonic.data.sets.walk import is_image, is_passed_over
from semisonic.schema import UserError
from semisonic.text import file_name

LIST = ".labels.csv"
"""`file_name` makes no hidden names, so no class's folder is called so."""
SHORT = 12
"""Digits of an image's hash that tell files of one name apart."""


def write_tree(path: Path, rows: Iterable[Row], copies: bool) -> int:
    """Makes a new folder, whole or not at all; returns the number of files in it.

    Raises `UserError` with a line for each image that is not where it was, and OSError.
    """
    placed, problems = _placed(rows, copies)
    if problems:
        raise UserError(problems)
    half = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    half.mkdir(parents=True)
    try:
        for row in placed:
            if row.file:
                _put(row, half / row.file, copies)
        write_csv(half / LIST, placed, (FILE, *COLUMNS))
        os.rename(half, path)  # an empty folder gives way
    except BaseException:
        shutil.rmtree(half, ignore_errors=True)
        raise
    sync_folder(path.parent)
    return sum(bool(row.file) for row in placed)


def _placed(rows: Iterable[Row], copies: bool) -> tuple[list[Row], list[str]]:
    """Each image with its place in the tree, and what is wrong with images that are to be there.

    Classes whose names differ in the case of letters share the names of their files: on some systems they share a
    folder. copies: files are read, since what is copied must be what was labeled.
    """
    placed, problems = [], []
    taken: dict[str, set[str]] = {}
    for row in rows:
        if not row.label:
            placed.append(row)
            continue
        if not os.path.isfile(row.path):
            problems.append(f"{row.path}: the image is gone; put it back, or run `add` on the folder that it moved to")
            continue
        if copies and row.hash and digest_of(row.path) != row.hash:
            problems.append(f"{row.path}: has changed since it was labeled; put it back, or `add` it as it is now")
            continue
        folder = file_name(row.label)
        name = _free(row, taken.setdefault(folder.casefold(), set()))
        placed.append(row._replace(file=f"{folder}/{name}"))
    return placed, problems


def _free(row: Row, taken: set[str]) -> str:
    """A name for an image's file that no other in its folder has, in any case of letters."""
    stem, ending = os.path.splitext(os.path.basename(row.path))
    digest = row.hash.hex() if row.hash else ""
    for part in ("", f"-{digest[:SHORT]}", f"-{digest}"):
        name = f"{file_name(stem)}{part}.{file_name(ending[1:])}"
        if name.casefold() not in taken:
            break
    taken.add(name.casefold())
    return name


def _put(row: Row, place: Path, copies: bool) -> None:
    place.parent.mkdir(exist_ok=True)
    if copies:
        shutil.copy2(row.path, place)
    else:
        os.symlink(os.path.abspath(row.path), place)


def read_tree(path: Path, problems: list[str]) -> Iterator[Row]:
    """What the places of a tree's images say, and its list of those without one.

    A file that was moved inside of the tree is known by where its link leads, or else by its content.
    """
    known = list(read_csv(path / LIST, problems, (FILE, *COLUMNS))) if (path / LIST).exists() else []
    listed = {row.file: row for row in known if row.file}
    by_path, by_hash = {row.path: row for row in known}, {row.hash: row for row in known if row.hash}
    names = {row.file.partition("/")[0]: row.label for row in listed.values()}
    found: set[str] = set()
    for file in _files(path, problems):
        folder = file.partition("/")[0]
        label = names.get(folder) or class_of(folder)
        place = path / file
        origin = os.path.join(place.parent, os.readlink(place)) if place.is_symlink() else None
        row = listed.get(file) or (by_path.get(origin) if origin else None)
        digest = None
        if row is None and origin is None:
            digest = digest_of(place)
            row = by_hash.get(digest) if digest else None
        if row is None:
            yield Row(origin or os.path.abspath(place), label, hash=digest, where=file)
        else:
            found.add(row.path)
            yield row._replace(label=label, exported=row.label, where=file)
    for row in known:
        if not row.file and row.path not in found:
            yield row._replace(exported=row.label, where=f"{LIST}, {row.where}")


def class_of(folder: str) -> str:
    """The class that a folder's name stands for."""
    return os.fsdecode(unquote_to_bytes(os.fsencode(folder))) if "%" in folder else folder


def _files(path: Path, problems: list[str]) -> Iterator[str]:
    """The images of a tree below its classes' folders, relative to its top."""
    try:
        folders = sorted(entry.name for entry in os.scandir(path) if entry.is_dir() and not entry.name.startswith("."))
    except OSError as error:
        raise UserError(f"import: {path}: {error.strerror or error}") from error
    if not folders and not (path / LIST).exists():
        raise UserError(f"import: {path} has no folders; a tree has one for each class")
    for folder in folders:
        refused: list[OSError] = []
        for where, inner, files in os.walk(path / folder, onerror=refused.append):
            inner[:] = sorted(name for name in inner if not name.startswith("."))
            for name in sorted(files):
                if is_image(name) and not is_passed_over(name):
                    yield os.path.relpath(os.path.join(where, name), path)
        problems += [f"{error.filename}: {error.strerror}" for error in refused]
