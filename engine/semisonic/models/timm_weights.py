"""Weights of timm's networks: out of a file of the user's, or of timm's hub, by the name that they have there.

Nothing is unpickled: files end in .safetensors. What timm does to weights of another image size, patch or number of
classes is timm's own code; whether they fit is checked here, as timm itself is content with those that do not.
"""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from semisonic.models.config import ModelConfig
from semisonic.models.meta import NothingDrawn
from semisonic.models.pretrained import unsound
from semisonic.models.timm_nets import CHANNELS, PREFIX, TimmNet, own_state
from semisonic.records.tensors import load_tensors
from semisonic.schema import UserError
from semisonic.text import name_of

FILE = "model.safetensors"
"""How timm's hub calls the weights of a network."""
UNKNOWN = "not stated"
"""The license of weights of which nothing is known."""
SHOWN = 5
"""Tensors in a message."""


@dataclass(frozen=True)
class WeightsAbout:
    """What is known of the weights that a network of timm starts from, without reading them."""

    name: str
    """timm's of the network."""
    tag: str
    """timm's of the weights; of a file whose user names none, the tag of the normalization that is taken for it."""
    source: str
    """A file, or a repository of timm's hub."""
    license: str
    mean: tuple[float, float, float]
    """Per channel, on the 0..1 scale."""
    std: tuple[float, float, float]
    input_size: int
    """Side of the images that they were trained on, in pixels."""
    interpolation: str
    crop_pct: float


def weights_about(cfg: ModelConfig) -> WeightsAbout | None:
    """What is known of the weights that `cfg` starts from; None for random ones and other networks."""
    if not cfg.name.startswith(PREFIX) or (cfg.weights is None and not cfg.pretrained):
        return None
    stated = _stated(cfg.name)
    named = "." in cfg.name or cfg.pretrained
    return WeightsAbout(
        name=cfg.name.removeprefix(PREFIX).partition(".")[0],
        tag=stated.tag or "",
        source=f"timm's hub, {stated.hf_hub_id}" if cfg.pretrained else str(cfg.weights),
        license=(stated.license if named else None) or UNKNOWN,
        mean=tuple(stated.mean),
        std=tuple(stated.std),
        input_size=stated.input_size[-1],
        interpolation=stated.interpolation,
        crop_pct=stated.crop_pct,
    )  # fmt: skip


def pretrained_problems(cfg: ModelConfig) -> list[str]:
    """Why timm's own weights of a network cannot be had, a line each; asks nobody."""
    stated, name = _stated(cfg.name), cfg.name
    if not stated.has_weights:
        return [
            f"model.pretrained: timm publishes no weights of {name}; set it to false, and give a file (model.weights)"
        ]
    # What timm reads in a way of its own are the original files (True); on its hub they are .safetensors like the rest.
    if not stated.hf_hub_id or stated.custom_load == "hf":
        return [
            f"model.pretrained: timm's weights of {name} are in no .safetensors file; convert them with timm, and give "
            "that file (model.weights)"
        ]
    if stated.input_size[0] != CHANNELS:
        return [f"model.pretrained: {name} was trained on {stated.input_size[0]} channels, and images have {CHANNELS}"]
    return []


def _stated(name: str) -> Any:
    """What timm states of the weights of a network, of its default ones where the name has no tag."""
    from timm.models import get_pretrained_cfg
    from timm.models._pretrained import PretrainedCfg

    return get_pretrained_cfg(name.removeprefix(PREFIX)) or PretrainedCfg()


def fetched(cfg: ModelConfig) -> Path:
    """The file of timm's own weights of a network: the one on this machine, or else fetched, with its progress shown.

    Raises UserError where neither is possible.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    stated = _stated(cfg.name)
    repository, _, revision = stated.hf_hub_id.partition("@")
    named = stated.hf_hub_filename or FILE
    file = named if named.endswith(".safetensors") else str(Path(named).with_suffix(".safetensors"))
    wanted = {"repo_id": repository, "filename": file, "revision": revision or None}
    try:
        return Path(hf_hub_download(**wanted, local_files_only=True))
    except LocalEntryNotFoundError:
        pass
    try:
        return Path(hf_hub_download(**wanted))
    except LocalEntryNotFoundError as error:  # what it says without a connection
        raise UserError(_unreachable(repository, error)) from error
    except EntryNotFoundError as error:
        raise UserError(
            f"model.pretrained: {repository} has no {file}, and nothing else is read; convert its weights with timm, "
            "and give that file (model.weights)"
        ) from error
    except Exception as error:  # whatever the client and what it speaks through raise
        raise UserError(_unreachable(repository, error)) from error


def _unreachable(repository: str, error: Exception) -> str:
    why = name_of(str(error).strip().partition("\n")[0])
    return (
        f"model.pretrained: {repository} cannot be fetched from timm's hub ({type(error).__name__}: {why}); fetch its "
        f"{FILE} where there is a connection, and give that file (model.weights)"
    )


def digest(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal. Raises UserError where it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"model.weights: {path}: {error.strerror or error}") from error


def load_timm_weights(network: TimmNet, cfg: ModelConfig) -> None:
    """Puts the weights that `cfg` starts from into the network, positions and patches resized to its own. The head
    stays as it is where theirs has another number of classes, or where they have none.

    Raises UserError, in one line, where anything else is missing, left over or of another shape.
    """
    path = fetched(cfg) if cfg.weights is None else cfg.weights
    field = f"{'model.pretrained' if cfg.weights is None else 'model.weights'}: {path}"
    raw = load_tensors(path, field)
    wanted = own_state(network)
    given = _adapted(network, cfg, path, raw, field)
    head = [f"{network.head_path}.weight", f"{network.head_path}.bias"]
    if not any(key in given for key in head):
        for key in head:
            wanted.pop(key, None)
    if problems := _misfits(wanted, given, strict=cfg.weights is not None):
        raise UserError(f"{field} holds no weights of {cfg.name}: {'; '.join(problems)}")
    fitting = {key: value for key, value in given.items() if key in wanted}
    for key, tensor in own_state(network).items():  # views of the network's own
        if key in fitting:
            tensor.copy_(fitting[key])


def _misfits(wanted: Mapping[str, Tensor], given: Mapping[str, Tensor], strict: bool) -> list[str]:
    """What is wrong with weights; not strict: timm's own may hold more, such as parts for another task."""
    counts = "num_batches_tracked"
    other = [
        f"{key} {list(given[key].shape)}, not {list(wanted[key].shape)}"
        for key in wanted
        if key in given and given[key].shape != wanted[key].shape
    ]
    found = {
        "they lack": [key for key in wanted if key not in given and not key.endswith(counts)],
        "the network has no": [key for key in given if key not in wanted] if strict else [],
        "of another shape:": other,
        "other values than finite numbers in": unsound(given, wanted),
    }
    return [f"{text} {_some(keys)}" for text, keys in found.items() if keys]


