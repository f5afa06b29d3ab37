"""What a launcher has set up: mistakes in it, and the ranks coming together before anything is built."""

import os
from datetime import timedelta

import torch
from torch.distributed import DistError, DistNetworkError, DistStoreError, TCPStore

from semisonic.schema import UserError


class NotTogether(UserError):
    """Ranks that do not find each other. Shown by every rank that it happens to: rank 0 may not be there."""

    everywhere = True


def check_launcher(device: str) -> None:
    """Refuses what a launcher started, or half started, where it is not what was asked for. device: cuda or cpu."""
    flags = {
        name: os.environ.get(f"ACCELERATE_USE_{name}", "false").lower() == "true" for name in ("FSDP", "MEGATRON_LM")
    }
    for name in (name for name, on in flags.items() if on):
        raise UserError(f"accelerate's configuration asks for {name}; ranks train with DDP or DeepSpeed here")
    # For one process `accelerate launch` sets ACCELERATE_USE_CPU and no rank; an address only where it wanted several.
    env = os.environ
    if "RANK" not in env and "ACCELERATE_USE_CPU" in env and {"MASTER_ADDR", "MASTER_PORT"} <= env.keys():
        raise UserError(
            "accelerate launch was asked for several processes and started one (or MASTER_ADDR is set from outside); "
            "use --config_file launch/accelerate/multi-gpu.yaml --num_processes N, or --num_processes 1"
        )
    if device == "cuda" and (ranks := int(env.get("LOCAL_WORLD_SIZE", "1"))) > (gpus := torch.cuda.device_count()):
        raise UserError(
            f"the launcher started {ranks} ranks on this node, which has {gpus} GPUs; set num_processes of accelerate, "
            f"or --nproc_per_node of torchrun, to {gpus} a node"
        )


def job_store(timeout: timedelta) -> TCPStore | None:
    """The key-value store of torchrun's agents, which outlives their workers. None where there is no such store."""
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return None
    return TCPStore(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), is_master=False, timeout=timeout)


def meet(minutes: float) -> TCPStore | None:
    """Waits until all ranks that the launcher announced are here; None where it announced none.

    The store must be kept until the process group stands. Raises `NotTogether`, which says where it waited, and for
    whom.
    """
    if "RANK" not in os.environ:
        return None
    rank, world_size, timeout = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]), timedelta(minutes=minutes)
    where = f"MASTER_ADDR={os.environ.get('MASTER_ADDR')}, MASTER_PORT={os.environ.get('MASTER_PORT')}"
    failed = f"the process group of {world_size} ranks did not come together within {minutes:g} min ({where}): "
    came = f"semisonic/came/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}"
    try:
        store = job_store(timeout) or TCPStore(
            os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), world_size, is_master=rank == 0, timeout=timeout,
            wait_for_workers=False, multi_tenant=True,
        )  # fmt: skip
        store.set(f"{came}/{rank}", "here")
        if store.add(came, 1) >= world_size:
            store.set(f"{came}/all", "here")
    except KeyError as error:
        raise NotTogether(f"RANK is set without {error.args[0]}; start with torchrun or accelerate launch") from error
    except DistNetworkError as error:
        raise NotTogether(failed + _reason(str(error))) from error
    try:
        store.wait([f"{came}/all"], timeout)
    except DistStoreError as error:
        missing = [other for other in range(world_size) if not store.check([f"{came}/{other}"])]
        names = ", ".join(map(str, missing[:16])) + (", ..." if len(missing) > 16 else "")
        lost = NotTogether(f"{failed}{world_size - len(missing)} of {world_size} came; missing: rank {names}")
        lost.everywhere = rank == next(other for other in range(world_size) if other not in missing)
        raise lost from error
    except DistError as error:
        raise NotTogether(f"{failed}{_reason(str(error))}") from error
    return store


def _reason(message: str) -> str:
    """What torch says of a socket, shortened to what its reader can change."""
    if "EADDRINUSE" in message:
        return "another process uses the port; choose --master-port (torchrun) or --main_process_port (accelerate)"
    if "timed out" in message:
        return "nothing answers there; is that rank 0's node, does it run, and is the port open?"
    return message.splitlines()[0]
