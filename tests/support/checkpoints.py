"""What checkpoints of tests hold beside their tensors."""

from typing import Any


def state(**entries: Any) -> dict[str, Any]:
    """A state.json with every entry that one has, some of them given."""
    return {
        "version": "0.1.0", "schema": 2, "step": 0, "elapsed": 1.5, "world_size": 1, "split": "0" * 64, "history": [],
        "scaler": {"network": {}}, "classes": ["cat", "dog"], "image_size": 16,
        "preprocess": {"view": "whole", "border": 0}, "mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25],
        "algorithm": "fixmatch", "head": None, "model": {"name": "small"}, **entries,
    }  # fmt: skip
