"""The weights that a run starts from, of any network that can have some, and what the run keeps about them."""

from torch import nn

from semisonic.models.config import ModelConfig
from semisonic.models.pretrained import load_weights
from semisonic.models.timm_nets import TimmNet
from semisonic.models.timm_weights import UNKNOWN, digest, fetched, load_timm_weights, weights_about


def has_weights(cfg: ModelConfig) -> bool:
    """Whether the network does not start from random weights, `init` aside."""
    return cfg.weights is not None or cfg.pretrained


def fetch(cfg: ModelConfig) -> None:
    """Has weights that are on the Internet on this machine. Raises UserError where they cannot be had."""
    if cfg.pretrained:
        fetched(cfg)


def load_starting_weights(network: nn.Module, cfg: ModelConfig) -> None:
    """Puts the weights that `cfg` names into the network that `build` made of it. Raises UserError where they do not
    fit."""
    if isinstance(network, TimmNet) and has_weights(cfg):
        load_timm_weights(network, cfg)
    elif cfg.weights is not None:
        load_weights(network, cfg.weights, cfg.stem)


def record(cfg: ModelConfig) -> dict[str, str] | None:
    """Where the weights come from, their digest (SHA-256) and license, for state.json; None for random ones. Reads
    the file."""
    if not has_weights(cfg):
        return None
    about = weights_about(cfg)
    path = cfg.weights or fetched(cfg)
    return {
        "network": cfg.name,
        "source": about.source if about else str(path),
        "tag": about.tag if about else "",
        "sha256": digest(path),
        "license": about.license if about else UNKNOWN,
    }


def line(about: dict[str, str]) -> str:
    """What a run says of its weights when it starts."""
    tag, named = about["tag"], "." in about["network"] or about["source"].startswith("timm's hub")
    whose = f" ({about['network']}, taken for {tag})" if tag and not named else f" ({about['network']})"
    return f"Weights: {about['source']}{whose}, SHA-256 {about['sha256'][:16]}, license: {about['license']}"
