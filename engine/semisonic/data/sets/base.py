"""What a data set is: its configuration, and the images it holds, resident or as files."""

import errno
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, model_validator

from semisonic.data.sets.checks import data_set_problems, three_floats
from semisonic.data.sets.fingerprint import Fingerprint, fingerprint_of
from semisonic.data.sets.limits import Limits, read_regular
from semisonic.data.sets.manifest import png_bytes
from semisonic.schema import Config, Effect, UsedWith, UserError, UserPath

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Per channel, on the 0..1 scale."""


OWN = ("folder", "given")
"""Names of data sets that are the user's own images."""
DRAWN = UsedWith("split", (None,))


Above0 = Annotated[float, Field(gt=0)]


class ExpectedConfig(Config):
    """How the weights that a run starts from expect images, where `data.normalize` lets them say so. Written by a run;
    nobody gives it."""

    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Per channel, on the 0..1 scale."""
    std: tuple[Above0, Above0, Above0] = (1.0, 1.0, 1.0)
    """Per channel, on the 0..1 scale."""
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"
    """Of image files."""
    crop: float | None = Field(None, gt=0, le=1)
    """Share of the shorter side that evaluations show."""
    source: str | None = None
    """Whose this is; None: no weights say it, and the rest means nothing."""


class DataConfig(Config):
    name: str = "digits"
    """digits, mnist, fashion-mnist, cifar10, cifar100, svhn, stl10, eurosat, a set of MedMNIST such as tissuemnist,
    semi-aves, imagenet, folder for your own images, or one that a plug-in registers."""
    root: Annotated[UserPath | None, Effect.FREE] = None
    """Folder of the data. Default: `~/.cache/semisonic/data/NAME` (under XDG_CACHE_HOME where that is set);
    `folder` has no default. With `csv`, what the CSV's paths are relative to (default: the folder of the
    CSV)."""
    download: Annotated[bool, Effect.FREE] = False
    """Fetch the data set into `root` where it is not there yet: MNIST, Fashion-MNIST, CIFAR, SVHN and STL-10."""
    labels: Annotated[int | None, DRAWN, UsedWith("labels_head", (None,))] = Field(40, ge=0, le=10**9)
    """Labeled images in all, drawn as `labels_from` says; null = all, the default for your own images. Not used
    with `split` or `labels_head`."""
    labels_from: Annotated[Literal["balanced", "random", "typical"], DRAWN] = "balanced"
    """How labeled and held-out images are drawn. balanced = as many of every class, as in the papers; whoever is about
    to label images cannot choose so. random = from all of them alike: of rare classes few, or none. typical = typical
    and diverse ones by their pixels, without a look at labels; held-out images at random."""
    held_out: int = Field(0, ge=0, le=10**9)
    """Further labeled images, drawn like `labels`, kept out of training to choose a checkpoint by."""
    split: Annotated[UserPath | None, Effect.CONTENT] = None
    """Your own split instead of a drawn one: an .npz with index arrays `labeled` and optionally `unlabeled`
    and `held_out`; or a .txt (one a line) or .csv (column `path` or `index`) naming the labeled images."""
    split_seed: Annotated[int | None, DRAWN] = Field(None, ge=-(2**63), lt=2**63)
    """Seed of the drawn split; default: the run's seed."""
    labels_head: int | None = Field(None, ge=1, le=10**9)
    """Labeled images of the first class, for a split by class counts in place of `labels`: the others have ever fewer,
    down to this number over `imbalance` of the last. Classes are in the data set's order. Not with `split`, nor with
    another `labels_from` than balanced; `held_out` images are as many of every class."""
    imbalance: float = Field(1.0, ge=1, le=10**6, allow_inf_nan=False)
    """With `labels_head`: how many times more labeled images the first class has than the last; between them the
    numbers fall by the same factor from class to class. 1 = as many of every class."""
    unlabeled_head: int | None = Field(None, ge=1, le=10**9)
    """With `labels_head`: unlabeled images of the largest class of the pool, where the others have ever fewer likewise;
    null = all images that are left. The labeled ones are beside them (`unlabeled_includes_labeled`)."""
    imbalance_unlabeled: float | None = Field(None, ge=1, le=10**6, allow_inf_nan=False)
    """With `unlabeled_head`: how many times more unlabeled images the largest class of the pool has than the smallest;
    default: `imbalance`."""
    imbalance_order: Literal["same", "reversed"] = "same"
    """With `unlabeled_head`: whether the pool's largest class is the first, as of the labeled images, or the last."""
    unlabeled_includes_labeled: bool = True
    """Whether the labeled images are also in the unlabeled pool, as in FixMatch and its family."""
    size: int | None = Field(None, ge=1, le=4096)
    """Side of the training images in pixels: required for `folder`. EuroSAT, MedMNIST, Semi-Aves and ImageNet have a
    default and are brought to another; the other data sets have their own."""
    flip: bool | None = None
    """Horizontal flips in the weak augmentation; default: the data set's (none for digits, MNIST, SVHN)."""
    pad: int | None = Field(None, ge=0, le=4096)
    """Reflected margin of the weak random crop in pixels; default: an eighth of the size. Not for files (`folder`,
    Semi-Aves, ImageNet), where the crop is a part of the picture."""
    crop_area: float = Field(0.2, gt=0, le=1)
    """For image files: the least share of an image's area that a weak crop shows; the most is all of it. 0.2, as in the
    papers on ImageNet, is for photographs. Small images that are filled by what they show need more, such as 0.7."""
    normalize: Literal["auto", "own", "imagenet", "weights"] = "auto"
    """How the network is shown images. weights = as the weights expect that the run starts from (model.weights,
    model.pretrained, init): mean and deviation that pixels are normalized with, interpolation, and the part that
    evaluations show. own = by the data set's own mean and deviation (for `folder` ImageNet's). imagenet = by
    ImageNet's. auto = weights, where there are some that say what they expect, else own."""
    crop_ratio: float | None = Field(None, gt=0, le=1)
    """For image files: share of the shorter side that evaluations and predictions show, around the center. None = what
    the weights expect that the run starts from (`normalize`), else 0.875."""
    interpolation: Literal["auto", "bilinear", "bicubic"] = "auto"
    """For image files: how they are resized, in training too. auto = as the weights expect that the run starts from
    (`normalize`), else bilinear."""
    svhn_extra: bool = True
    """Add SVHN's 531,131 extra images to its training images."""
    csv: Annotated[UserPath | None, Effect.CONTENT] = None
    """For `folder`: a CSV with columns path, label (empty: unlabeled) and maybe split (train or test)."""
    weight_column: Annotated[str, Field(min_length=1)] | None = None
    """With `csv`: its column that says how much each labeled training image counts in the loss on labels, a number of 0
    or more; an empty field is 1. Multiplies `loss.class_weights`."""
    test_root: Annotated[UserPath | None, Effect.FREE] = None
    """For `folder`: test images, one folder a class, where they are not in `root`/test or `root`/val."""
    test: Literal["auto", "none"] = "auto"
    """auto = the data set's test images; for `folder` and images in Python those that are given, or else a share that
    is held back (`test_fraction`). none = no test images: nothing is held back, and no test accuracy is reported."""
    test_fraction: Annotated[
        float, UsedWith("name", OWN), UsedWith("test", ("auto",)), UsedWith("test_root", (None,))
    ] = Field(0.2, gt=0, lt=1)
    """For `folder` without any test images: this share of every class's labeled images is the test set,
    chosen by the files' names, so that it is the same for every seed."""
    duplicates: Literal["refuse", "warn", "drop"] | None = None
    """Images of equal content that have several classes, or are test and training images at once: refuse = an error,
    warn = a line, drop = leave out all copies of the former, the training copies of test images and, of other copies
    among the training images, all but the first (labeled before unlabeled). Default: refuse for `folder`, else warn."""
    bad_files: Literal["error", "skip"] = "error"
    """For `folder`: whether images that cannot be decoded are an error, or left out and counted."""
    doubts: Annotated[Literal["refuse", "warn"], Effect.FREE] = "refuse"
    """For `folder`: whether what is probably not meant so is an error, or read as it is and told: labels such as
    nan, one class in two spellings, folders that look like splits where classes are read. `classes` settles it, too."""
    max_file_mb: Annotated[float, Effect.FREE] = Field(512.0, gt=0, le=10**6)
    """For `folder`: the largest image file or CSV that is read, in megabytes (10^6 bytes); larger ones count as files
    that cannot be decoded."""
    max_pixels: Annotated[int, Effect.FREE] = Field(178_956_970, ge=1, le=2**31)
    """For `folder`: the most pixels that an image is decoded with. Larger ones, such as panoramas, need their size
    here: a small file can hold more pixels than memory has room for."""
    workers: Annotated[int | None, Effect.FREE] = Field(None, ge=1, le=4096)
    """For `folder`: processes that check new images; default: one per CPU."""
    operations: Annotated[Literal["auto", "dali", "kernel"], Effect.FREE] = "auto"
    """Where RandAugment's operations and Cutout run: as DALI operators, or in one fused kernel after DALI's crop and
    flip; same draws, same pixels. auto = kernel. For AugMix, SimCLR and CTAugment, dali means plain torch in place of
    the kernel."""
    equalize: Literal["dali", "pil"] = "dali"
    """Formula of the equalize operation: DALI's, or PIL's integer steps (on a GPU only with operations=kernel)."""
    fingerprint: str | None = None
    """Of images that were given in Python, whose name is `given`: by this a run knows its own. Written by
    `semisonic.train(data=...)`."""
    classes: Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(max_length=10**6)] = ()
    """The classes in the order of their numbers; empty = as found, which a run settles when it begins. For `folder`,
    each needs a labeled image (`absent_classes`), and images of another class are an error; other data sets have their
    own."""
    absent_classes: Annotated[Literal["refuse", "warn"], Effect.FREE] = "refuse"
    """For `folder`: whether a class of `classes` without any labeled image is an error, or told and kept as one that
    the network cannot learn yet. Its number stays its own, and no draw waits for it."""
    expected: ExpectedConfig = ExpectedConfig()
    """What the weights expect that the run started from."""
    steps_per_call: Annotated[int, Effect.FREE] = Field(0, ge=0, le=1024)
    """Steps whose images one DALI call makes; 0 = as many as fit 2^22 pixels on a GPU (at most 8), 1 on the CPU."""

    @model_validator(mode="before")
    @classmethod
    def _all_own_labels(cls, fields: Any) -> Any:
        """Whoever labels images means all of them; the published sets' protocols give a number."""
        own = isinstance(fields, dict) and fields.get("name") in OWN and "labels" not in fields
        return {**fields, "labels": None} if own else fields

    @property
    def labels_name(self) -> str:
        """How many labels, as names of runs have it: `40`, `all`, or of the first and last class `1500to15`."""
        if self.labels_head is not None:
            return f"{self.labels_head}to{int(self.labels_head / self.imbalance)}"
        return "all" if self.labels is None else str(self.labels)

    @property
    def limits(self) -> Limits:
        """Of a file."""
        return Limits(self.max_file_mb, self.max_pixels)


