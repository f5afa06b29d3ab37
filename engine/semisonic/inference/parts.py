"""Where predictions are written: in parts, each whole or not there, so that a job that was stopped goes on at its next
part. One file is joined from its parts at the end.

    FOLDER/predictions.json               what was begun, by which a job knows its own
    FOLDER/part-SLICE-NUMBER.csv          the rows of one part (or .parquet), in the order of the images
    FOLDER/part-SLICE-NUMBER.left_out.csv images of it that could not be used, until all is done
    FOLDER/left_out.csv                   all of these, in the end

A slice is the share of one rank of the job that began; the parts of all slices one after the other have all images in
their order. A part is the same whatever the number of slices.
"""

import csv
import filecmp
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from semisonic.checkpoint.atomic_files import replace, sync_file, write_bytes, write_file, write_text, writing
from semisonic.checkpoint.folder_lock import LOCK, FolderLock
from semisonic.config.arguments import output_problem
from semisonic.inference.outputs import encoded
from semisonic.schema import UserError
from semisonic.text import dump_json

KINDS = ("csv", "parquet")
HEADER = "predictions.json"
FORMAT = 1
LEFT_OUT = "left_out.csv"


@dataclass(frozen=True)
class Target:
    """What --out names: one file, or a folder of parts."""

    path: Path
    kind: str
    """csv or parquet."""
    single: bool

    @property
    def folder(self) -> Path:
        """Where the parts are."""
        return self.path.with_name(f"{self.path.name}.parts") if self.single else self.path

    @property
    def left_out(self) -> Path:
        return self.path.with_name(f"{self.path.stem}.{LEFT_OUT}") if self.single else self.path / LEFT_OUT


def find_target(path: Path, kind: str | None, resume: bool) -> Target:
    """What a path means, by its ending. Raises `UserError` where it cannot be written, or something is there."""
    single = path.suffix.lower().removeprefix(".") in KINDS
    if path.suffix and not single:
        raise UserError(f"--out {path}: the file must end in .csv or .parquet; a folder of parts has no ending")
    if single and kind is not None:
        raise UserError(f"--format: is for a folder of parts; {path} says by its ending what it is")
    target = Target(path, path.suffix.lower()[1:] if single else kind or "parquet", single)
    if problem := output_problem("--out", path):
        raise UserError(problem)
    begun = (target.folder / HEADER).is_file()
    if begun and not resume:
        raise UserError(f"--out {path}: predictions have begun in {target.folder}; --resume continues them")
    if begun:
        return target
    for there in dict.fromkeys((path, target.folder, target.left_out)):
        if os.path.lexists(there) and not (there == target.folder and _holds_nothing(there)):
            which = "" if there == path else f"{there} "
            raise UserError(f"--out {path}: {which}already exists; name another")
    return target


def _holds_nothing(folder: Path) -> bool:
    """Whether a folder is empty, but for what a kill leaves that came before the header was written."""
    return folder.is_dir() and all(
        name == LOCK or name.startswith(f"{LOCK}-") or name == f".{HEADER}.tmp" for name in os.listdir(folder)
    )


