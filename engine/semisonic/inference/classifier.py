"""A trained network out of a checkpoint, without its data set."""

import copy
import hashlib
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from semisonic.checkpoint import format as checkpoints
from semisonic.config.migrations import migrated_section, read_text, schema_of
from semisonic.data.sets.torchvision_sets import KNOWN
from semisonic.inference.inputs import Inputs
from semisonic.inference.labeled import labeled_slices
from semisonic.models.networks import ModelConfig, build, find
from semisonic.models.outline import misfits, named, outline
from semisonic.models.tuning import without_adapters
from semisonic.models.wrapped import GIVEN, network_fingerprint
from semisonic.plugins import load_plugins, loaded_plugins, require_plugins
from semisonic.records.schemas import mistakes
from semisonic.schema import UserError, given_path
from semisonic.text import printable
from semisonic.training.metrics import Evaluation, evaluate, evaluation_mode
from semisonic.training.torch_state import plain_tensors, plain_torch

if TYPE_CHECKING:
    from semisonic.inference.predict import Prediction

Network = nn.Module | Callable[[int], nn.Module]
"""A network, or what makes it from the number of classes."""


class Classifier(nn.Module):
    """A trained network with what it needs to be used: `classes`, `image_size`, `preprocess`, and the normalization.

    What images may be is said in `inputs.py`: uint8 means 0..255, floats 0..1, and what could be something else is
    refused with a `UserError` that says what to give. All methods take the same.

    forward: images -> logits float32 [N, C]. uint8 tensors [N, 3, S, S] go to the network without a look at their
    values, so that this can be exported and compiled. The values of floats are looked at, for which the host waits; by
    those of a tensor it can be differentiated.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, about: dict[str, Any]):
        """`about`: a checkpoint's state.json."""
        super().__init__()
        self.network = network
        self.classes: list[str] = about["classes"]
        self.image_size: int = about["image_size"]
        self.preprocess: dict[str, Any] = about["preprocess"]
        self.weak = {name: self.preprocess[name] for name in ("flip", "pad") if name in self.preprocess}
        """How the run drew weak views; empty where that is not known."""
        self.transform = Inputs(
            self.image_size,
            self.preprocess["view"],
            self.preprocess["border"],
            self.preprocess.get("interpolation", "bilinear"),  # earlier versions knew no other, and no crop
            self.preprocess.get("crop"),
        )
        """One image -> uint8 [3, S, S]: for a torchvision data set, `ImageFolder(..., transform=classifier.transform)`.
        A DataLoader stacks what it makes, and the classifier takes that as it is."""
        self.register_buffer("mean", 255 * torch.tensor(about["mean"]).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", 255 * torch.tensor(about["std"]).view(1, 3, 1, 1), persistent=False)

    @property
    def device(self) -> torch.device:
        return self.mean.device

    def forward(self, images: Any) -> Tensor:
        return self._logits(images if self.transform.fits(images) else self.transform.convert(images))

    def _logits(self, images: Tensor) -> Tensor:
        """Of what `Inputs` made: [N, 3, S, S] on the scale 0..255."""
        return self.network(self._normalized(images)).float()

    def _normalized(self, images: Tensor) -> Tensor:
        if images.device != self.device:
            images = images.to(self.device)
        return (images.float() - self.mean) / self.std

    def features(self, images: Tensor) -> Tensor:
        """Of uint8 [N, 3, S, S], or of floats on the scale 0..255: what enters the network's head, float32 [N, D]."""
        return self.network.features(self._normalized(images)).float()  # type: ignore[operator]

    def head_of(self, features: Tensor) -> Tensor:
        """Features [N, D] -> logits float32 [N, C]: of an image's features, what `forward` gives."""
        return self.network.head(features).float()  # type: ignore[operator]

    @property
    def feature_dim(self) -> int:
        """D."""
        return int(self.network.feature_dim)  # type: ignore[arg-type]

    def predict(self, images: Any, batch: int = 64) -> np.ndarray:
        """The classes as numbers into `classes`: int64 [N]."""
        return self.predict_proba(images, batch).argmax(-1)

    @plain_tensors()
    def predict_proba(self, images: Any, batch: int = 64) -> np.ndarray:
        """The probability of each class: float32 [N, C]. `batch`: images a forward."""
        _check_batch(batch)
        with evaluation_mode(self), torch.no_grad():
            found = [self._logits(part).softmax(-1).cpu() for part in self.transform.batches(images, batch)]
        return torch.cat(found).numpy()

    def predict_files(
        self,
        images: str | Path | Sequence[str | Path],
        batch: int = 64,
        *,
        top: int = 5,
        views: int = 0,
        features: bool = False,
        workers: int | None = None,
    ) -> "Iterator[Prediction]":
        """Predictions of any number of files, one by one and in order, while memory holds a part of them.

        images: a folder (searched to any depth), a file, a CSV with a column `path`, an .npy file of images, or a list
        of paths. A file that cannot be used has the label None, and `reason` says why. top: classes that are named.
        views: the mean over so many weak views of each image; 0: the image itself. features: what enters the last
        layer, too. workers: processes that read and check files; None: one for each CPU, where the files are many.
        """
        from semisonic.inference.outputs import Wanted
        from semisonic.inference.predict import predict

        _check_batch(batch)
        return predict(self, images, batch, Wanted(top, views, features=features), workers)

    @plain_tensors()
    def evaluate(self, data: Any, batch: int = 64) -> Evaluation:
        """Accuracy, loss, precision, recall, F1 and confusion on labeled images.

        data: a folder with one folder a class, matched by name; a data set of torch with (image, label) entries, or a
        DataLoader of such batches; or a pair (images, labels). Labels are numbers into `classes`, or names; the numbers
        of a data set that has `classes` itself are matched by these names. Files that cannot be decoded are left
        out with a warning, and so are classes without images.
        """
        _check_batch(batch)
        slices: Iterator[tuple[Tensor, Tensor, Tensor]]
        if isinstance(data, str | Path):
            from semisonic.inference.files import file_slices, labeled_folder  # DALI decodes a folder

            folder = labeled_folder(given_path("data", data), self.classes)
            for note in folder.notes:
                warnings.warn(note, stacklevel=2)
            slices = file_slices(self.transform, folder.files, batch, self.device)
        else:
            slices = labeled_slices(data, self.classes, self.transform, batch, self.device)
        with closing(slices), evaluation_mode(self):  # type: ignore[type-var]  # both are generators
            return evaluate(self._logits, slices, len(self.classes), everywhere=False)


def _check_batch(batch: int) -> None:
    if not isinstance(batch, int) or isinstance(batch, bool) or batch < 1:
        raise UserError(f"batch: {batch!r}; give a whole number above 0")


def load_classifier(
    path: str | Path,
    net: Literal["ema", "raw"] = "ema",
    *,
    plugin: str | Path | Sequence[str | Path] | None = None,
    network: Network | None = None,
) -> Classifier:
    """The network of a checkpoint (or of a run's folder: its latest), in evaluation mode on the CPU.

    net: which weights, the EMA's or the network's own. plugin: files that register what the run was trained with.
    network: for runs whose network was given in Python, the same network (it is copied) or what makes it from the
    number of classes. Raises `UserError` where the path holds no readable checkpoint or the network is another one.
    """
    if net not in ("ema", "raw"):
        raise UserError(f"net: {net!r}; give ema or raw")
    if plugin is not None:
        load_plugins([plugin] if isinstance(plugin, str | Path) else plugin)
    return classifier_of(checkpoints.load_checkpoint(given_path("path", path)), path, net, network)


@plain_torch()
def classifier_of(
    checkpoint: checkpoints.Checkpoint, path: str | Path, net: Literal["ema", "raw"], network: Network | None = None
) -> Classifier:
    """The same of a checkpoint that was read from `path`."""
    about = checkpoint.state
    schema_of(about, f"{path}: state.json")
    weights = _weights(checkpoint, net, path)
    _check_finite(weights, path)
    with torch.random.fork_rng(devices=[]):  # the weights that are drawn first are no draw of the caller's
        built = _built(checkpoint, path, network, weights)
    _check_fit(built.state_dict(), weights, path)
    built.load_state_dict(weights)
    if about["model"].get("fingerprint") not in (None, network_fingerprint(built)):
        raise UserError(f"network: is not that of {path}: its tensors fit, but its layers are others")
    classifier = Classifier(built, about).eval()
    if not classifier.weak:  # an earlier version's
        classifier.weak = weak_defaults(checkpoint, path)
    return classifier


def weak_defaults(checkpoint: checkpoints.Checkpoint, path: str | Path) -> dict[str, Any]:
    """How the run of a checkpoint drew weak views, where its version did not say; {} where it cannot be told."""
    file = Path(path) / "config.yaml"
    data = read_text(checkpoint.config, file).fields.get("data") or {}
    if not isinstance(data, dict):
        raise UserError(f"{file}: data: not a section of fields")
    kinds = {"name": str, "flip": bool | None, "pad": int | None}
    if wrong := [field for field, kind in kinds.items() if field in data and not isinstance(data[field], kind)]:
        raise UserError([f"{file}: data.{field}: {printable(repr(data[field]), 80)} is not valid" for field in wrong])
    name, size = data.get("name", "digits"), checkpoint.state["image_size"]
    flip = {"digits": False, "folder": True, "given": True} | {known: entry.flip for known, entry in KNOWN.items()}
    if data.get("flip") is None and name not in flip:
        return {}
    pad = data.get("pad")
    return {"flip": flip[name] if data.get("flip") is None else data["flip"], "pad": size // 8 if pad is None else pad}


def weights_digest(classifier: Classifier) -> str:
    """By which a network is known again: of all that it computes with."""
    found = hashlib.blake2b(digest_size=16)
    about = (classifier.classes, classifier.image_size, sorted(classifier.preprocess.items()))
    found.update(repr(about).encode("utf-8", "surrogatepass"))
    tensors = {**classifier.network.state_dict(), "mean of pixels": classifier.mean, "deviation": classifier.std}
    for name, value in sorted(tensors.items()):
        found.update(f"{name} {value.dtype} {list(value.shape)}".encode())
        found.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


def _weights(checkpoint: checkpoints.Checkpoint, net: Literal["ema", "raw"], path: str | Path) -> dict[str, Tensor]:
    """The state dict of the plain network as it was evaluated: with the head that an add-on has put in the main one's
    place, offsets of its predictions in its bias, and adapters folded into the weights."""
    prefix = "ema." if net == "ema" else "network."
    weights = {k.removeprefix(prefix): v for k, v in checkpoint.model.items() if k.startswith(prefix)}
    if not weights:
        raise UserError(f"{path}: the checkpoint holds no {net} weights")
    if exported := checkpoint.state.get("head"):  # earlier versions had none
        own = f"{exported[net]}."
        if not any(k.startswith(own) for k in checkpoint.model):
            raise UserError(f"{path}: the checkpoint holds no tensors {own}*, which its state.json names as its head")
        weights |= {f"head.{k.removeprefix(own)}": v for k, v in checkpoint.model.items() if k.startswith(own)}
        if exported["offset"] is not None:
            bias, offset = weights.get("head.bias"), exported["offset"]
            if bias is None or list(bias.shape) != [len(offset)]:
                raise UserError(f"{path}: state.json: head.offset: {len(offset)} numbers are not those of head.bias")
            weights["head.bias"] = bias + torch.tensor(offset, dtype=bias.dtype)
    return without_adapters(weights, checkpoint.state["model"])


def _built(
    checkpoint: checkpoints.Checkpoint, path: str | Path, network: Network | None, weights: dict[str, Tensor]
) -> nn.Module:
    """The network that a checkpoint names, once its tensors are seen to be these: nothing else takes memory for it.

    Raises `UserError`, with the run's plug-ins where nothing registers it.
    """
    about = checkpoint.state
    if network is not None and about["model"]["name"] != GIVEN:
        return _given(network, len(about["classes"]))
    if about["model"]["name"] == GIVEN and network is None:
        raise UserError(f"{path}: the run's network was given in Python; pass network=, the network or what makes it")
    if find(about["model"]["name"]) is None:
        recorded = read_text(checkpoint.config, Path(path) / "config.yaml").fields.get("plugins", ())
        require_plugins(recorded, loaded_plugins(), str(path))
    model = model_of(checkpoint, path)
    factory = None if network is None else partial(_given, network)
    try:
        wanted = outline(model, len(about["classes"]), about["image_size"]) if factory is None else None
    except UserError as error:
        raise UserError(f"{path}: state.json: {line}" for line in error.messages) from error
    if wanted is not None:
        _check_fit(wanted, weights, path)
    return build(model, len(about["classes"]), about["image_size"], factory)


def model_of(checkpoint: checkpoints.Checkpoint, path: str | Path) -> ModelConfig:
    """The network's configuration by the state of a checkpoint, which was read from `path`. Raises `UserError`."""
    about = checkpoint.state
    try:
        section = migrated_section("model", ModelConfig, about["model"], about.get("schema", 0))
        return ModelConfig.model_validate(section)
    except ValidationError as error:
        raise UserError(mistakes(error, f"{path}: state.json: model")) from error


def _given(network: Network, classes: int) -> nn.Module:
    if isinstance(network, nn.Module):
        return copy.deepcopy(network)
    if not callable(network):
        raise UserError(f"network: of type {type(network).__name__}; give an nn.Module, or a function classes -> one")
    made = network(classes)
    if not isinstance(made, nn.Module):
        raise UserError(f"network: made {type(made).__name__} from {classes} classes, which is no nn.Module")
    return made


def _check_fit(wanted: Mapping[str, Tensor], weights: dict[str, Tensor], path: str | Path) -> None:
    """Raises `UserError` with what does not fit, a line for each kind."""
    if problems := misfits(wanted, weights):
        raise UserError(f"network: is not that of {path}: {problem}" for problem in problems)


def _check_finite(weights: dict[str, Tensor], path: str | Path) -> None:
    """Raises `UserError` where a weight is not finite, by which every prediction would be nan."""
    if bad := [name for name, value in weights.items() if value.is_floating_point() and not value.isfinite().all()]:
        raise UserError(f"{path}: model.safetensors: not finite: {named(sorted(bad))}; no prediction can be made of it")
