"""Folders of images and CSV files that a training program may misread; `benchmarks/cases.py` runs commands on them.

`MAKERS[name](folder)` writes one case into a new folder: synthetic images of three classes, told apart by their color.
"""

import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = ("cat", "dog", "fox")
COLORS = ((220, 40, 40), (40, 220, 40), (40, 40, 220))


def picture(label: int, seed: int, height: int = 40, width: int = 48) -> Image.Image:
    """A rectangle of the class's color in the middle of dark noise."""
    pixels = np.random.default_rng((label, seed)).integers(0, 80, (height, width, 3), np.uint8)
    pixels[height // 4 : -(height // 4), width // 4 : -(width // 4)] = COLORS[label % len(COLORS)]
    return Image.fromarray(pixels)


def class_folders(folder: Path, names: Iterable[str] = CLASSES, images: range = range(6)) -> None:
    for label, name in enumerate(names):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in images:
            picture(label, number).save(folder / name / f"{number}.png")


def parts(root: Path, names: Iterable[str] = CLASSES) -> None:
    """18 labeled images, 6 test images and 10 unlabeled ones, in the spelling that each version reads."""
    class_folders(root / "labelled", names)
    class_folders(root / "test", names, range(100, 102))
    (root / "unlabelled").mkdir()
    for number in range(10):
        picture(number, 1000 + number).save(root / "unlabelled" / f"{number}.png")


def split_names(root: Path) -> None:
    class_folders(root / "training")
    class_folders(root / "validation", images=range(100, 102))


def split_case(root: Path) -> None:
    class_folders(root / "Train")
    class_folders(root / "Test", images=range(100, 102))


def split_valid(root: Path) -> None:
    class_folders(root / "train")
    class_folders(root / "valid", images=range(100, 102))


def same_folders(root: Path) -> None:
    """Deliveries, each with all classes: no split's names, yet no classes either."""
    class_folders(root / "monday")
    class_folders(root / "tuesday", images=range(100, 106))


def dollar(root: Path) -> None:
    parts(root, ("$5_$10", "under $5", "x"))


def dangling_class(root: Path) -> None:
    parts(root)
    (root / "labelled" / "owl").symlink_to("/not/mounted/owl")


def dangling_unlabeled(root: Path) -> None:
    parts(root)
    shutil.rmtree(root / "unlabelled")
    (root / "unlabelled").symlink_to("/not/mounted/pool")


def dangling_test(root: Path) -> None:
    parts(root)
    shutil.rmtree(root / "test")
    (root / "test").symlink_to("/not/mounted/test")


def two_labels(root: Path) -> None:
    """One file is of two classes by a link, and another one by a copy."""
    parts(root)
    labeled = root / "labelled"
    (labeled / "cat" / "link.png").symlink_to("../dog/1.png")
    shutil.copy(labeled / "fox" / "0.png", labeled / "cat" / "copy.png")


def leak(root: Path) -> None:
    """The test images are the training images."""
    parts(root)
    shutil.rmtree(root / "test")
    (root / "test").symlink_to("labelled")


def many_labels(root: Path) -> None:
    """120 labeled images, more than the usual default of 40."""
    class_folders(root / "train", ("cat", "dog"), range(60))
    class_folders(root / "test", ("cat", "dog"), range(100, 102))


def run_inside(root: Path) -> None:
    """Classes at the top, where a run's folder would lie beside them."""
    class_folders(root)
    class_folders(root / "test", images=range(100, 102))


def pipe(root: Path) -> None:
    parts(root)
    os.mkfifo(root / "labelled" / "cat" / "pipe.png")


def endless(root: Path) -> None:
    parts(root)
    (root / "labelled" / "cat" / "endless.png").symlink_to("/dev/zero")


def sparse(root: Path) -> None:
    parts(root)
    with open(root / "labelled" / "cat" / "sparse.png", "wb") as file:
        file.truncate(40 * 10**9)


def pipe_csv(root: Path) -> None:
    good_csv(root)
    os.mkfifo(root / "pipe.csv")


def no_image_names(root: Path) -> None:
    parts(root)
    for file in (root / "labelled" / "cat").iterdir():
        file.rename(file.with_suffix(".heic"))


def thumbnails(root: Path) -> None:
    """As the indexers of storage boxes leave them beside images."""
    parts(root)
    folder = root / "labelled" / "cat" / "@eaDir" / "0.png"
    folder.mkdir(parents=True)
    picture(0, 1).save(folder / "SYNOPHOTO_THUMB_M.jpg")


def panorama(root: Path) -> None:
    parts(root)
    Image.new("L", (20_000, 10_000), 90).save(root / "labelled" / "cat" / "wide.png", compress_level=1)


def one_image_class(root: Path) -> None:
    parts(root)
    for file in sorted((root / "labelled" / "fox").iterdir())[1:]:
        file.unlink()


def lfs_pointer(root: Path) -> None:
    """As a repository is cloned where Git LFS is not installed."""
    parts(root)
    text = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22e\nsize 12345\n"
    (root / "labelled" / "cat" / "0.png").write_text(text)


def saved_page(root: Path) -> None:
    """As a downloader keeps what a server says of a file that is gone."""
    parts(root)
    (root / "labelled" / "cat" / "0.png").write_text("<!DOCTYPE html>\n<html><title>404 Not Found</title></html>\n")


def not_utf8(root: Path) -> None:
    """Names in an older encoding, as archives of other systems hold them."""
    picture(0, 0).save(root / "a.png")
    (root / "a.png").rename(root / os.fsdecode(b"caf\xe9.png"))
    picture(0, 1).save(root / "b.png")


def predict_hidden(root: Path) -> None:
    hidden = root / ".ipynb_checkpoints"
    hidden.mkdir()
    picture(0, 0).save(root / "a.png")
    picture(0, 9).save(hidden / "a-checkpoint.png")
    (root / "._a.png").write_bytes(b"\0\5\x16\7")  # what macOS writes on other file systems


def predict_links(root: Path) -> None:
    (root / "far").mkdir()
    picture(0, 0).save(root / "far" / "a.png")
    (root / "images").mkdir()
    (root / "images" / "more").symlink_to(root / "far")


def predict_dangling(root: Path) -> None:
    class_folders(root, images=range(2))
    (root / "gone.png").symlink_to("/not/mounted/gone.png")


def predict_pipe(root: Path) -> None:
    picture(0, 0).save(root / "a.png")
    os.mkfifo(root / "pipe.png")


def _labeled_rows(root: Path) -> Iterator[tuple[str, str]]:
    (root / "im").mkdir(parents=True, exist_ok=True)
    for label, name in enumerate(CLASSES):
        for number in range(8):
            picture(label, number).save(root / "im" / f"{name}{number}.png")
            yield f"im/{name}{number}.png", name


def _unlabeled_paths(root: Path) -> Iterator[str]:
    for number in range(6):
        picture(number, 50 + number).save(root / "im" / f"u{number}.png")
        yield f"im/u{number}.png"


def _write(file: Path, rows: Iterable[tuple[str, ...]], header: str = "path,label") -> None:
    file.write_text("\n".join([header, *map(",".join, rows)]) + "\n")


def good_csv(root: Path, unlabeled: str = "") -> None:
    """24 labeled images and 6 whose label is the text `unlabeled`."""
    rows = list(_labeled_rows(root))
    _write(root / "images.csv", [*rows, *((path, unlabeled) for path in _unlabeled_paths(root))])


def extra_field_csv(root: Path) -> None:
    """Two labels, which nothing quotes."""
    _write(root / "images.csv", [(*row, "dog") for row in _labeled_rows(root)])


def int_float_csv(root: Path) -> None:
    """Class numbers of which a table program has written every other one as a float."""
    rows = enumerate(_labeled_rows(root))
    _write(
        root / "images.csv",
        [(path, f"{CLASSES.index(name)}{'.0' if number % 2 else ''}") for number, (path, name) in rows],
    )


def new_in_test_csv(root: Path) -> None:
    """All images of one class are test images."""
    rows = [(path, name, "test" if name == "fox" else "train") for path, name in _labeled_rows(root)]
    _write(root / "images.csv", rows, "path,label,split")


MAKERS: dict[str, Callable[[Path], None]] = {
    "split-names": split_names, "split-case": split_case, "split-valid": split_valid, "same-folders": same_folders,
    "plain": parts, "dollar": dollar,
    "dangling-class": dangling_class, "dangling-unlabeled": dangling_unlabeled, "dangling-test": dangling_test,
    "two-labels": two_labels, "leak": leak, "many-labels": many_labels, "run-inside": run_inside,
    "pipe": pipe, "endless": endless, "sparse": sparse, "pipe-csv": pipe_csv,
    "no-image-names": no_image_names, "thumbnails": thumbnails, "panorama": panorama,
    "one-image-class": one_image_class,
    "lfs-pointer": lfs_pointer, "saved-page": saved_page, "not-utf8": not_utf8,
    "predict-hidden": predict_hidden, "predict-links": predict_links, "predict-dangling": predict_dangling,
    "predict-pipe": predict_pipe,
    "good-csv": good_csv, "none-csv": lambda root: good_csv(root, "None"),
    "nan-csv": lambda root: good_csv(root, "nan"), "na-csv": lambda root: good_csv(root, "NA"),
    "extra-field-csv": extra_field_csv, "int-float-csv": int_float_csv, "new-in-test-csv": new_in_test_csv,
    "nothing": lambda root: None,
}  # fmt: skip
