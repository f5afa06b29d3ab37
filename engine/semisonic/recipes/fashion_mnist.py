"""Fashion-MNIST on a small network, for a CPU."""

from typing import Any

from semisonic.recipes.mnist import mnist


def fashion_mnist() -> dict[str, Any]:
    """FixMatch with 4 labels a class on Fashion-MNIST (28x28, padded to 32).

    Command: accelerate launch launch/train.py --data fashion-mnist --data.root /usr/share/datasets/fashion-mnist
    Two CPU cores, estimated: 25 minutes.
    """
    return mnist() | {"data": {"name": "fashion-mnist", "labels": 40}}
