"""The one listing of image files, for training and for prediction: what is taken, what is passed over, and why.

An image is told by its name's ending; whether it is one, the scan finds. Passed over are hidden files and folders,
those that tools put beside images, folders that this program wrote, and files whose endings are not those of images.
Links are followed, to each folder once. An entry that may be a folder of images and cannot be read, such as a link to
nothing, is reported: what the user meant is in it.
"""

import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

EXTENSIONS = frozenset(
    ".jpg .jpeg .jpe .jfif .png .bmp .dib .gif .webp .avif .tif .tiff .ppm .pgm .pbm .pnm .jp2 .tga".split()  # noqa: SIM905
)
"""Of files that are taken for images."""

TOOLS = frozenset(
    name.casefold()
    for name in (
        "@eaDir", "@tmp", "#recycle", "#snapshot", "@Recycle", "@Recently-Snapshot",  # network storage
        "__MACOSX", "Icon\r", "Thumbs.db", "ehthumbs.db", "desktop.ini", "$RECYCLE.BIN", "System Volume Information",
        "lost+found", "__pycache__",
    )
)  # fmt: skip
"""Names that systems and programs give to what they keep beside the files of users, in any case."""

_WRITTEN = tuple(
    frozenset(names.split())
    for names in (
        "config.yaml status.json", "config.yaml split.npz", "config.yaml checkpoints metrics.jsonl",  # a run
        "split.npz images.npz",  # one that was killed before it was complete
        "config.yaml state.json", "config.yaml model.safetensors",  # a checkpoint
        "evaluation.json confusion.png", "compare.html runs.csv",
        "project.yaml labels.db",  # a labeling project, with its runs and thumbnails
    )
)  # fmt: skip
"""Names that are together in folders which this program wrote."""
_ADVICE = (
    (".heic .heif .hif .jxl", "convert them to .jpg or .png"),
    (".cr2 .cr3 .nef .arw .dng .raf .orf .rw2 .raw", "develop these raw photographs to .jpg or .png"),
    (".svg .pdf .eps .ai .psd", "export them as .png"),
    (".zip .tar .gz .tgz .bz2 .xz .7z .rar .zst", "unpack them"),
    (".mp4 .avi .mov .mkv .webm .m4v", "take images out of the films"),
    (".npy .npz .pt .pkl .h5 .hdf5 .mat .parquet .tfrecord .lmdb .mdb", "write the images as .png, or train in Python"),
    (".dcm .nii .mha .fits", "write each image as .png, with the range of gray that counts"),
    (".part .crdownload .tmp .download .filepart .aria2", "finish these downloads"),
    ("", "give image files their ending, such as .jpg"),
)  # fmt: skip
_SHOWN = 8  # endings
_LIKE_A_FILE = re.compile(r"\.[a-z]\w{0,4}$", re.IGNORECASE)


class Broken(NamedTuple):
    """An entry of a folder that may hold images and cannot be read."""

    path: str
    reason: str


@dataclass
class PassedOver:
    """What folders hold besides the image files that are taken, counted over all of them."""

    endings: Counter[str] = field(default_factory=Counter)
    """Files that are no images by their name, by ending in small letters ("": none)."""
    first: dict[str, str] = field(default_factory=dict)
    """The first of them of each ending, as the listing names its files."""
    tools: Counter[str] = field(default_factory=Counter)
    """Hidden and tool-made files and folders, by name; `._*` and `.*` stand for all of theirs."""
    written: list[str] = field(default_factory=list)
    """Folders that this program wrote: runs and checkpoints."""
    broken: list[Broken] = field(default_factory=list)
    """Entries that cannot be read."""

    def add(self, other: "PassedOver") -> None:
        """Counts what was passed over elsewhere, too."""
        self.endings += other.endings
        self.first = other.first | self.first
        self.tools += other.tools
        self.written += other.written
        self.broken += other.broken

    def notes(self) -> list[str]:
        """What to tell the user of files that were left out, a line for each kind."""
        lines = []
        if self.endings:
            total = sum(self.endings.values())
            lines.append(
                f"{count_of(total, 'file')} passed over, no {'images' if total > 1 else 'image'} by name: "
                f"{self.by_ending()}, such as {self.first[self.endings.most_common(1)[0][0]]}"
            )
            lines[-1] += f"; {advice}" if (advice := self.advice()) else ""
        if self.tools:
            kinds = ", ".join(f"{name}: {number}" for name, number in self.tools.most_common(_SHOWN))
            lines.append(f"{count_of(sum(self.tools.values()), 'entry', 'entries')} of tools passed over ({kinds})")
        if self.written:
            lines.append(f"passed over, written by semisonic: {', '.join(self.written[:_SHOWN])}")
        return lines

    def by_ending(self) -> str:
        """The counts by ending, the most frequent ones first."""
        shown = sorted(self.endings.items(), key=lambda item: (-item[1], not item[0], item[0]))[:_SHOWN]
        rest = sum(self.endings.values()) - sum(number for _, number in shown)
        parts = [f"{ending or 'without an ending'}: {number}" for ending, number in shown]
        return ", ".join([*parts, f"others: {rest}"] if rest else parts)

    def advice(self) -> str:
        """What to do about the endings that were found; "" where there is nothing to say."""
        return "; ".join(text for endings, text in _ADVICE if any(e in self.endings for e in (endings.split() or [""])))


