"""Kernels written in plain torch: one graph by themselves, part of a larger one, or replaced by their reference."""

import functools
import types
from collections.abc import Callable, Hashable
from typing import Any, Literal, ParamSpec, TypeVar

import torch
from torch import Tensor
from torch.fx.experimental import _config as symbolic_shapes

from semisonic_kernels.compile_caches import private_caches

P = ParamSpec("P")
R = TypeVar("R")

Kernels = Literal["fused", "eager", "reference"]
_kernels: Kernels = "fused"


class use_kernels:
    """Inside `with use_kernels(which):` the kernels of this process use that implementation. Outside of any: "fused".

    fused: every kernel's own. eager: for runs without a compiler, the reference of those that torch would compile, or a
    form of their own for it.
    reference: plain torch for all. A compiled graph that holds such functions is compiled anew for each.
    It holds for all threads, as a backward on a GPU runs in one of autograd's.
    """

    def __init__(self, which: Kernels):
        if which not in ("fused", "eager", "reference"):
            raise ValueError(f"use_kernels: expected 'fused', 'eager' or 'reference', not {which!r}")
        self.which = which
        self.outside: list[Kernels] = []

    def __enter__(self) -> None:
        global _kernels
        self.outside.append(_kernels)
        _kernels = self.which

    def __exit__(self, *error: object) -> None:
        global _kernels
        _kernels = self.outside.pop()


def plain() -> bool:
    """Whether kernels that are written by hand are to run their references."""
    return _kernels == "reference"


def fused(
    reference: Callable[P, R], check: Callable[P, None], eager: Callable[P, R] | None = None
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Decorator of a function of tensors and numbers that is to run as one compiled kernel.

    reference: the same function in plain torch, called instead where `use_kernels` says so.
    eager: what is called in its place where nothing is compiled; None: the reference.
    check: takes the same arguments and raises where they do not fit; reads no value of a tensor.

    Called while a graph is compiled, the function becomes part of that graph. Called from eager code, it runs a
    `torch.compile`d version: one for each combination of dtypes, devices, memory layouts, required gradients and
    numbers, compiled at first use, for all sizes (but the compiler tells sums of thousands from shorter ones). So what
    changes from step to step is given as a tensor. There, two things run uncompiled: a first argument of less than
    two rows, which is not worth a graph, and calls under a `torch.func` transform, which torch.compile refuses.
    Compiled versions can be differentiated once. Compiled code is kept as `compile_caches` says.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        variants: dict[Hashable, Callable[P, R]] = {}
        first = function.__code__.co_varnames[0]

        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            check(*args, **kwargs)
            if _kernels != "fused":
                return (reference if _kernels == "reference" or eager is None else eager)(*args, **kwargs)
            if torch.compiler.is_compiling():
                return function(*args, **kwargs)
            batch = args[0] if args else kwargs[first]
            transformed = torch._C._functorch.peek_interpreter_stack() is not None
            if transformed or (isinstance(batch, Tensor) and batch.shape[:1] in ((0,), (1,))):
                return function(*args, **kwargs)
            private_caches()  # also for versions that are there: other sizes may compile them anew
            key = _key(args, kwargs)
            if key not in variants:
                variants[key] = _compiled(function, len(variants))
            # Sizes that happen to be equal when it is compiled, also anew after a reset, need not be in the next call.
            with symbolic_shapes.patch(use_duck_shape=False):  # type: ignore[attr-defined]
                return variants[key](*args, **kwargs)

        return call

    return decorate


def _compiled(function: Callable[P, R], number: int) -> Callable[P, R]:
    """A compiled copy. Dynamo counts recompilations by code object, so variants must not share one."""
    code = function.__code__.replace(co_name=f"{function.__name__}_{number}")
    copy = types.FunctionType(code, function.__globals__, code.co_name, function.__defaults__, function.__closure__)
    copy.__kwdefaults__ = function.__kwdefaults__
    return torch.compile(copy, fullgraph=True, dynamic=True)


def _key(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Hashable:
    """All that a compiled version is specialized on."""
    modes = (torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.is_autocast_enabled())
    return modes, tuple(map(_kind, args)), tuple((name, _kind(value)) for name, value in sorted(kwargs.items()))


def _kind(value: Any) -> Any:
    if isinstance(value, Tensor):
        layout = value.is_contiguous(), value.dim() == 4 and value.is_contiguous(memory_format=torch.channels_last)
        # Compilers take a size of 0 or 1, and the broadcasting that comes with it, for fixed.
        sizes = tuple(min(size, 2) for size in value.shape)
        return value.dtype, value.device, layout, sizes, value.requires_grad, type(value)
    return type(value), value
