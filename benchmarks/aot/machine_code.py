"""What the machine code of a GPU kernel needs, read from its cubin by the tools that come with Triton."""

import re
import subprocess
import tempfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

WIDTHS = ("256", "128", "64")
"""Bits of a thread's access, in the names of instructions; without any of them or of `NARROW` it is 32."""
NARROW = {"U8": "8", "S8": "8", "U16": "16", "S16": "16"}
ACCESS = re.compile(r"\b(LDG?|STG?|LDL|STL)((?:\.[A-Z0-9_]+)*)\s")
"""Loads and stores: of global memory (or of memory that is found out at run time), and of a thread's local memory."""
INSTRUCTION = re.compile(r"^\s+/\*[0-9a-f]{4,}\*/\s", re.MULTILINE)


def tools() -> Path:
    """The folder of NVIDIA's ptxas, cuobjdump and nvdisasm."""
    import triton

    return Path(triton.__file__).parent / "backends" / "nvidia" / "bin"


def read_cubin(cubin: bytes) -> dict[str, Any]:
    """Registers of a thread, bytes of stack and local memory, spills, instructions, and global accesses by width.

    spills: loads and stores of local memory, which hold what does not fit into registers, or an array that is indexed.
    Raises RuntimeError where a tool refuses the cubin.
    """
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        usage = _run("cuobjdump", "--dump-resource-usage", file.name)
        code = _run("nvdisasm", "-c", file.name)
    found = dict(re.findall(r"\b(REG|STACK|LOCAL):(\d+)", usage))
    if found.keys() != {"REG", "STACK", "LOCAL"}:
        raise RuntimeError(f"cuobjdump says nothing of registers and stack: {usage.strip()[-200:]!r}")
    return {
        "registers": int(found["REG"]),
        "stack": int(found["STACK"]),
        "local": int(found["LOCAL"]),
        **read_code(code),
    }


def read_code(code: str) -> dict[str, Any]:
    """Spills, instructions, and global loads and stores by width in bits, of disassembled machine code."""
    kinds: Counter[tuple[str, str]] = Counter()
    for name, suffixes in ACCESS.findall(code):
        if name in ("LDL", "STL"):
            kinds["spills", ""] += 1
            continue
        kinds["loads" if name.startswith("LD") else "stores", _width(suffixes.split("."))] += 1
    by_width: Mapping[str, dict[str, int]] = {
        kind: {width: kinds[kind, width] for width in sorted((w for k, w in kinds if k == kind), key=int)}
        for kind in ("loads", "stores")
    }
    return {"spills": kinds["spills", ""], "instructions": len(INSTRUCTION.findall(code)), **by_width}


def _width(suffixes: list[str]) -> str:
    wide = next((width for width in WIDTHS if width in suffixes), None)
    return wide or next((bits for name, bits in NARROW.items() if name in suffixes), "32")


def no_local_memory(name: str, row: Mapping[str, Any]) -> list[str]:
    """A line for each way in which a kernel uses memory of its threads: it must do with registers."""
    return [f"{name}: {row[what]} {unit}" for what, unit in LOCAL_MEMORY.items() if row[what]]


LOCAL_MEMORY = {"stack": "bytes of stack", "local": "bytes of local memory", "spills": "loads and stores of spills"}


def _run(tool: str, *arguments: str) -> str:
    done = subprocess.run([tools() / tool, *arguments], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{tool}: {done.stderr.strip()[-500:]}")
    return done.stdout
