"""What the recipes of USB's image benchmark share (Wang et al. 2022, arXiv 2208.07204): a pre-trained vision
transformer, all of it trained for 204,800 steps of 8 + 8 images.

Errors that these recipes quote are in per cent, from USB's own table: the best accuracy of a run on the test images,
mean of three seeds, with the numbers of labels in brackets. That is optimistic, and no run here chooses so. None of
them has been run to the end here. Costs are estimates: operations of all steps in forward and backward.

As there: AdamW, weight decay 5e-4, 5,120 steps of warm-up, cos(7 pi t / 16 T), layer-wise learning rates, evaluation of
the network itself (an average of decay 0), drop-path in every forward, three operations of RandAugment and Cutout as
strong view, float32. USB's networks start from weight files of its own, which timm does not have, and all of these
errors are with them: `--model.weights FILE.safetensors` takes such a file with timm's names of tensors. Otherwise
timm's weights of the same network are fetched, and resized to the patches of the recipe; other errors are to be
expected with them.
Their weak views of satellite and medical images are also flipped upside down, which is left out here.
"""

from typing import Any


def usb(
    data: dict[str, Any], network: str, lr: float, layer_decay: float, drop_path: float, patch_size: int | None = None
) -> dict[str, Any]:
    """A recipe's fields; lr and layer_decay are those of its data set."""
    patches = {} if patch_size is None else {"patch_size": patch_size}
    return {
        "steps": 204_800,
        "precision": "fp32",
        "data": data,
        "batch": {"labeled": 8, "unlabeled_ratio": 1},
        "model": {"name": f"timm/{network}", "pretrained": True, "drop_path": drop_path, **patches},
        "algorithm": {"name": "fixmatch", "strong": "usb"},
        "optim": {
            "name": "adamw", "lr": lr, "layer_decay": layer_decay, "weight_decay": 5e-4, "schedule": "fixmatch",
            "warm_up": 5120,
        },
        "ema": {"decay": 0.0, "start_up": "none"},
        "eval": {"every": 2048},
        "checkpoint": {"every": 4096},
        "log": {"every": 128},
    }  # fmt: skip


def padding(size: int, crop_ratio: float) -> int:
    """The margin in pixels of a padded crop that USB states as a ratio."""
    return int(size * (1 - crop_ratio))
