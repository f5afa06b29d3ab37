"""Ranks meeting in a store that remembers earlier starts, and launchers that did not do what they were asked for."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
import torch
from torch.distributed import TCPStore

from semisonic.distributed.rendezvous import _meet, check_launcher
from semisonic.schema import UserError


def test_ranks_meet_whatever_the_store_remembers():
    server = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)

    def meet(rank: int, seconds: float = 20) -> str:
        store = TCPStore("127.0.0.1", server.port, is_master=False)
        return _meet(store, rank, 3, timedelta(seconds=seconds), "failed: ")

    with ThreadPoolExecutor(3) as threads:
        with pytest.raises(UserError, match="failed: rank 0 did not come"):
            meet(1, 0.1)
        first = list(threads.map(meet, (2, 1, 0)))
        assert len(set(first)) == 1
        with pytest.raises(UserError, match="failed: 1 of 3 came; missing: rank 1, 2"):
            meet(0, 0.1)
        # Ranks 1 and 2 find the name of a start that never came together, before rank 0 gives the new one.
        early = [threads.submit(meet, rank) for rank in (1, 2)]
        last = [meet(0), *(rank.result() for rank in early)]
        assert len(set(last)) == 1 and last[0] not in first


def test_a_launcher_that_did_something_else(monkeypatch: pytest.MonkeyPatch):
    for name in ("RANK", "MASTER_ADDR", "MASTER_PORT", "ACCELERATE_USE_CPU"):
        monkeypatch.delenv(name, raising=False)
    check_launcher("cpu")
    monkeypatch.setenv("ACCELERATE_USE_CPU", "False")  # one process by `accelerate launch`
    check_launcher("cpu")
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", "29500")
    with pytest.raises(UserError, match="asked for several processes and started one"):
        check_launcher("cpu")
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    check_launcher("cpu")
    with pytest.raises(UserError, match="started 4 ranks on this node, which has 2 GPUs"):
        check_launcher("cuda")
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    with pytest.raises(UserError, match="asks for FSDP"):
        check_launcher("cpu")
