"""Every Triton kernel of the engine, compiled for GPUs that are not here by the assembler in Triton's wheel.

Triton itself makes each signature from the launcher's own arguments, as it does at a launch: its driver is replaced by
one that names another GPU, and `warmup` compiles without launching.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch

from aot import Row, larger
from aot.machine_code import no_local_memory, read_cubin
from aot.triton_launches import FORMS, launches_of

ABOUT = "every Triton kernel compiled for sm_80, sm_90 and sm_100: registers, stack, spills, widths of global accesses"
VERSIONS = ("triton",)
SECONDS = 900.0
CAPABILITIES = (80, 90, 100)
CASES = tuple(f"{form}, sm_{capability}" for capability in CAPABILITIES for form in FORMS)


class Elsewhere:
    """What Triton asks its driver for when it compiles. A device's number is its capability."""

    def __init__(self, capability: int):
        self.capability = capability

    def get_current_device(self) -> int:
        return self.capability

    def get_current_stream(self, device: int) -> int:
        return 0

    def get_current_target(self) -> Any:
        from triton.backends.compiler import GPUTarget

        return GPUTarget("cuda", self.capability, 32)


@contextmanager
def compiling_for(capability: int) -> Iterator[None]:
    """Inside, Triton compiles for that GPU, e.g. 90 for sm_90; nothing can be launched."""
    from triton.runtime import driver

    # Its own way back looks for a GPU.
    with mock.patch.object(driver, "_active", Elsewhere(capability)):
        yield


def compiled(form: str, capability: int, **options: Any) -> Row:
    """A form's kernel; options: further ones for Triton, such as maxnreg.

    Raises RuntimeError where it launches kernels that Triton compiles in several ways.
    """
    launches = launches_of(form)
    with compiling_for(capability):
        kernels = {
            kernel.hash: kernel
            for kernel in (
                launch.kernel.warmup(*launch.arguments, grid=launch.grid, **launch.options, **options)
                for launch in launches
            )
        }
    if len(kernels) != 1:
        raise RuntimeError(f"{form}: its {len(launches)} launches are compiled in {len(kernels)} ways, not in one")
    (kernel,) = kernels.values()
    return {
        "kernel": launches[0].name,
        "warps": kernel.metadata.num_warps,
        "shared": kernel.metadata.shared,
        **read_cubin(kernel.asm["cubin"]),
    }


def rows(names: Sequence[str]) -> dict[str, Row]:
    torch.set_num_threads(1)
    found = {}
    for name in names:
        form, _, capability = name.rpartition(", sm_")
        found[name] = compiled(form, int(capability))
    return found


def broken(name: str, row: Mapping[str, Any]) -> list[str]:
    return no_local_memory(name, row)


def grown(name: str, row: Mapping[str, Any], stored: Mapping[str, Any]) -> list[str]:
    """Wide accesses may become more, in place of narrow ones; the number of instructions counts them all."""
    return larger(name, row, {key: value for key, value in stored.items() if key not in ("loads", "stores")}) + [
        f"{name}: {kind} of {width} bits were {before} and are {row[kind].get(width, 0)}"
        for kind in ("loads", "stores")
        for width, before in stored[kind].items()
        if int(width) < 32 and row[kind].get(width, 0) > before
    ]
