"""Trials of a first step that have passed, in `trials/` of the user's cache, so that equal runs need not take theirs.

The name of a file is a fingerprint of all that a first step depends on: the configuration, the data and their split,
the engine's own source, versions, variables of the environment, devices. What no fingerprint knows (code of the user's
own, starting weights) is tried every time, and so is every run where less memory is free than there was. The folder may
be emptied at any time.
"""

import hashlib
import os
import platform
import resource
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated

import torch
from pydantic import Field

from semisonic.checkpoint.atomic_files import write_text
from semisonic.config.run_config import RunConfig
from semisonic.data.sets import cache
from semisonic.data.sets.base import DataSet
from semisonic.data.sets.splits import Split
from semisonic.data.views.registry import VIEWS
from semisonic.models.networks import find
from semisonic.plugins import loaded_plugins
from semisonic.records.entries import Record
from semisonic.records.reading import read_json
from semisonic.records.schemas import checked
from semisonic.runs.continuing import contents
from semisonic.schema import UserError
from semisonic.text import dump_json
from semisonic.training.given import Given
from semisonic_kernels import fuse

FORMAT = 1
MOST = 200
"""Files that are kept; the oldest go."""
SPARE = 2**29
"""Bytes on the CPU that must be free beside twice what a trial took, where less is free than there was."""
NOT_OF_THE_STEP = frozenset({"out", "max_hours", "frozen", "log", "checkpoint", "health", "trial"})
"""Fields and sections by which no first step fails."""
SOURCES = (Path(__file__).parents[1], Path(fuse.__file__).parent)
"""Folders of the engine's own code: this package and the kernels."""
LIBRARIES = (
    "accelerate", "deepspeed", "numpy", "nvidia-dali-cuda120", "nvidia-dali-cuda130", "peft", "timm", "torch",
    "torchvision", "triton",
)  # fmt: skip
VARIABLES = ("ACCELERATE", "ATEN", "CUBLAS", "CUDA", "DALI", "DNNL", "KMP", "LD_", "MKL", "NCCL", "OMP", "ONEDNN",
             "PYTORCH", "SEMISONIC", "TORCH", "TRITON")  # fmt: skip
"""How the variables begin that a step may depend on."""
OTHERS = ("TORCHELASTIC", "TORCHINDUCTOR_CACHE_DIR", "TORCH_EXTENSIONS_DIR", "TRITON_CACHE_DIR")
"""But for these: a launcher's own, and where compiled code is kept."""

DRIVER = Path("/proc/driver/nvidia/version")
"""The kernel's module for GPUs, in words."""


class Entry(Record):
    """What is kept of a trial; of several ranks the largest numbers."""

    format: int
    free: Annotated[int, Field(ge=0)]
    """Bytes that were free for the rank before it."""
    took: Annotated[int, Field(ge=0)]
    """Bytes by which the process had grown; 0 on a GPU, where that is not known."""


@dataclass(frozen=True)
class PassedTrial:
    """The place of a trial in the cache, whether it has passed or not."""

    file: Path

    def read(self) -> Entry | None:
        """None where no equal trial has passed, or the file is damaged: the trial that is taken then replaces it."""
        try:
            entry = checked(Entry, read_json(self.file), str(self.file)) if self.file.exists() else None
        except (UserError, OSError):
            return None
        return Entry(**entry) if entry is not None and entry["format"] == FORMAT else None

    def keep(self, free: int, took: int) -> str | None:
        """Says that the trial has passed. Returns why that could not be written: a later run takes it again then."""
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            write_text(self.file, dump_json({"format": FORMAT, "free": free, "took": took}) + "\n")
            for old in sorted(self.file.parent.glob("*.json"), key=lambda path: path.stat().st_mtime)[:-MOST]:
                old.unlink(missing_ok=True)
        except OSError as error:
            return f"that the first step works cannot be kept for later runs in {self.file.parent}: {error.strerror}"
        return None


def enough(entry: Entry, free: int) -> bool:
    """Whether a trial that has passed would pass again with so many bytes free."""
    return free >= entry.free or (entry.took > 0 and free >= 2 * entry.took + SPARE)


def place_of(cfg: RunConfig, data: DataSet, split: Split, devices: Sequence[str], given: Given) -> PassedTrial | None:
    """Where the trial of a run is kept; None where it is to be taken every time. devices: of all ranks, in words."""
    folder = cache.trials_folder()
    if folder is None or unknown(cfg, given):
        return None
    digest = hashlib.sha256()
    for part in _parts(cfg, data, split, devices):
        digest.update(f"{part}\0".encode("utf-8", "surrogateescape"))
    return PassedTrial(folder / f"{digest.hexdigest()[:32]}.json")


def unknown(cfg: RunConfig, given: Given) -> bool:
    """Whether a first step depends on what no fingerprint here knows: code of others, weights, faults that are asked
    for."""
    network = find(cfg.model.name)
    homes = [cfg.composition.kind.__module__, *(addon.kind.__module__ for addon in cfg.composition.addons)]
    homes += [kind.build.__module__ for kind in VIEWS.values()]
    return (
        given.data is not None
        or given.network is not None
        or network is None
        or network.plug_in
        or bool(loaded_plugins())
        or not all(home.startswith("semisonic.") for home in homes)
        or cfg.starting_weights is not None
        or "SEMISONIC_FAULT" in os.environ
    )


def device_in_words(device: torch.device) -> str:
    """What a rank computes on, how much memory that has, and how much of the host's the process may take."""
    limits = [resource.getrlimit(kind)[0] for kind in (resource.RLIMIT_AS, resource.RLIMIT_DATA)]
    if device.type == "cuda":
        own = torch.cuda.get_device_properties(device)
        driver = DRIVER.read_text() if DRIVER.is_file() else ""
        return f"{own.name} {own.major}.{own.minor} {own.total_memory} {torch.version.cuda} {driver} {limits}"
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return f"{platform.machine()} {platform.release()} {torch.backends.cpu.get_cpu_capability()} {pages} {limits}"


def _parts(cfg: RunConfig, data: DataSet, split: Split, devices: Sequence[str]) -> Iterator[object]:
    """All that a first step depends on."""
    yield FORMAT
    yield dump_json(cfg.model_dump(mode="json", exclude=set(NOT_OF_THE_STEP)))
    yield cfg.execution
    yield cfg.arithmetic.name
    yield sorted(contents(cfg).items())
    yield sorted(data.fingerprint.items())
    yield (
        type(data.train).__name__, len(data.train), data.test_count, data.classes, data.size, data.mean, data.std,
        data.flip, data.pad, data.border, data.crop, data.interpolation, data.crop_area,
        split.hash, len(split.held_out),
    )  # fmt: skip
    yield devices
    yield platform.python_version()
    yield [(name, _version(name)) for name in LIBRARIES]
    yield sorted((name, value) for name, value in os.environ.items()
                 if name.startswith(VARIABLES) and not name.startswith(OTHERS))  # fmt: skip
    yield from _source()


def _version(library: str) -> str | None:
    try:
        return version(library)
    except PackageNotFoundError:
        return None


def _source() -> Iterator[tuple[str, int, int]]:
    """The engine's own files: a version number stays while they are worked on."""
    for package in SOURCES:
        for file in sorted(package.rglob("*.py")):
            status = file.stat()
            yield str(file), status.st_size, status.st_mtime_ns
