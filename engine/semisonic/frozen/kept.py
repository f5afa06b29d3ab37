"""Features that are kept for later runs, in `features/` of the user's cache: a file for each network and set of images.

Its name is a fingerprint of the images, the weights and the transform, so that nothing else is ever taken for them. Two
runs at once both make what neither finds, and the second to write adds to what the first has written. A file that is
damaged is told, and made anew. The folder may be emptied at any time.
"""

import hashlib
import zlib
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from semisonic.algorithms.base import Algorithm
from semisonic.checkpoint.atomic_files import replace
from semisonic.checkpoint.tensor_files import write_tensors
from semisonic.config.run_config import RunConfig
from semisonic.data.sets.base import DataSet, ImageFiles
from semisonic.data.sets.cache import cache_folder, locked
from semisonic.frozen.features import Rows
from semisonic.models.adapters import is_adapter, plain_name
from semisonic.models.networks import find
from semisonic.models.wrapped import GIVEN
from semisonic.records.tensors import load_tensors
from semisonic.schema import UserError

FORMAT = "1"
PARTS = {"train": ("labels", "train", "unlabeled"), "test": ("test_labels", "test")}
"""Of a data set's fingerprint: what says which images these are, and in which order."""
NOT_OF_THE_FEATURES = (
    "weights",
    "pretrained",
    "dropout",
    "drop_path",
    "freeze",
    "tune",
    "lora_rank",
    "lora_alpha",
    "lora_layers",
    "norm_momentum",
    "norm_start_up",
    "norm_sync",
    "norm_groups",
)
"""Fields of the network that change nothing in evaluation mode before the first step: the weights themselves are looked
at, and adapters add nothing yet."""
LIBRARIES = ("torch", "torchvision", "timm")
"""Whose code is a part of networks."""


def may_be_kept(cfg: RunConfig) -> bool:
    """Whether a fingerprint says which network it is: of one that was given in Python, nobody knows the code."""
    return cfg.model.name != GIVEN


def fingerprint(cfg: RunConfig, data: DataSet, algorithm: Algorithm, which: str) -> str:
    """Of the features of the "train" or "test" images: all that they are computed from, but for the hardware.

    The head and adapters, which are drawn anew for every seed, have no part in it.
    """
    found = hashlib.blake2b(digest_size=16)
    images = data.train if which == "train" else data.test
    about: dict[str, Any] = {
        "format": FORMAT,
        "libraries": [version(name) for name in LIBRARIES],
        "device": cfg.torch_device,
        "precision": cfg.arithmetic.name,
        "images": {part: data.fingerprint.get(part) for part in PARTS[which]},
        "transform": transform(data, isinstance(images, ImageFiles)),
        "network": cfg.model.model_dump(mode="json", exclude=set(NOT_OF_THE_FEATURES)),
    }
    network = find(cfg.model.name)
    if network is not None and network.plug_in:  # its code is the user's, and may change where its weights do not
        about["plug-ins"] = [plugin.model_dump(exclude={"path"}) for plugin in cfg.plugins]
    found.update(repr(sorted(about.items())).encode("utf-8", "surrogatepass"))
    plain = {plain_name(name): value for name, value in algorithm.network.state_dict().items() if not is_adapter(name)}
    for name, value in sorted(plain.items()):
        if not name.startswith("head."):
            found.update(f"{name} {value.dtype} {list(value.shape)}".encode())
            found.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


def transform(data: DataSet, files: bool) -> dict[str, Any]:
    """What is done to an image before the network sees it."""
    return {
        "view": "plain" if files else "whole", "size": data.size, "border": data.border,
        "mean": data.mean, "std": data.std, "interpolation": data.interpolation, "crop": data.crop,
    }  # fmt: skip


def file_of(key: str) -> Path:
    """Where features of this fingerprint are kept. Raises `UserError` where the user has no folder for it."""
    return cache_folder() / "features" / f"{key}.safetensors"


def read(path: Path, say: Callable[[str], None], width: int) -> Rows | None:
    """What is kept; None where nothing is, or where it is damaged, which is told. width: of the features."""
    if not path.exists():
        return None
    try:
        return _checked(path, width)
    except UserError as error:
        say(f"{error}: the kept features are damaged and made anew")
        return None


def _checked(path: Path, width: int) -> Rows:
    """The rows of a file. Raises `UserError` where it is none, or another than was written."""
    tensors = load_tensors(path)
    kinds = {"index": torch.int64, "values": torch.float16, "checksum": torch.int64}
    if {name: value.dtype for name, value in tensors.items()} != kinds:
        raise UserError(f"{path}: is no file of features")
    index, values = tensors["index"].numpy(), tensors["values"].numpy()
    if index.ndim != 1 or values.shape != (len(index), width) or (np.diff(index) <= 0).any():
        raise UserError(f"{path}: is no file of features")
    if tensors["checksum"].tolist() != [_checksum(index, values)]:
        raise UserError(f"{path}: its checksum differs")
    return Rows(index, values)


def _checksum(index: np.ndarray, values: np.ndarray) -> int:
    return zlib.crc32(np.ascontiguousarray(values).data, zlib.crc32(np.ascontiguousarray(index).data))


def keep(path: Path, made: Rows, say: Callable[[str], None]) -> None:
    """Adds features to what is kept. Where they cannot be, that is told, and a later run makes them again."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with locked(path):
            before = read(path, say, made.values.shape[1])
            rows = made if before is None else before.joined(made)
            staged = path.with_name(f".{path.name}.tmp")
            checksum = torch.tensor([_checksum(rows.index, rows.values)])
            tensors = {"index": torch.from_numpy(rows.index), "values": torch.from_numpy(rows.values)}
            try:
                write_tensors(staged, {**tensors, "checksum": checksum})
                replace(staged, path)
            finally:
                staged.unlink(missing_ok=True)
    except OSError as error:
        say(f"features cannot be kept in {path.parent}, and a later run makes them again: {error.strerror or error}")
