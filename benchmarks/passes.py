"""Which passes through networks a method's step needs: counted in a step, and repeated without anything else.

A pass is a call of one of the algorithm's networks (the whole, its features, ...), or of a module of the method's own,
such as a projection head: with its batch, whether a gradient comes back through it, and to what.
"""

import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from semisonic.algorithms.gradients import input_gradient
from semisonic.models import norm

Gradient = Literal["none", "parameters", "image"]


@dataclass(frozen=True)
class Pass:
    module: str
    """Its name in the algorithm, such as network, ema or network.head."""
    method: str
    shape: tuple[int, ...]
    """Of its input."""
    dtype: torch.dtype
    gradient: Gradient
    """What its backward computes: nothing, there is none; the parameters' gradients; the image's alone."""
    through: bool
    """Whether the backward goes on to what the input was computed from."""
    track: bool
    autocast: bool

    @property
    def images(self) -> bool:
        """Whether its input is images, not what another pass made of them."""
        return len(self.shape) == 4 and self.shape[1] == 3

    def describe(self) -> str:
        """As in "960 forward + backward"."""
        text = {"none": "forward", "parameters": "forward + backward", "image": "forward + image's gradient"}
        net = "" if self.module == "network" else f" of {self.module}"
        return f"{self.shape[0]} {text[self.gradient]}{net}"


def record(algorithm: nn.Module, step: Callable[[], object]) -> list[Pass]:
    """The passes of a step, in order. The step must be eager; the algorithm stays as it was."""
    found: list[Pass] = []
    inside = False

    def counted(name: str, method: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            nonlocal inside
            if inside or not args or not isinstance(args[0], Tensor):
                return function(*args)
            if len(args) > 1:
                raise ValueError(f"{name}.{method} takes {len(args)} arguments, of which passes are not counted")
            inside = True
            try:
                output = function(*args)
            finally:
                inside = False
            x, place = args[0], len(found)
            found.append(
                Pass(
                    name, method, tuple(x.shape), x.dtype, "none", x.requires_grad, norm._track,
                    torch.is_autocast_enabled(x.device.type),
                )
            )  # fmt: skip
            if output.requires_grad:
                output.register_hook(lambda _: arrived(place))
            return output

        return call

    def arrived(place: int) -> None:
        one = found[place]
        found[place] = replace(one, gradient="image" if one.images and one.through else "parameters")

    with replaced(algorithm, counted):
        step()
    return found


@contextmanager
def replaced(algorithm: nn.Module, by: Callable[[str, str, Callable], Callable]) -> Iterator[None]:
    """Inside, every function that can be a pass is replaced by `by(module, name, function)`."""
    changed: list[tuple[nn.Module, str]] = []
    for name, module in parts(algorithm):
        for method in methods(module):
            setattr(module, method, by(name, method, getattr(module, method)))
            changed.append((module, method))
    try:
        yield
    finally:
        for module, method in changed:
            delattr(module, method)


def parts(algorithm: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Networks, their heads, and the method's own modules."""
    networks = [name for name, module in algorithm.named_modules() if hasattr(module, "feature_dim")]
    for name in networks:
        yield name, algorithm.get_submodule(name)
        yield f"{name}.head", algorithm.get_submodule(f"{name}.head")
    for name, module in algorithm.named_modules():
        outside = name and not any(name == other or name.startswith(f"{other}.") for other in networks)
        parent = algorithm.get_submodule(name.rpartition(".")[0])
        collected = parent is algorithm or isinstance(parent, (nn.ModuleList, nn.ModuleDict))
        if outside and collected and not isinstance(module, (nn.ModuleList, nn.ModuleDict)):
            yield name, module


def methods(module: nn.Module) -> list[str]:
    """The functions of a network that take images or maps, and `forward` of any other module."""
    if not hasattr(module, "feature_dim"):
        return ["forward"]
    own = vars(type(module)).items()
    return [name for name, value in own if isinstance(value, types.FunctionType) and not name.startswith("_")]


class Passes:
    """The recorded passes and nothing else: on random inputs, their forwards, then one backward."""

    def __init__(self, algorithm: nn.Module, passes: list[Pass], autocast: torch.dtype | None, device: torch.device):
        self.algorithm, self.passes, self.device = algorithm, passes, device
        self.dtype = autocast or torch.bfloat16
        self.inputs = [self.random(one) for one in passes]
        self.objective: Callable[[list[Tensor]], tuple[Tensor, list[Tensor]]] = self.outputs

    def random(self, one: Pass) -> Tensor:
        x = torch.randn(one.shape, device=self.device, dtype=one.dtype)
        x = x.to(memory_format=torch.channels_last) if x.dim() == 4 else x
        return x.requires_grad_(one.through and one.gradient == "parameters")

    def outputs(self, inputs: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """A loss of what has a backward, and what has none: returned, so that no compiler leaves it out."""
        loss, others = torch.zeros((), device=self.device), []
        for one, x in zip(self.passes, inputs, strict=True):
            function = getattr(self.algorithm.get_submodule(one.module), one.method)
            with (
                norm.batch_statistics(track=one.track),
                torch.autocast(self.device.type, self.dtype, enabled=one.autocast),
            ):
                if one.gradient == "parameters":
                    loss = loss + function(x).float().square().mean()
                elif one.gradient == "image":
                    others.append(input_gradient(lambda y, f=function: f(y).float().square().mean(), x))
                else:
                    with torch.no_grad():
                        others.append(function(x))
        return loss, others

    def __call__(self) -> None:
        for value in (*self.algorithm.parameters(), *self.inputs):
            value.grad = None
        self.objective(self.inputs)[0].backward()
