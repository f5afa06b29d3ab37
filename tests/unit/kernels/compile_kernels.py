"""Run by the tests without Triton's interpreter: compiles the Triton kernels for GPUs that need not be here.

    compile_kernels.py CAPABILITY NAME...       (CAPABILITY: 90 for sm_90; NAME: of CASES)

Prints "NAME: BYTES" for each, the size of its machine code. The signatures are those of the launchers at the engine's own
sizes, with the addresses that torch aligns to 16 bytes declared so.
"""

import sys
from dataclasses import dataclass, field
from typing import Any

import triton
import triton.language as tl
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from semisonic_kernels import augment_mix_triton, augment_triton, ema, sgd
from semisonic_kernels.multi_tensor import BLOCK


@dataclass(frozen=True)
class Case:
    kernel: Any
    arguments: dict[str, str]
    """Type of each argument that is no constant, in Triton's notation."""
    constants: dict[str, Any]
    options: dict[str, Any] = field(default_factory=dict)
    unaligned: tuple[str, ...] = ()
    """Arguments that need not be multiples of 16."""


TABLES = {"table": "*i64", "blocks": "*i64", "sizes": "*i64"}
EXACT = {"enable_fp_fusion": False}
LEVEL = {
    "sources": "*u8", "targets": "*u8", "operations": "*i32", "values": "*fp32", "matrices": "*fp32", "holes": "*i32",
    "table": "*fp32", "level": "i32", "last": "i32", "height": "i32", "width": "i32", "inverse_area": "fp32",
    "red": "i32", "green": "i32", "blue": "i32",
}  # fmt: skip


def average(source: Any) -> Case:
    constants = {"AVERAGE": tl.float32, "SOURCE": source, "BLOCK": BLOCK}
    return Case(ema._lerp_kernel, {**TABLES, "weight": "*fp64"}, constants)


def momentum(columns: int) -> Case:
    constants = {"COLUMNS": columns, "MOMENTUM": 0.9, "NESTEROV": True, "DTYPE": tl.float32, "BLOCK": BLOCK}
    return Case(sgd._kernel, {**TABLES, "decays": "*fp64", "lr": "*fp32", "weight": "*fp64"}, constants)


def level(levels: int, holes: bool, pillow: bool = False, extended: bool = False) -> Case:
    absent = [name for name, there in (("holes", holes), ("table", extended)) if not there]
    constants = {"LEVELS": levels, "HOLES": holes, "PILLOW": pillow, "EXTENDED": extended, **dict.fromkeys(absent)}
    arguments = {name: kind for name, kind in LEVEL.items() if name not in absent}
    scalars = ("level", "last", "inverse_area", "red", "green", "blue")
    return Case(augment_triton._level_kernel, arguments, constants, {"num_warps": 4, **EXACT}, scalars)


CASES = {
    "ema": average(tl.float32),
    "ema of bfloat16": average(tl.bfloat16),
    "sgd and ema": momentum(columns=4),
    "sgd and ema, rates by layers": momentum(columns=5),
    "augment": level(2, holes=True),
    "augment as pillow": level(2, holes=True, pillow=True),
    "augment without hole": level(2, holes=False),
    "augment, all operations": level(2, holes=True, extended=True),
    "hole alone": level(0, holes=True),
    "augmix": Case(
        augment_mix_triton._mix_kernel,
        {"images": "*u8", "chains": "*u8", "weights": "*fp32", "results": "*u8", "size": "i32"},
        {"CHAINS": 3, "BLOCK": augment_mix_triton._BLOCK},
        EXACT,
    ),
}


def compiled(case: Case, capability: int) -> int:
    """Bytes of the case's machine code."""
    place = {name: number for number, name in enumerate(case.kernel.arg_names)}
    source = ASTSource(
        fn=case.kernel,
        signature={name: case.arguments.get(name, "constexpr") for name in place},
        constexprs={(place[name],): value for name, value in case.constants.items()},
        attrs={(place[name],): [["tt.divisibility", 16]] for name in case.arguments if name not in case.unaligned},
    )
    target = GPUTarget("cuda", capability, 32)
    return len(triton.compile(source, target=target, options=case.options or None).asm["cubin"])


if __name__ == "__main__":
    for name in sys.argv[2:]:
        print(f"{name}: {compiled(CASES[name], int(sys.argv[1]))}", flush=True)