def _some(keys: list[str]) -> str:
    return ", ".join(keys[:SHOWN]) + (f" and {len(keys) - SHOWN} more" if len(keys) > SHOWN else "")


def _adapted(
    network: TimmNet, cfg: ModelConfig, path: Path, raw: Mapping[str, Tensor], field: str
) -> dict[str, Tensor]:
    """The file's tensors as timm would load them into its own network of this size, by its names."""
    from timm import create_model

    stated = _stated(cfg.name)
    _check_classifier(stated, raw, network, field)
    # Its own path leads to the loading of a file, whatever timm states about other places.
    overlay: dict[str, Any] = {"file": str(path), "custom_load": False, **_classes(stated, raw)}
    first = raw.get(f"{stated.first_conv}.weight") if isinstance(stated.first_conv, str) else None
    if first is not None and first.ndim == 4 and first.shape[1] != CHANNELS:
        raise UserError(
            f"{field} holds weights for images of {first.shape[1]} channels ({stated.first_conv}); they have {CHANNELS}"
        )
    try:
        with NothingDrawn(), _caught(type(network.body)) as given:
            create_model(
                cfg.name.removeprefix(PREFIX), pretrained=True, pretrained_cfg_overlay=overlay,
                num_classes=network.head.out_features, in_chans=CHANNELS, **network.options,
            )  # fmt: skip
    except Exception as error:  # whatever timm's code raises of tensors that it does not expect
        why = f"{type(error).__name__}: {name_of(str(error).strip().partition(chr(10))[0])}"
        raise UserError(f"{field} holds no weights of {cfg.name} ({why})") from error
    if not given:
        raise UserError(f"{field}: timm reads weights of {cfg.name} in a way of its own only; use another network")
    return given


def _classifiers(stated: Any) -> list[str]:
    """timm's names of the weights of a network's last layers."""
    layers = [stated.classifier] if isinstance(stated.classifier, str) else list(stated.classifier or ())
    return [f"{layer}.weight" for layer in layers]


def _check_classifier(stated: Any, raw: Mapping[str, Tensor], network: TimmNet, field: str) -> None:
    """Raises UserError for a file whose last layer is none of this network's, of however many classes."""
    if not raw:
        raise UserError(f"{field} holds no tensors")
    for key in _classifiers(stated):
        if key in raw and (raw[key].ndim < 2 or raw[key].shape[1] != network.head.in_features):
            wanted = f"[classes, {network.head.in_features}]"
            raise UserError(
                f"{field} holds no weights of {network.name}: {key} is {list(raw[key].shape)}, not {wanted}"
            )


def _classes(stated: Any, raw: Mapping[str, Tensor]) -> dict[str, Any]:
    """What timm is to take for the number of classes of a file: that of its own last layer."""
    rows = [len(raw[key]) for key in _classifiers(stated) if key in raw]
    if not rows:
        return {"num_classes": 0}
    published = rows[0] == stated.num_classes + (stated.label_offset or 0)
    return {} if published else {"num_classes": rows[0], "label_offset": 0}


@contextmanager
def _caught(kind: type[nn.Module]) -> Iterator[dict[str, Tensor]]:
    """Around timm's making of a network of this class with weights: what it would have loaded, which is not loaded."""
    caught: dict[str, Tensor] = {}

    def load_state_dict(
        self: nn.Module, state_dict: Mapping[str, Tensor], strict: bool = True, assign: bool = False
    ) -> Any:
        caught.update(state_dict)
        return nn.modules.module._IncompatibleKeys([], [])

    own = kind.__dict__.get("load_state_dict")
    kind.load_state_dict = load_state_dict  # type: ignore[method-assign,assignment]
    try:
        yield caught
    finally:
        if own is None:
            del kind.load_state_dict
        else:
            kind.load_state_dict = own  # type: ignore[method-assign]
