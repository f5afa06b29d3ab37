"""Running out of memory: recognizing it in whatever form it comes, freeing what is left, and saying what to lower."""

import gc
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from semisonic.config.run_config import RunConfig
from semisonic.contract import Rank
from semisonic.schema import UserError
from semisonic.training.memory_advice import advice

TEXTS = (
    "out of memory",  # torch's allocator, CUDA and HIP themselves, Triton, NCCL
    "cudaerrormemoryallocation",
    "cublas_status_alloc_failed",
    "cudnn_status_alloc_failed",
    "allocation_failed",  # cuDNN 9: ..._INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED, ..._HOST_ALLOCATION_FAILED
    "cuda allocation failed",  # DALI
    "failed to cuda calloc",  # NCCL
    "not enough memory",  # torch's allocator on the CPU
    "can't allocate memory",
    "cannot allocate memory",
    "std::bad_alloc",
)
"""Any of these in an error's text, in lower case, means that memory ran out."""


def out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out: the error itself says so, or one that it was raised from or while handling."""
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        if isinstance(cause, torch.OutOfMemoryError | MemoryError):
            return True
        # An OSError's ENOMEM has the text as well; a user's mistake that mentions memory is none itself.
        if isinstance(cause, RuntimeError | OSError) and any(text in str(cause).lower() for text in TEXTS):
            return True
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
    return False


def free_memory(device: torch.device) -> None:
    """Returns to the device what nothing holds any more. No exception may be alive: its frames hold tensors."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def total_memory(device: torch.device) -> int:
    """Bytes of memory of the device: of the card, or of the host."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[1]
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def readable_bytes(size: float) -> str:
    """Bytes as people write them: 79 GiB, 1.4 GiB, 310 MiB."""
    for unit, name in ((2**30, "GiB"), (2**20, "MiB")):
        if size >= unit:
            return f"{size / unit:.1f} {name}" if size < 10 * unit else f"{size / unit:.0f} {name}"
    return f"{size / 2**10:.0f} KiB"


@contextmanager
def explained(cfg: RunConfig, rank: Rank, device: torch.device, step: Callable[[], int]) -> Iterator[None]:
    """Turns running out of memory inside the `with` into a `UserError` with the rank, the step and what to change.

    step: the number of the step that a run is in.
    """
    try:
        yield
    except Exception as error:
        if not out_of_memory(error):
            raise
        batch = cfg.batch
        micro = f" in {batch.micro} micro-batches" if batch.micro > 1 else ""
        memory, unlabeled = readable_bytes(total_memory(device)), cfg.unlabeled_sizes.of(step())
        explanation = UserError(
            f"batch.labeled: rank {rank.rank} of {rank.world_size} ran out of memory ({memory} in all) in step "
            f"{step():,}, of {batch.labeled} labeled + {unlabeled} unlabeled images over all "
            f"ranks{micro}. The last checkpoint stands: to go on from it, {advice(cfg, begun=True)}; to begin anew, "
            f"{advice(cfg)}. Cause: {first_line(error)}"
        )
        explanation.everywhere = True  # the others do not know
        raise explanation from error


def first_line(error: BaseException) -> str:
    """The first line of an error's text, or its kind where it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