def find_images(folder: Path, root: Path, passed: PassedOver) -> list[str]:
    """All image files below `folder`, sorted: relative to `root` or, outside it, absolute. What is left out is added to
    `passed`.

    No file is opened, and none but links is asked about beyond its folder's own entry. Some may be no regular files, or
    links to nothing: the scan says so. Never raises for what it finds.
    """
    paths: list[str] = []
    seen: set[tuple[int, int]] = set()
    waiting = [os.fspath(folder)]
    while waiting:
        where = waiting.pop()
        try:
            found = os.stat(where)
            if (found.st_dev, found.st_ino) in seen:  # a link that leads back up
                continue
            seen.add((found.st_dev, found.st_ino))
            entries = entries_of(where, _prefix(root, where))
        except OSError as error:
            passed.broken.append(Broken(where, unreadable(where, error)))
            continue
        begun = ".lock" in entries.hidden and not entries.images and not entries.folders  # a run, this very moment
        if begun or is_written(entries.others, entries.folders, entries.images):
            passed.written.append(entries.prefix or where)
            continue
        # Names without a prefix are taken as they are: a copy of a million takes 70 MB.
        paths += [f"{entries.prefix}{name}" for name in entries.images] if entries.prefix else entries.images
        waiting += [os.path.join(where, name) for name in sorted(entries.folders, reverse=True)]
        _count(passed, entries)
    paths.sort()
    return paths


def is_image(name: str) -> bool:
    """Whether a file is taken for an image."""
    return os.path.splitext(name)[1].lower() in EXTENSIONS


def is_passed_over(name: str) -> bool:
    """Whether a file or folder is hidden, or what a tool keeps beside images."""
    return name.startswith(".") or name.casefold() in TOOLS


def is_written(files: Iterable[str], folders: Iterable[str], images: Sequence[str]) -> bool:
    """Whether a folder with these names in it is what this program wrote: a run, finished or not, a checkpoint, an
    evaluation or a comparison."""
    names = {*files, *folders, *images[:4]}  # of which an evaluation has one
    return any(together <= names for together in _WRITTEN)


def unreadable(path: str, error: OSError) -> str:
    """Why something cannot be read; of a link, where it leads."""
    reason = error.strerror or type(error).__name__
    try:
        target = os.readlink(path)
    except OSError:  # no link, or not even that can be read
        return reason
    return f"a link to {target}: {reason}"


def relative(root: Path, path: str) -> str:
    """A path as the listing has it: relative to `root` or, outside it, absolute."""
    below = os.path.relpath(path, root)
    outside = below == os.pardir or below.startswith(os.pardir + os.sep)
    return os.path.abspath(path) if outside else below


def _prefix(root: Path, folder: str) -> str:
    """What the paths of a folder's files begin with."""
    below = relative(root, folder)
    return "" if below == os.curdir else below + os.sep


def count_of(number: int, one: str, several: str = "") -> str:
    """`1 file`, `2 files`."""
    return f"{number} {one if number == 1 else several or one + 's'}"


@dataclass
class Entries:
    """The names in one folder, by what they are."""

    prefix: str
    """Of their paths."""
    images: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    hidden: list[str] = field(default_factory=list)
    broken: list[Broken] = field(default_factory=list)


def entries_of(where: str, prefix: str = "") -> Entries:
    """The entries of a folder. Raises OSError where it cannot be listed."""
    found = Entries(prefix)
    with os.scandir(where) as entries:
        for entry in entries:
            name = entry.name
            if is_passed_over(name):
                found.hidden.append(name)
            elif is_folder(entry):
                found.folders.append(name)
            elif is_image(name):
                found.images.append(name)
            elif reason := missing_folder(entry):
                found.broken.append(Broken(entry.path, reason))
            else:
                found.others.append(name)
    return found


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a folder, or a link to one; False where that cannot be told."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def missing_folder(entry: os.DirEntry[str]) -> str:
    """Of a link that cannot be followed and may have led to a folder, why; else ""."""
    if not entry.is_symlink() or _LIKE_A_FILE.search(entry.name):
        return ""
    try:
        entry.stat()
    except OSError as error:
        return unreadable(entry.path, error)
    return ""


def _count(passed: PassedOver, entries: Entries) -> None:
    passed.broken += entries.broken
    for name in sorted(entries.others):
        ending = os.path.splitext(name)[1].lower()
        passed.endings[ending] += 1
        passed.first.setdefault(ending, f"{entries.prefix}{name}")
    for name in entries.hidden:
        if name != ".semisonic":
            passed.tools[name if name.casefold() in TOOLS else "._*" if name.startswith("._") else ".*"] += 1
