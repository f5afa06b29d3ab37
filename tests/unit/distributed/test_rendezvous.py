"""Ranks meeting in a store that remembers earlier starts, and launchers that did not do what they were asked for."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
import torch
from torch.distributed import TCPStore

from semisonic.distributed import rendezvous
from semisonic.distributed.rendezvous import _meet, check_agents, check_launcher, join
from semisonic.schema import Stopped, UserError


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


def test_ranks_do_not_wait_for_a_launcher_that_is_dead(monkeypatch: pytest.MonkeyPatch):
    """Nor is a rank's own store one of a launcher's, which may come late."""
    server = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    port, slept = server.port, []
    monkeypatch.setattr(rendezvous.time, "sleep", slept.append)
    variables = {"RANK": 0, "WORLD_SIZE": 2, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    for name, value in (variables | {"TORCHELASTIC_USE_AGENT_STORE": "True"}).items():
        monkeypatch.setenv(name, str(value))
    check_agents()
    server.set("still", "there")
    assert not slept and server.get("still") == b"there"
    del server
    with pytest.raises(Stopped, match=f"^stopped by the death of its launcher, which served 127.0.0.1:{port}, before"):
        join("gloo", 10)
    assert slept == list(rendezvous.REFUSED)
    monkeypatch.setenv("TORCHELASTIC_USE_AGENT_STORE", "False")
    check_agents()


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
    for name, value in {"RANK": 0, "LOCAL_RANK": 0, "WORLD_SIZE": 4, "LOCAL_WORLD_SIZE": 4}.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    check_launcher("cpu")
    with pytest.raises(UserError, match="started 4 ranks on this node, which has 2 GPUs"):
        check_launcher("cuda")
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    with pytest.raises(UserError, match="asks for FSDP"):
        check_launcher("cpu")
