"""What recipes of the FixMatch paper's data sets share (arXiv 2001.07685, appendix B): 2^20 steps of 64 + 448 images.

Errors that these recipes quote are the paper's (table 2), with RandAugment, and of training in float32. None of them
has been run to the end here yet. Costs are estimates: operations of all steps in forward and backward, and hours on an
H200 at 100 steps a second of WRN-28-2 at 32 px; `--plan` measures.
"""

from typing import Any

PAPER: dict[str, Any] = {
    "steps": 2**20,
    "batch": {"labeled": 64, "unlabeled_ratio": 7},
    "optim": {"name": "sgd", "lr": 0.03, "momentum": 0.9, "weight_decay": 5e-4, "schedule": "fixmatch"},
    "algorithm": {"name": "fixmatch"},
    "ema": {"decay": 0.999, "start_up": "none"},
    "model": {"norm_start_up": 0.0},
    "eval": {"every": 1024},
    "checkpoint": {"every": 4096},
    "log": {"every": 128},
}