@dataclass(frozen=True, eq=False)
class Images:
    """Images that stay in memory."""

    pixels: np.ndarray
    """uint8 [N, H, W, 3], RGB."""
    labels: np.ndarray
    """int64 [N]; -1 = unknown."""
    weights: np.ndarray | None = None
    """float64 [N]: how much each labeled image counts in the loss on labels; None: all by 1."""

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, eq=False)
class ImageFiles:
    """Encoded image files, each of which was decoded once and found sound."""

    root: Path
    paths: list[str]
    """N paths relative to `root`; those outside it are absolute."""
    labels: np.ndarray
    """int64 [N]; -1 = unknown."""
    shapes: np.ndarray
    """int32 [N, 2]: height and width in pixels after EXIF orientation, as DALI's decoders see them."""
    via_pillow: np.ndarray
    """bool [N]: files that DALI cannot decode; `read` re-encodes them as PNG."""
    sizes: np.ndarray | None = None
    """int64 [N]: bytes of each file when it was scanned, or None where it may have changed since."""
    digests: np.ndarray | None = None
    """uint8 [N, 16]: BLAKE2b-128 of each file's bytes; without it a run knows its images by name and size alone."""
    weights: np.ndarray | None = None
    """float64 [N]: how much each labeled image counts in the loss on labels; None: all by 1."""

    def __len__(self) -> int:
        return len(self.labels)

    def read(self, index: int) -> np.ndarray:
        """The encoded bytes of one image, uint8 [bytes]; DALI decodes them to RGB of its `shapes`.

        Raises OSError where the file has gone or changed its size since the scan: decoders make gray of what is
        missing at the end of a JPEG.
        """
        path = self.root / self.paths[index]
        data = read_regular(path)
        if self.sizes is not None and len(data) != self.sizes[index]:
            raise OSError(errno.ESTALE, f"{len(data)} bytes, {self.sizes[index]} when it was scanned", str(path))
        return np.frombuffer(png_bytes(data) if self.via_pillow[index] else data, np.uint8)


