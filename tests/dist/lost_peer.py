"""Run by the tests: two ranks over gloo, one of which is killed; prints as JSON for each thing that the other then does
with it whether the error is taken for a peer's end.
"""

import json
import os
import signal
import socket

import torch
import torch.distributed as dist
from torch import nn

from semisonic.distributed.failures import may_be_a_peers


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def main(rank: int, port: int, other_port: int) -> None:
    """Rank 0 serves the store of the process group, rank 1 another one, and dies."""
    store = dist.TCPStore("127.0.0.1", port, is_master=rank == 0, wait_for_workers=False)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=2)
    lost_store = dist.TCPStore("127.0.0.1", other_port, is_master=rank == 1, wait_for_workers=False)
    net, x = nn.parallel.DistributedDataParallel(nn.Linear(4, 4)), torch.ones(4)
    uses = {
        "all_reduce": lambda: dist.all_reduce(x),
        "all_gather": lambda: dist.all_gather([torch.empty(4), torch.empty(4)], x),
        "objects": lambda: dist.broadcast_object_list([None], src=1),
        "barrier": lambda: dist.barrier(),
        "ddp": lambda: net(x).sum().backward(),
        "store": lambda: lost_store.set("a", "b"),
    }
    for use in uses.values():
        use()
    if rank == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    print(json.dumps({name: suspected(use) for name, use in uses.items()}), flush=True)


def suspected(use) -> bool:
    for _ in range(1000):  # a socket may take what is sent once more before it notices
        try:
            use()
        except Exception as error:
            return may_be_a_peers(error)
    return False


if __name__ == "__main__":
    ports = free_port(), free_port()
    if child := os.fork():
        main(0, *ports)
        os.waitpid(child, 0)
    else:
        main(1, *ports)
