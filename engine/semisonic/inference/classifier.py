"""A trained network out of a checkpoint, without its data set."""

from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from semisonic.checkpoint import format as checkpoints
from semisonic.config.renamed import saved_section
from semisonic.models.networks import ModelConfig, build
from semisonic.models.wrapped import NetworkFactory, network_fingerprint
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
    path: str | Path, net: Literal["ema", "raw"] = "ema", network: NetworkFactory | None = None
) -> Classifier:
    """The network of a checkpoint (or of a run's folder: its latest), in evaluation mode on the CPU.

    net: which weights, the EMA's or the network's own. network: what made the network, where the run was given it in
    Python. Raises `UserError` where the path holds no readable checkpoint, or that of another network.
    """
    checkpoint = checkpoints.load_checkpoint(Path(path))
    about = checkpoint.state
    model = ModelConfig.model_validate(saved_section("model", ModelConfig, about["model"]))
    built = build(model, len(about["classes"]), about["image_size"], network)
    if model.fingerprint not in (None, network_fingerprint(built)):
        raise UserError(f"network: this is not the network that the run of {path} was given: its layers differ")
    prefix = "ema." if net == "ema" else "network."
    weights = {k.removeprefix(prefix): v for k, v in checkpoint.model.items() if k.startswith(prefix)}
    if not weights:
        raise UserError(f"{path}: the checkpoint holds no {net} weights")
    built.load_state_dict(weights)
    return Classifier(built, about).eval()
