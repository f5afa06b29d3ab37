"""What the recipes share that adapt a pre-trained vision transformer by LoRA, for sets on which frozen features fail.

DINOv2's ViT-B/14 with registers at 224 px, rank 4, AdamW, weight decay 5e-4, 32 labeled and 32 unlabeled images a step,
30 passes over the unlabeled pool, the first 2.5 % of the steps as warm-up: settings of a study (Zhang et al. 2025,
arXiv 2503.09707) that tries the learning rates 1e-5, 1e-4 and 1e-3 and takes the best of each set and method. Here it
is 1e-4, and `--optim.lr` gives another. The study finds that training on the labels alone often does as well as semi-
supervised methods on the same network, so the supervised run comes first (`baseline`), and a gain is one over that.
None of these recipes has been run here, and no published error is quoted. Costs are estimates: operations of all steps
in forward and backward.

The images are folders of classes, as the publishers or whoever wrote them out as files have them: ROOT/train/CLASS/*
and ROOT/test/CLASS/*, or ROOT/CLASS/* alone, of which a fifth is held back as test images.
"""

from typing import Any

BATCH = 32
NETWORK = "timm/vit_base_patch14_reg4_dinov2.lvd142m"


def adapted(labels: int, pool: int) -> dict[str, Any]:
    """A recipe's fields; labels: in all; pool: its unlabeled images, of which 30 passes are made."""
    steps = 30 * pool // BATCH
    return {
        "steps": steps,
        "baseline": True,
        "data": {"name": "folder", "size": 224, "labels": labels},
        "batch": {"labeled": BATCH, "unlabeled_ratio": 1},
        "model": {"name": NETWORK, "pretrained": True, "tune": "lora", "lora_rank": 4},
        "algorithm": {"name": "fixmatch"},
        "optim": {
            "name": "adamw", "lr": 1e-4, "weight_decay": 5e-4, "schedule": "cosine", "warm_up": steps // 40,
        },
        "eval": {"every": max(1, steps // 30)},
        "checkpoint": {"every": max(1, steps // 30)},
        "log": {"every": 50},
    }  # fmt: skip
