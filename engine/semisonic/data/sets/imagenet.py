"""ImageNet (ILSVRC 2012; Russakovsky et al. 2015, arXiv 1409.0575): 1.28 million photographs of 1,000 classes.

Read is the tree ROOT/train/CLASS/*.JPEG and ROOT/val/CLASS/*.JPEG, as the training archives unpack and as the 50,000
validation images, which are the test images here, are usually sorted. Classes are the WordNet numbers of the folders.
The lists of the papers' 1 % and 10 % of the labels, one file name a line, are given as `data.split`.
"""

from pathlib import Path

from semisonic.data.sets.base import DataConfig, DataSet
from semisonic.data.sets.image_folder import files_data_set, scan_listing
from semisonic.data.sets.layout import read_folder
from semisonic.data.sets.listing import Listing, list_classes
from semisonic.data.sets.published import absent, file_problems, root_of
from semisonic.schema import UserError

SIZE, CLASSES = 224, 1000
SOURCE = "the publisher's page (ImageNet, ILSVRC 2012)"
PARTS = ("train", "val")


def imagenet_problems(cfg: DataConfig) -> list[str]:
    """Mistakes that show without walking through the images, one line each."""
    root = root_of(cfg)
    problems = file_problems(cfg)
    if missing := [f"{part}/" for part in PARTS if not (root / part).is_dir()]:
        return [*problems, absent(cfg, missing, root, SOURCE)]
    return problems + [problem for part in PARTS for problem in _part_problems(root / part)]


def load_imagenet(cfg: DataConfig) -> DataSet:
    """Find the images and check every file, once. Raises UserError for what is missing or damaged."""
    if problems := imagenet_problems(cfg):
        raise UserError(problems)
    root = root_of(cfg)
    listing = Listing(root)
    train, val = (list(list_classes(listing, "data.root", root / part)) for part in PARTS)
    listing.train.extend(train)
    listing.test.extend(val)
    classes = tuple(sorted({name for _, name in train}))
    if not listing.problems and {name for _, name in val} != set(classes):
        listing.problems.append(f"data.root: {root} has other classes in train/ than in val/; get it from {SOURCE}")
    if listing.problems:
        raise UserError(listing.problems)
    notes = listing.passed.notes()
    files = scan_listing(cfg, listing, classes, notes, SOURCE)
    return files_data_set(cfg, cfg.size or SIZE, classes, *files, notes)


def _part_problems(folder: Path) -> list[str]:
    """One line where the folder does not hold ImageNet's classes."""
    found = read_folder(folder)
    if found.error:
        return [f"data.root: {found.error}"]
    if not found.folders and found.images:
        return [
            f"data.root: {folder} holds images, but no class folders; sort them into a folder a class, by the labels "
            f"of {SOURCE}"
        ]
    if len(found.folders) != CLASSES:
        return [
            f"data.root: {folder} holds {len(found.folders):,} class folders, ImageNet has {CLASSES:,}; a part of it "
            "is read with data.name=folder"
        ]
    return []
