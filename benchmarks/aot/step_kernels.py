"""Inductor's Triton kernels of a step, compiled ahead of time: registers, stack and spills of their machine code.

Only where `fake_cuda` is installed. The sources are loaded as Inductor loads them, which gives the configurations that
it would try on the card, the first of which is its first guess. Triton compiles them with the arguments that Inductor
gives it; the machine code is read by the tools of Triton's wheel.
"""

from collections.abc import Iterable, Mapping
from typing import Any
from unittest import mock

from aot import Row
from aot.machine_code import read_cubin

KEPT = ("registers", "stack", "local", "spills")
"""What a row keeps of a kernel's machine code."""


class Arguments(BaseException):
    """Carries what Triton was asked to compile out of Inductor; no Exception, which Inductor would log."""

    def __init__(self, source: Any, target: Any, options: Any):
        self.source, self.target, self.options = source, target, options


def load(name: str, source: str) -> Any:
    """Inductor's autotuner of a kernel, which has its configurations."""
    from torch._inductor.codecache import PyCodeCache

    return getattr(PyCodeCache.load(source), name)


def asked(autotuner: Any, configuration: Any) -> Arguments:
    """What Inductor has Triton compile for one of its configurations."""
    import triton

    def refuse(source: Any, target: Any = None, options: Any = None, **others: Any) -> Any:
        raise Arguments(source, target, options)

    with mock.patch.object(triton, "compile", refuse):
        try:
            autotuner._precompile_config(configuration)
        except Arguments as found:
            return found
    raise RuntimeError(f"Inductor has compiled {autotuner.fn.__name__} without Triton's compile")


def describe(configuration: Any) -> str:
    blocks = " ".join(f"{name}={value}" for name, value in configuration.kwargs.items())
    return f"{blocks} warps={configuration.num_warps} stages={configuration.num_stages}"


def compile_one(autotuner: Any, configuration: Any) -> Row:
    """Registers, stack, local memory and spills of one kernel in one configuration."""
    import triton

    found = asked(autotuner, configuration)
    compiled = triton.compile(found.source, target=found.target, options=found.options)
    read = read_cubin(compiled.asm["cubin"])
    return {"configuration": describe(configuration), **{name: read[name] for name in KEPT}}


class Compiler:
    """Compiles kernels, equal ones once."""

    def __init__(self) -> None:
        self.done: dict[tuple[str, str], Row] = {}
        """Source without its kernel's name, configuration -> what came of it."""

    def rows(self, name: str, source: str, every: bool) -> list[Row]:
        """Of a kernel's first configuration, or of every one that Inductor would try on the card.

        Raises RuntimeError where one does not compile.
        """
        autotuner, plain = load(name, source), source.replace(name, "triton_")
        configurations = autotuner.configs if every else autotuner.configs[:1]
        for configuration in configurations:
            key = plain, describe(configuration)
            if key not in self.done:
                try:
                    self.done[key] = compile_one(autotuner, configuration)
                except Exception as error:
                    raise RuntimeError(f"{name}, {describe(configuration)}: does not compile: {error}") from error
        return [self.done[plain, describe(configuration)] for configuration in configurations]

    def all_rows(self, sources: Mapping[str, str], every: bool) -> dict[str, list[Row]]:
        """Name of a kernel -> its rows."""
        return {name: self.rows(name, source, every) for name, source in sources.items()}


def summary(compiled: Iterable[list[Row]]) -> Row:
    """Of many kernels: how many, in how many configurations, the most registers, and what uses local memory."""
    rows = [row for own in compiled for row in own]
    return {
        "kernels": sum(1 for own in compiled),
        "configurations": len(rows),
        "most registers": max((row["registers"] for row in rows), default=0),
        "with stack": sum(row["stack"] > 0 for row in rows),
        "with spills": sum(row["spills"] > 0 for row in rows),
    }
