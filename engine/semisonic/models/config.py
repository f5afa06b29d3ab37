"""What `model.*` says: which network, where its weights come from, and its options."""

from typing import Annotated, Literal

from pydantic import Field

from semisonic.schema import Config, Effect, UsedWith, UserPath

LORA = UsedWith("tune", ("lora",))


class ModelConfig(Config):
    name: str = "wrn-28-2"
    """wrn-D-K (wrn-28-2, wrn-28-8, wrn-37-2, ...), shake-shake-26-2x32d, small, a classifier of torchvision
    (resnet18, ...) or of timm (timm/NAME, such as timm/vit_small_patch14_dinov2, or timm/NAME.TAG, which names its
    weights; --list --model 'timm/*dino*' searches them), or one that a plug-in registers."""
    weights: Annotated[UserPath | None, Effect.CONTENT] = None
    """For torchvision's and timm's networks: a file of weights to start from, such as ImageNet's, in the naming of
    theirs (.safetensors; torchvision's also .pth with a state dict). The head is new where the file has another number
    of classes. timm's positions and patches are resized to `data.size` and `patch_size`."""
    pretrained: bool = False
    """For timm's networks: start from the weights that timm publishes under this name and tag. They are fetched from
    its hub on the Internet, once, and kept there where the hub's own client keeps such files (HF_HOME)."""
    drop_path: float = Field(0.0, ge=0, lt=1)
    """For timm's networks: stochastic depth, the share of images that skip a residual branch in training. It grows
    over the blocks from 0 to this."""
    patch_size: int | None = Field(None, ge=1, le=128)
    """For timm's networks that cut images into patches: side of a patch in pixels, of which `data.size` is a multiple.
    None = the network's own."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Share of the head's inputs that are dropped in training."""
    stem: Literal["auto", "3x3", "7x7"] = "auto"
    """First layers of torchvision's residual networks and efficientnets: 3x3 = no downsampling, for small
    images; 7x7 = the network's own; auto = 3x3 for images of at most 64 px."""
    residual: Literal["tf", "port"] = "tf"
    """Wide ResNets: tf = the TensorFlow original; port = the PyTorch ports, with dead BatchNorm layers."""
    first_stride: Literal[1, 2] | None = None
    """Wide ResNets: stride of the first stage. None = 1, but 2 for four stages (wrn-37-2) from 64 px."""
    norm_momentum: float | None = Field(None, gt=0, le=1)
    """Weight of the new batch in BatchNorm's running statistics. None = the network's own: 0.001 for wide
    ResNets, 0.1 for shake-shake and small, torchvision's for its own."""
    norm_eps: float | None = Field(None, gt=0, le=1)
    """Added to BatchNorm's variance. None = the network's own: 0.001 for wide ResNets, 1e-5 for shake-shake and
    small, torchvision's for its own."""
    norm_start_up: float = Field(10.0, ge=0, le=1e6)
    """Start-up correction w of BatchNorm's running statistics: at step t a batch counts by w / (t+w) where that is more
    than `norm_momentum`. Not for loaded weights (`init`, `weights`). 0 = none."""
    norm_sync: bool = True
    """Normalize by the statistics of all ranks' batches. False = each rank by its own share."""
    norm_groups: int = Field(1, ge=1, le=100_000)
    """Equal groups of consecutive ranks, each of which normalizes by the statistics of its own batches: 1 = all ranks
    together. That is another problem than 1, as its statistics are those of a smaller batch: in return, messages stay
    among few ranks, as those of a node. It must divide the ranks, here and on every resume: so each group holds the
    same share of the batch on any number of ranks. Running statistics that are saved are the first group's."""
    freeze: Literal["none", "stem", "backbone"] = "none"
    """What of the network stays as its weights have it: stem = its first convolution or its patch embedding, with
    positions; backbone = all but the head. A frozen BatchNorm normalizes by its running statistics, and frozen layers
    drop nothing."""
    tune: Literal["full", "lora", "probe"] = "full"
    """What is trained: full = all that is not frozen; lora = the head, and low-rank adapters of linear layers, which
    cost a few percent of the memory for gradients (needs semisonic[lora]); probe = the head alone."""
    lora_rank: Annotated[int, LORA] = Field(4, ge=1, le=1024)
    """Rank of the adapters."""
    lora_alpha: Annotated[float | None, LORA] = Field(None, gt=0, le=1e6)
    """What the adapters add counts by lora_alpha / lora_rank. None = twice the rank."""
    lora_layers: Annotated[str, LORA] = "auto"
    """Linear layers that get an adapter: auto = all but the head; or ends of their names, as attn.qkv,mlp.fc1."""
    fingerprint: str | None = None
    """Of a network that was given in Python, whose name is `given`: by this a run knows its own. Written by
    `semisonic.train(network=...)`."""
