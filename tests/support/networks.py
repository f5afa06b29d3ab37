"""What two steps of a network leave behind, what its forward keeps, and how many of its parameters live."""

from collections.abc import Callable

import torch
from torch import Tensor, nn


def images(count: int = 4) -> Tensor:
    return torch.randn(count, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def steps(module: nn.Module, call: Callable[[Tensor], Tensor] | None = None) -> dict[str, Tensor]:
    """Loss, gradients and buffers of two steps."""
    found = {}
    for step in range(2):
        torch.manual_seed(step)
        loss = (call or module)(images()).square().mean()
        loss.backward()
        found[f"loss {step}"] = loss.detach()
    gradients = {f"{name}.grad": p.grad for name, p in module.named_parameters()}
    return found | gradients | {name: buffer.clone() for name, buffer in module.named_buffers()}


def assert_equal(one: dict[str, Tensor], two: dict[str, Tensor]) -> None:
    assert one.keys() == two.keys()
    for name, value in one.items():
        assert torch.equal(value, two[name]), name


def activations(module: nn.Module) -> int:
    """Bytes that one forward keeps for the backward, without parameters."""
    own = {parameter.data_ptr() for parameter in module.parameters()}
    kept: dict[int, int] = {}

    def pack(value: Tensor) -> Tensor:
        if value.data_ptr() not in own:
            kept[value.untyped_storage().data_ptr()] = value.untyped_storage().nbytes()
        return value

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda value: value):
        _loss = module(images()).sum()
    return sum(kept.values())


def parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def without_gradient(network: nn.Module, image_size: int, batch: int = 2) -> dict[str, int]:
    """Size of every parameter that gets no gradient from a loss on the logits."""
    network(torch.randn(batch, 3, image_size, image_size)).square().sum().backward()
    return {name: p.numel() for name, p in network.named_parameters() if p.grad is None}
