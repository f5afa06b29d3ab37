"""What a machine has of what the engine needs: the card and its driver, torch, and the packages that must be imported.

    python benchmarks/gpu/machine.py FACTS.json

Prints it, and writes the card's name, for file names, and whether data can be loaded. Exit code 1 where a package
that every run needs cannot be imported, 2 where torch sees no GPU.
"""

import importlib
import json
import re
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

NEEDED = ("torch", "triton", "numpy", "pydantic", "accelerate", "semisonic_kernels")
OPTIONAL = ("nvidia.dali", "deepspeed", "matplotlib", "xdist", "pytest_timeout", "semisonic.cli")
"""Without which some parts cannot run; `semisonic.cli` imports DALI."""


def file_name(card: str) -> str:
    """A card's name as part of a file name: "NVIDIA H100 80GB HBM3" -> "nvidia-h100-80gb-hbm3"."""
    return re.sub("[^a-z0-9]+", "-", card.lower()).strip("-")


def imported(name: str) -> bool:
    """Whether a package can be imported; prints its version or why not."""
    try:
        module = importlib.import_module(name)
    except Exception as error:  # a library that does not fit the machine raises what it likes
        print(f"missing  {name}: {type(error).__name__}: {str(error)[:300]}")
        return False
    print(f"found    {name} {getattr(module, '__version__', '')}".rstrip())
    return True


def main(out: str) -> int:
    query = "--query-gpu=name,driver_version,memory.total,clocks.sm,clocks.mem"
    with suppress(OSError):
        subprocess.run(["nvidia-smi", query, "--format=csv,noheader"], check=False)
    found = {name: imported(name) for name in (*NEEDED, *OPTIONAL)}
    if not found["torch"]:
        return 1
    import torch

    if not torch.cuda.is_available():
        print("error: torch sees no GPU")
        return 2
    print(f"cuDNN {torch.backends.cudnn.version()}, NCCL {torch.cuda.nccl.version()}, CUDA {torch.version.cuda}")
    facts = {"card": file_name(torch.cuda.get_device_name()), "dali": found["nvidia.dali"] and found["semisonic.cli"]}
    Path(out).write_text(json.dumps(facts))
    return 0 if all(found[name] for name in NEEDED) else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
