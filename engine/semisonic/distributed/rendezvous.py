"""What a launcher has set up: mistakes in it, and the ranks coming together before anything is built."""

import os
import socket
import time
from datetime import timedelta
from uuid import uuid4

import torch
import torch.distributed as dist
from torch.distributed import DistError, PrefixStore, TCPStore

from semisonic.distributed.variables import check_variables, local_world_size
from semisonic.schema import Stopped, UserError

ROUND = "semisonic/round"
REFUSED = (0.5, 1, 2, 0)
"""Seconds that follow each connection that is refused."""


_met: list[TCPStore] = []
"""Stores of this process. Rank 0 serves its own on, for one that is slower and meets the others a second time: it would
lose the connection."""


class NotTogether(UserError):
    """Ranks that do not find each other. Shown by every rank that it happens to: rank 0 may not be there."""

    everywhere = True


def check_launcher(device: str) -> None:
    """Refuses what a launcher started, or half started, where it is not what was asked for. device: cuda or cpu."""
    check_variables()
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
    if device == "cuda" and (ranks := local_world_size()) > (gpus := torch.cuda.device_count()):
        raise UserError(
            f"the launcher started {ranks} ranks on this node, which has {gpus} GPUs; set num_processes of accelerate, "
            f"or --nproc_per_node of torchrun, to {gpus} a node"
        )


def job_store(timeout: timedelta) -> TCPStore | None:
    """The key-value store of torchrun's agents, which outlives their workers. None where there is no such store."""
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return None
    return TCPStore(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), is_master=False, timeout=timeout)


def check_agents() -> None:
    """Raises `Stopped` where nobody serves the store of torchrun's agents any more.

    They make it before they start a worker, so the launcher has died, before this process could have noticed
    (`distributed.launcher`). A connection that is refused is tried again for a while: it may be the network's mistake.
    """
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return
    where = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    for wait in REFUSED:
        try:
            socket.create_connection(where, timeout=5).close()
        except ConnectionRefusedError:
            time.sleep(wait)
        except OSError:
            return  # nobody says no: `join` waits, and says for whom
        else:
            return
    raise Stopped(
        f"stopped by the death of its launcher, which served {where[0]}:{where[1]}, before anything was written"
    )


def join(backend: str, minutes: float, timeout: timedelta | None = None) -> None:
    """Makes the process group of the ranks that the launcher announced, unless it stands or there are none.

    timeout: that of its collectives; None for torch's. The group gets a name of its own in the store: agents keep their
    store over restarts, and with the addresses of workers that are gone, which torch would find there, gloo waits for
    them for ever. Raises `NotTogether`, which says where it waited, and for whom, and `Stopped` where the launcher is
    dead.
    """
    if "RANK" not in os.environ or dist.is_initialized():
        return
    rank, world_size, patience = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]), timedelta(minutes=minutes)
    where = f"MASTER_ADDR={os.environ.get('MASTER_ADDR')}, MASTER_PORT={os.environ.get('MASTER_PORT')}"
    failed = f"the process group of {world_size} ranks did not come together within {minutes:g} min ({where}): "
    try:
        check_agents()
        store = job_store(patience) or TCPStore(
            os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), world_size, is_master=rank == 0,
            timeout=patience, wait_for_workers=False, multi_tenant=True,
        )  # fmt: skip
        name = _meet(store, rank, world_size, patience, failed)
        _met[:] = [store]
    except KeyError as error:
        raise NotTogether(f"RANK is set without {error.args[0]}; start with torchrun or accelerate launch") from error
    except DistError as error:
        raise NotTogether(failed + _reason(str(error))) from error
    store.set_timeout(timeout or timedelta(minutes=30))  # torch's own for what it exchanges over the store from here on
    dist.init_process_group(backend, store=PrefixStore(name, store), rank=rank, world_size=world_size, timeout=timeout)


def _meet(store: TCPStore, rank: int, world_size: int, patience: timedelta, failed: str) -> str:
    """Has rank 0 name this start of the ranks, and waits until all know the name; returns it.

    What the store still holds of an earlier start cannot pass for this one: rank 0 hands every rank the number back
    that the rank has just drawn. The restart count would not do: each node's agent counts for itself.
    """
    mine, deadline = uuid4().hex, time.monotonic() + patience.total_seconds()
    if rank == 0:
        store.set(ROUND, mine)
    name, pause = None, 0.02
    while time.monotonic() < deadline:
        current = store.get(ROUND).decode() if store.check([ROUND]) else None
        if current and current != name:
            name = current
            store.set(f"{name}/came/{rank}", mine)
            if store.add(f"{name}/came", 1) >= world_size:
                store.set(f"{name}/all", mine)
        if name and rank == 0 and store.check([f"{name}/all"]):
            for other in range(world_size):
                store.set(f"{name}/knows/{other}", store.get(f"{name}/came/{other}").decode())
        if name and store.check([f"{name}/knows/{rank}"]) and store.get(f"{name}/knows/{rank}").decode() == mine:
            return name
        time.sleep(pause)
        pause = min(2 * pause, 1)  # hundreds of ranks ask one store
    if name is None:
        raise NotTogether(failed + "rank 0 did not come")
    missing = [str(other) for other in range(world_size) if not store.check([f"{name}/came/{other}"])]
    names = ", ".join(missing[:16]) + (", ..." if len(missing) > 16 else "")
    if not missing:
        raise NotTogether(failed + "rank 0 did not come back after a restart")
    raise UserError(f"{failed}{world_size - len(missing)} of {world_size} came; missing: rank {names}")


def _reason(message: str) -> str:
    """What torch says of a socket, shortened to what its reader can change."""
    if "EADDRINUSE" in message:
        return "another process uses the port; choose --master-port (torchrun) or --main_process_port (accelerate)"
    if "timed out" in message:
        return "nothing answers there; is that rank 0's node, does it run, and is the port open?"
    return message.splitlines()[0]
