"""MedMNIST v2 (Yang et al. 2023, arXiv 2110.14795): small medical pictures, one `.npz` a set with three parts.

Read are the two-dimensional sets with one label an image, by their own names. `data.root` is the folder of NAME.npz
(28 pixels), NAME_64.npz, NAME_128.npz and NAME_224.npz, or one of these files. Of a folder that file is read whose
images are nearest to `data.size` (28 where that is left out), and they are brought to it. Gray becomes RGB. Training
and test images are those of the set; its validation images stay unused. Nothing is unpickled.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from semisonic.data.sets.base import DataConfig, DataSet, Images
from semisonic.data.sets.published import absent, damaged, resident, resized, root_of, too_large
from semisonic.records.arrays import Archive, open_arrays
from semisonic.schema import UserError
from semisonic.stopping import until_stopped

SIZE = 28
SIDES = (28, 64, 128, 224)
"""Pixels of the published variants."""
SOURCE = "the publisher's page (MedMNIST v2)"
_PARTS = ("train", "test")


@dataclass(frozen=True)
class Med:
    """One of the sets."""

    title: str
    classes: tuple[str, ...]
    images: tuple[int, int]
    """Training and test images, as published."""


_ORGANS = (
    "bladder", "femur-left", "femur-right", "heart", "kidney-left", "kidney-right", "liver", "lung-left", "lung-right",
    "pancreas", "spleen",
)  # fmt: skip

MED = {
    "pathmnist": Med(
        "tissue of the colon",
        ("adipose", "background", "debris", "lymphocytes", "mucus", "smooth muscle", "normal colon mucosa",
         "cancer-associated stroma", "colorectal adenocarcinoma epithelium"),
        (89_996, 7180),
    ),
    "dermamnist": Med(
        "lesions of the skin",
        ("actinic keratoses and intraepithelial carcinoma", "basal cell carcinoma", "benign keratosis-like lesions",
         "dermatofibroma", "melanoma", "melanocytic nevi", "vascular lesions"),
        (7007, 2005),
    ),
    "octmnist": Med(
        "optical coherence tomography of the retina",
        ("choroidal neovascularization", "diabetic macular edema", "drusen", "normal"), (97_477, 1000),
    ),
    "pneumoniamnist": Med("X-rays of children's chests", ("normal", "pneumonia"), (4708, 624)),
    "retinamnist": Med("grades of diabetic retinopathy", tuple("01234"), (1080, 400)),
    "breastmnist": Med("ultrasound of the breast", ("malignant", "normal, benign"), (546, 156)),
    "bloodmnist": Med(
        "blood cells",
        ("basophil", "eosinophil", "erythroblast", "immature granulocytes", "lymphocyte", "monocyte", "neutrophil",
         "platelet"),
        (11_959, 3421),
    ),
    "tissuemnist": Med(
        "cells of the kidney's cortex",
        ("Collecting Duct, Connecting Tubule", "Distal Convoluted Tubule", "Glomerular endothelial cells",
         "Interstitial endothelial cells", "Leukocytes", "Podocytes", "Proximal Tubule Segments",
         "Thick Ascending Limb"),
        (165_466, 47_280),
    ),
    "organamnist": Med("organs in axial tomograms", _ORGANS, (34_561, 17_778)),
    "organcmnist": Med("organs in coronal tomograms", _ORGANS, (12_975, 8216)),
    "organsmnist": Med("organs in sagittal tomograms", _ORGANS, (13_932, 8827)),
}  # fmt: skip
_VOLUMES = ("organ", "nodule", "adrenal", "fracture", "vessel", "synapse")
NOT_TAKEN = {"chestmnist": "its images have 14 labels each, and a classifier learns one"} | {
    f"{name}mnist3d": "its images are volumes, and networks here see flat ones" for name in _VOLUMES
}
"""Sets of the collection that are none for a classifier of images, and why."""


def medmnist_problems(cfg: DataConfig) -> list[str]:
    """One line where there is no file of the set; else []."""
    root = root_of(cfg)
    if root.suffix == ".npz":
        return [] if root.is_file() else [absent(cfg, [root.name], root.parent, SOURCE)]
    return [] if _file(cfg) is not None else [absent(cfg, [f"{cfg.name}.npz"], root, SOURCE)]


def load_medmnist(cfg: DataConfig) -> DataSet:
    """The set in memory, at `data.size` (28). Raises UserError for a file that is missing or damaged."""
    if problems := medmnist_problems(cfg):
        raise UserError(problems)
    file, size, known = _file(cfg), cfg.size or SIZE, MED[cfg.name]
    assert file is not None
    try:
        with open_arrays(file) as stored:
            train, test = (_part(stored, part, len(known.classes), size) for part in _PARTS)
            side = stored.header("train_images").shape[1]
            unused = stored.header("val_labels").shape[:1] if "val_labels" in stored.names else ()
    except MemoryError as error:
        raise UserError(too_large(cfg, size)) from error
    except (OSError, ValueError) as error:
        raise damaged(cfg, file, error, SOURCE) from error
    notes = [f"{cfg.name}: read from {file.name}" + ("" if side == size else f", {side} pixels brought to {size}")]
    if unused:
        notes.append(f"{cfg.name}: its {unused[0]:,} validation images are not used")
    return resident(cfg, known.classes, size, (train, test), notes)


def _file(cfg: DataConfig) -> Path | None:
    """The file that is read; of a folder, that of the images nearest to the size that is asked for."""
    root, size = root_of(cfg), cfg.size or SIZE
    if root.suffix == ".npz":
        return root if root.is_file() else None
    names = {side: f"{cfg.name}.npz" if side == SIZE else f"{cfg.name}_{side}.npz" for side in SIDES}
    there = [side for side in SIDES if (root / names[side]).is_file()]
    return root / names[min(there, key=lambda side: abs(side - size))] if there else None


def _part(stored: Archive, part: str, classes: int, size: int) -> Images:
    """The images of a part, RGB and of the size. Raises ValueError for arrays that are not what they are called."""
    for name in (f"{part}_images", f"{part}_labels"):
        if name not in stored.names:
            raise ValueError(f"has no array {name}")
    images, labels = stored.header(f"{part}_images"), stored.header(f"{part}_labels")
    count = images.shape[0] if images.shape else 0
    if images.dtype != np.uint8 or len(images.shape) not in (3, 4) or images.shape[3:] not in ((), (1,), (3,)):
        raise ValueError(f"its array {part}_images is {images.text()}; uint8 [N, side, side] or [N, side, side, 3] is")
    if not count or images.shape[1] != images.shape[2] or not images.shape[1]:
        raise ValueError(f"its array {part}_images is {images.text()}; square images are needed")
    if len(labels.shape) == 2 and labels.shape[1] > 1:
        raise ValueError(f"has {labels.shape[1]} labels an image ({part}_labels); one is needed")
    if labels.dtype.kind not in "iu" or labels.shape not in ((count,), (count, 1)):
        raise ValueError(f"its array {part}_labels is {labels.text()}; a number for each of {count:,} images is needed")
    targets = stored.read(f"{part}_labels").reshape(-1).astype(np.int64)
    if targets.min() < 0 or targets.max() >= classes:
        raise ValueError(f"its array {part}_labels holds {_outside(targets, classes)}; labels are 0 to {classes - 1}")
    return Images(_rgb(stored.read(f"{part}_images"), size), targets)


def _outside(targets: np.ndarray, classes: int) -> int:
    return int(targets[(targets < 0) | (targets >= classes)][0])


def _rgb(images: np.ndarray, size: int) -> np.ndarray:
    """uint8 [N, H, H], [N, H, H, 1] or [N, H, H, 3] -> [N, size, size, 3]."""
    if images.shape[3:] == (1,):
        images = images[..., 0]
    pixels = np.empty((len(images), size, size, 3), np.uint8)
    if images.shape[1] == size:
        pixels[...] = images if images.ndim == 4 else images[..., None]
        return pixels
    for i, image in enumerate(until_stopped(iter(images))):
        small = resized(image, size)
        pixels[i] = small if small.ndim == 3 else small[..., None]
    return pixels