@dataclass(frozen=True, eq=False)
class DataSet:
    """What a reader returns. Raises `UserError` with every mistake in its fields, one line each."""

    name: str
    classes: tuple[str, ...]
    size: int
    """Side of the images the network sees, in pixels."""
    mean: tuple[float, float, float]
    """Per channel, of the training images scaled to 0..1."""
    std: tuple[float, float, float]
    flip: bool
    """Whether the weak augmentation flips horizontally."""
    pad: int
    """Reflected margin of the weak random crop, in pixels."""
    train: Images | ImageFiles
    """All training images: candidates for labeling (label >= 0) and images without a label (-1)."""
    test: Images | ImageFiles | None
    """None: there are no test images, and no accuracy is reported."""
    crop_area: float = 0.2
    """Least share of its area that a weak crop of an image file shows."""
    border: int = 0
    """Black border around the image itself, in pixels (MNIST's 28x28 shown at 32x32: 2)."""
    notes: tuple[str, ...] = ()
    """What to tell the user when the run starts, one line each, such as files left out."""
    held_back: bool = False
    """Whether the test images were taken from the labeled ones, for want of others."""
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"
    """How image files are resized."""
    crop: float | None = None
    """Share of an image file's shorter side that evaluations show; None: 0.875 in whole pixels."""
    shown_for: str | None = None
    """The weights that these, mean and deviation are for; None: they are the data set's own."""

    @property
    def test_count(self) -> int:
        """Number of test images."""
        return 0 if self.test is None else len(self.test)

    def __post_init__(self) -> None:
        if problems := data_set_problems(self):
            raise UserError(problems)
        for field in ("mean", "std"):  # numbers of numpy's would set the precision of what is normalized by them
            object.__setattr__(self, field, three_floats(getattr(self, field)))

    @cached_property
    def fingerprint(self) -> Fingerprint:
        """By what a run knows these data again."""
        return fingerprint_of(self)
