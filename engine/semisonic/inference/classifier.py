"""A trained network out of a checkpoint, without its data set."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
import yaml
from torch import Tensor, nn

from semisonic.checkpoint import format as checkpoints
from semisonic.config.renamed import saved_section
from semisonic.models.networks import ModelConfig, build, find
from semisonic.plugins import load_plugins, loaded_plugins, require_plugins
from semisonic.schema import UserError


class Classifier(nn.Module):
    """A trained network with what it needs to be used: `classes`, `image_size`, `preprocess`, and the normalization.

    forward: images [N, 3, H, W], uint8 or floats on the 0..255 scale -> logits float32 [N, C].
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
        self.register_buffer("mean", 255 * torch.tensor(about["mean"]).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", 255 * torch.tensor(about["std"]).view(1, 3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        return self.network((images.float() - self.mean) / self.std).float()


def load_classifier(
    path: str | Path, net: Literal["ema", "raw"] = "ema", plugin: str | Path | Sequence[str | Path] = ()
) -> Classifier:
    """The network of a checkpoint (or of a run's folder: its latest), in evaluation mode on the CPU.

    net: which weights, the EMA's or the network's own. plugin: the plug-in files that register the network, where it is
    none of this package's. Raises `UserError` where the path holds no readable checkpoint, or its network is unknown.
    """
    load_plugins([plugin] if isinstance(plugin, (str, Path)) else plugin)
    checkpoint = checkpoints.load_checkpoint(Path(path))
    about = checkpoint.state
    check_network(checkpoint, path)
    model = ModelConfig.model_validate(saved_section("model", ModelConfig, about["model"]))
    network = build(model, len(about["classes"]), about["image_size"])
    prefix = "ema." if net == "ema" else "network."
    weights = {k.removeprefix(prefix): v for k, v in checkpoint.model.items() if k.startswith(prefix)}
    if not weights:
        raise UserError(f"{path}: the checkpoint holds no {net} weights")
    network.load_state_dict(weights)
    return Classifier(network, about).eval()


def check_network(checkpoint: checkpoints.Checkpoint, path: str | Path) -> None:
    """Raises `UserError` with the plug-ins of a checkpoint's run where its network is one that nothing registers."""
    if find(checkpoint.state["model"]["name"]) is None:
        recorded = yaml.safe_load(checkpoint.config).get("plugins", ())
        require_plugins(recorded, loaded_plugins(), str(path))