@dataclass(frozen=True)
class Layout:
    """Which images are in which part."""

    images: int
    rows: int
    """Images of a part."""
    slices: int

    def parts(self, number: int) -> list[range]:
        """The images of the parts of a slice."""
        count = -(-self.images // self.rows)
        own = range(number * count // self.slices, (number + 1) * count // self.slices)
        return [range(part * self.rows, min((part + 1) * self.rows, self.images)) for part in own]

    @cached_property
    def all_parts(self) -> list[tuple[int, int]]:
        """(slice, number) of every part, in the order of the images."""
        return [(number, part) for number in range(self.slices) for part in range(len(self.parts(number)))]


@dataclass(frozen=True, eq=False)
class Parts:
    """The parts of a job, on the disk."""

    target: Target
    layout: Layout

    def path(self, number: int, part: int) -> Path:
        return self.target.folder / f"part-{number:05d}-{part:05d}.{self.target.kind}"

    def left_out_path(self, number: int, part: int) -> Path:
        return self.path(number, part).with_suffix(f".{LEFT_OUT}")

    def done(self, number: int, part: int) -> bool:
        return self.path(number, part).is_file()

    def write(self, number: int, part: int, columns: dict[str, Any], left_out: Sequence[tuple[str, str]]) -> None:
        """Writes a part, its images that were left out first: then it is whole where it is there."""
        beside = self.left_out_path(number, part)
        with writing(self.target.folder):
            if left_out:
                write_bytes(beside, encoded(_left_out_columns(left_out), "csv"))
            else:
                beside.unlink(missing_ok=True)  # of a try that was killed before its part was written
            write_bytes(self.path(number, part), encoded(columns, self.target.kind))

    def finish(self, header: dict[str, Any]) -> int:
        """After all parts are there: the table of what was left out, and the one file; returns how many were left out.

        A second time, after a kill in its middle, it comes to the same.
        """
        if header["finished"] is not None:
            self._tidy()
            return int(header["finished"]["left_out"])
        beside = [self.left_out_path(*part) for part in self.layout.all_parts]
        beside = [path for path in beside if path.is_file()]
        count = sum(_rows(path) for path in beside)
        with writing(self.target.path):
            if beside:
                staged = self.target.left_out.with_name(f".{self.target.left_out.name}.tmp")
                write_file(staged, _csv_of(beside))
                self._place(staged, self.target.left_out)
            if self.target.single:
                self._join()
            finished = {"rows": self.layout.images - count, "left_out": count}
            write_text(self.target.folder / HEADER, dump_json(header | {"finished": finished}, indent=1))
        self._tidy()
        return count

    def _tidy(self) -> None:
        """Removes what is needed no more, once the header says that all is done: it goes last, and what was left out
        of a part after the part."""
        folder = self.target.folder
        with writing(folder):
            for part in self.layout.all_parts:
                if self.target.single:
                    self.path(*part).unlink(missing_ok=True)
                self.left_out_path(*part).unlink(missing_ok=True)
            for path in folder.glob(".part-*.tmp"):
                path.unlink()
            if self.target.single:
                (folder / HEADER).unlink()
                shutil.rmtree(folder)

    def _join(self) -> None:
        path, files = self.target.path, [self.path(*part) for part in self.layout.all_parts]
        staged = path.with_name(f".{path.name}.tmp")
        if self.target.kind == "csv":
            write_file(staged, _csv_of(files))
        else:
            _join_parquet(files, staged)
            sync_file(staged)
        self._place(staged, path)

    def _place(self, staged: Path, path: Path) -> None:
        """Gives a file its name, but not that of another one's file."""
        if not os.path.lexists(path):
            replace(staged, path)
            return
        ours = path.is_file() and filecmp.cmp(staged, path, shallow=False)
        staged.unlink()
        if not ours:  # else a kill came before the header said that all is done
            folder = self.target.folder
            raise UserError(
                f"--out {self.target.path}: {path} was made by something else meanwhile; the parts are in {folder}"
            )


def _left_out_columns(left_out: Sequence[tuple[str, str]]) -> dict[str, Any]:
    return {"path": [path for path, _ in left_out], "reason": [reason for _, reason in left_out]}


def _csv_of(files: Sequence[Path]) -> Iterator[bytes]:
    """The lines of CSV files, of which the first one's header is that of all. A header has no line break in a cell."""
    for number, path in enumerate(files):
        with path.open("rb") as opened:
            header = opened.readline()
            if number == 0:
                yield header
            while piece := opened.read(2**20):
                yield piece


def _join_parquet(files: Sequence[Path], staged: Path) -> None:
    from pyarrow import parquet

    with parquet.ParquetWriter(staged, parquet.read_schema(files[0])) as writer:
        for path in files:
            writer.write_table(parquet.read_table(path))


def _rows(file: Path) -> int:
    with file.open(newline="", encoding="utf-8") as opened:
        return sum(1 for _ in csv.reader(opened)) - 1


def first_left_out(file: Path, count: int) -> list[tuple[str, str]]:
    """(path, reason), as they are written, of the first images that were left out. Raises `UserError`."""
    try:
        with file.open(newline="", encoding="utf-8") as opened:
            rows = csv.reader(opened)
            next(rows)
            return [(path, reason) for (path, reason), _ in zip(rows, range(count), strict=False)]
    except (OSError, ValueError, csv.Error, StopIteration) as error:
        raise UserError(f"{file}: is not what was written there: {str(error) or 'it is empty'}") from error


@dataclass
class Begun:
    """A job's folder, which rank 0 holds for all ranks; to be released."""

    parts: Parts
    header: dict[str, Any]
    lock: FolderLock = field(repr=False)


def begin(target: Target, layout: Layout, identity: Mapping[str, Any], about: Mapping[str, Any], resume: bool) -> Begun:
    """Makes the folder of a job, or takes over that of one that was stopped; then the number of slices is its.

    identity: what must be the same for that, by the names that users know it by. about: what the header says besides.
    Raises `UserError` with a line for each that is not, and where another process is at work there.
    """
    with writing(target.folder):
        target.folder.mkdir(parents=True, exist_ok=True)
        lock = FolderLock(target.folder)
    try:
        file = target.folder / HEADER
        if file.is_file():
            if not resume:
                raise UserError(
                    f"--out {target.path}: predictions have begun in {target.folder}; --resume continues them"
                )
            header = _read_header(file)
            _compare(header, identity, about, target.folder)
            layout = Layout(layout.images, layout.rows, header["slices"])
            if header["finished"]:
                _check_there(Parts(target, layout), header["finished"]["left_out"])
        else:
            header = {"format": FORMAT, **about, "begun_with": dict(identity), "slices": layout.slices}
            header |= {"finished": None}
            with writing(file):
                write_text(file, dump_json(header, indent=1))
        return Begun(Parts(target, layout), header, lock)
    except BaseException:
        lock.release()
        with suppress(OSError):
            target.folder.rmdir()  # where it holds nothing yet
        raise


def _read_header(file: Path) -> dict[str, Any]:
    try:
        header = json.loads(file.read_bytes())
        slices, finished, before = header["slices"], header["finished"], header["begun_with"]
        whole = header["format"] == FORMAT and isinstance(before, dict)
        whole &= isinstance(slices, int) and 0 < slices <= 10**6
        whole &= finished is None or isinstance(finished["left_out"], int)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        whole = False
    if not whole:
        raise UserError(f"{file}: not of predictions that this version can continue; name another --out")
    return dict(header)


def _check_there(parts: Parts, left_out: int) -> None:
    """Raises `UserError` where something that was finished has been removed since."""
    target = parts.target
    tables = [target.path] if target.single else [parts.path(*part) for part in parts.layout.all_parts]
    if gone := [path for path in [*tables, *[target.left_out] * (left_out > 0)] if not path.is_file()]:
        raise UserError(f"--out {target.path}: was finished, but {gone[0]} was removed since; name another")


def _compare(header: dict[str, Any], identity: Mapping[str, Any], about: Mapping[str, Any], folder: Path) -> None:
    before, lines = header["begun_with"], []
    for name, value in identity.items():
        if before.get(name) == json.loads(dump_json(value)):
            continue
        was, now = (header.get("checkpoint"), about["checkpoint"]) if name == "weights" else (before.get(name), value)
        same = " with other weights" if was == now else ""
        lines.append(f"--resume: {folder} was begun with {name} {_short(was)}, not {_short(now)}{same}")
    if lines:
        raise UserError(lines)


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else dump_json(value)
    return text if len(text) <= 200 else f"{text[:197]}..."
