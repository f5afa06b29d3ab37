"""Runs to export that nobody trained, and what a model card says to do with the file."""

import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from semisonic.checkpoint import format as checkpoints
from semisonic.config.run_config import RunConfig
from semisonic.models.networks import ModelConfig, build
from semisonic.models.tuning import tuned
from tests.support.checkpoints import state


def run_of(folder: Path, name: str, size: int = 32, **entries: Any) -> Path:
    """A run's folder with a checkpoint of this network, its statistics as after a training; the raw weights differ
    from the EMA's. entries: of its state."""
    entries = {"classes": ["cat", "dog", "eel"], "model": ModelConfig(name=name).model_dump(mode="json"), **entries}
    torch.manual_seed(0)
    model = ModelConfig.model_validate({**entries["model"], "name": name, "fingerprint": None})
    network = tuned(build(model, len(entries["classes"]), size), model, size)
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.running_mean)
            nn.init.uniform_(layer.running_var, 0.5, 2)
    for parameter in (value for key, value in network.named_parameters() if "lora_B" in key):
        nn.init.normal_(parameter, std=0.1)  # else an adapter adds nothing
    tensors = {f"ema.{key}": value for key, value in network.state_dict().items()}
    raw = {key: value * 1.5 if value.is_floating_point() else value for key, value in network.state_dict().items()}
    tensors |= {f"network.{key}": value for key, value in raw.items()}
    (folder / "checkpoints").mkdir(parents=True)
    about = state(image_size=size, **entries)
    checkpoints.save(folder / "checkpoints", 0, checkpoints.Checkpoint(tensors, {}, about, RunConfig().dump()), keep=1)
    return folder


def as_the_card_says(folder: Path, images: Tensor, monkeypatch: Any) -> Tensor:
    """The logits of a card's lines of Python, run in the folder of the export."""
    (code,) = re.findall(r"^```python\n(.*?)^```$", (folder / "model_card.md").read_text(), re.S | re.M)
    monkeypatch.chdir(folder)
    names: dict[str, Any] = {"images": images}
    with torch.no_grad():
        exec(code, names)
    return torch.as_tensor(names["logits"])
