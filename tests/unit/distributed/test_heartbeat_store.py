"""The store of the heartbeats listens where ranks are alone, and what others write there changes nothing."""

import json
import socket
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
import torch.distributed as dist

from semisonic.distributed import heartbeat, heartbeat_store
from semisonic.distributed.failures import failure_of
from semisonic.distributed.heartbeat import FAILURE_KEY, FIRST, REPORTED_KEY, FailureKind, HeartbeatClient
from semisonic.distributed.heartbeat_store import LOOPBACK, UNSET, SealedStore, _bound, _common_address, _serve, meet

PATIENCE = timedelta(seconds=20)
GONE = json.dumps(failure_of(FailureKind.LOST, {1: FIRST}, 20))


@pytest.fixture
def served() -> dist.TCPStore:
    return _serve(LOOPBACK, PATIENCE)[0]


def client_of(store: dist.TCPStore) -> dist.TCPStore:
    """Another connection: a rank's, or of somebody who has found the port."""
    return dist.TCPStore(LOOPBACK, store.port, is_master=False, wait_for_workers=False, timeout=PATIENCE)


@pytest.fixture
def ranks(served: dist.TCPStore, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[HeartbeatClient]]:
    """Two ranks of a run in this process, which watch each other."""
    stores = iter([SealedStore(served, b"token"), SealedStore(client_of(served), b"token")])
    numbers = iter([0, 1])

    def joined(timeout: timedelta, entries: list[str]) -> SealedStore:
        sealed = next(stores)
        for key in entries if sealed._store is served else ():
            sealed.set(key, UNSET)
        return sealed

    monkeypatch.setattr(heartbeat, "meet", joined)
    monkeypatch.setattr(dist, "get_rank", lambda: next(numbers))
    monkeypatch.setattr(dist, "get_world_size", lambda: 2)
    clients = [HeartbeatClient(lambda number: FIRST._replace(number=number), 0.02, 20) for _ in range(2)]
    yield clients
    for client in reversed(clients):
        client.leave()


def wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def exchanged(clients: list[HeartbeatClient], times: int = 3) -> None:
    """Waits until each of the ranks has exchanged so many messages more."""
    before = [client.exchanges for client in clients]
    wait_until(lambda: all(client.exchanges >= done + times for client, done in zip(clients, before, strict=True)))


@pytest.mark.filterwarnings("ignore:somebody else writes")
def test_a_message_without_the_token_does_not_end_a_run(ranks: list[HeartbeatClient], served: dist.TCPStore):
    stranger = client_of(served)
    exchanged(ranks)
    for text in (GONE, "0" * 64 + GONE, SealedStore(stranger, b"another")._sealed(FAILURE_KEY, GONE), "\xff"):
        stranger.set(FAILURE_KEY, text)
        stranger.set(REPORTED_KEY, "yes")
        stranger.set("0", json.dumps(FIRST._replace(number=10**9, left=True)))
        exchanged(ranks)
    stranger.delete_key(REPORTED_KEY)
    stranger.delete_key("1")
    exchanged(ranks)
    for client in ranks:
        assert client.failure is None and not client.reported and not client.disconnected
        assert client._store.foreign > 0
    assert not ranks[1].heartbeats[0].left and 0 < ranks[1].heartbeats[0].number < 10**9


@pytest.mark.filterwarnings("ignore:somebody else writes")
@pytest.mark.parametrize("spoilt", [None, GONE, ""], ids=["untouched", "foreign", "removed"])
def test_a_failure_of_a_rank_reaches_the_others(
    spoilt: str | None, ranks: list[HeartbeatClient], served: dist.TCPStore
):
    stranger = client_of(served)
    if spoilt == "":
        stranger.delete_key(FAILURE_KEY)
    elif spoilt is not None:
        stranger.set(FAILURE_KEY, spoilt)
    failure = failure_of(FailureKind.LOST, {1: FIRST}, 30)
    ranks[1].post(failure)
    wait_until(lambda: all(client.failure == failure for client in ranks))
    ranks[0].post(failure_of(FailureKind.LOST, {1: FIRST}, 40))
    exchanged(ranks)
    assert all(client.failure == failure for client in ranks)  # the first
    ranks[0].mark_reported()
    wait_until(lambda: ranks[1].closed)


def test_a_message_that_is_repeated_is_older_than_what_is_known(ranks: list[HeartbeatClient], served: dist.TCPStore):
    exchanged(ranks)
    stranger = client_of(served)
    early = stranger.get("0").decode()
    exchanged(ranks)
    number = ranks[1].heartbeats[0].number
    for _ in range(20):
        stranger.set("0", early)
        exchanged(ranks[1:], 1)
        assert ranks[1].heartbeats[0].number >= number


def test_it_is_said_once_that_somebody_else_writes(served: dist.TCPStore):
    sealed = SealedStore(served, b"token")
    sealed.set("0", "mine")
    assert sealed.read(["0", "1"]) == {"0": "mine"}
    client_of(served).set("0", "not mine")
    with pytest.warns(UserWarning, match=f"^somebody else writes to port {served.port} of {LOOPBACK}") as said:
        assert sealed.read(["0"]) == sealed.read(["0"]) == {}
    assert len(said) == 1 and sealed.foreign == 2


def test_a_seal_holds_for_one_entry(served: dist.TCPStore):
    sealed = SealedStore(served, b"token")
    assert sealed._opened("0", sealed._sealed("0", "text").encode()) == "text"
    with pytest.warns(UserWarning, match="somebody else"):
        assert sealed._opened("1", sealed._sealed("0", "text").encode()) is None


@pytest.fixture
def group(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], list[Any]]:
    """Ranks, of which this is the first, and all see what it sees, but for those given in the list."""
    others: list[Any] = []

    def gather(said: list[Any], mine: Any) -> None:
        said[:] = [mine, *others]

    def make(world_size: int) -> list[Any]:
        monkeypatch.setattr(dist, "get_rank", lambda: 0)
        monkeypatch.setattr(dist, "get_world_size", lambda: world_size)
        monkeypatch.setattr(dist, "all_gather_object", gather)
        monkeypatch.setattr(dist, "broadcast_object_list", lambda told, src: None)
        return others

    return make


def another_address() -> str:
    """That of this host in a network, which it may not have."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
        try:
            out.connect(("192.0.2.1", 9))  # sends nothing; no such host need be there
        except OSError:
            pytest.skip("this host has no network")
        return out.getsockname()[0]


def test_no_other_interface_reaches_the_store_of_a_job_on_one_host(
    group: Callable[[int], list[Any]], monkeypatch: pytest.MonkeyPatch
):
    group(2).append((set(), True))
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    monkeypatch.setenv("MASTER_ADDR", socket.gethostname())
    store = meet(PATIENCE, ["entry"])
    port = store._store.port
    socket.create_connection((LOOPBACK, port), timeout=20).close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((another_address(), port), timeout=20).close()
    assert store.read(["entry"]) == {"entry": UNSET}


@pytest.mark.parametrize(
    ("name", "others", "found"),
    [
        ("127.0.0.1", [(set(), True)], LOOPBACK),
        ("127.0.0.1", [({"192.0.2.7"}, False)], "192.0.2.7"),  # as /etc/hosts often has it on the host itself
        ("192.0.2.7", [({"192.0.2.7"}, False)], "192.0.2.7"),
        ("192.0.2.7", [({"192.0.2.7", "192.0.2.8"}, False)], None),
        ("192.0.2.7", [({"192.0.2.8"}, False)], None),
        ("127.0.0.1", [(set(), False)], None),
    ],
)
def test_ranks_agree_on_an_address(
    name: str,
    others: list[Any],
    found: str | None,
    group: Callable[[int], list[Any]],
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    monkeypatch.setenv("MASTER_ADDR", name)
    group(2).extend(others)
    assert _common_address() == found


def test_an_address_of_another_host_leaves_all_interfaces(monkeypatch: pytest.MonkeyPatch):
    assert _bound("192.0.2.7") is None
    monkeypatch.setenv("MASTER_ADDR", "localhost")
    store, where = _serve("192.0.2.7", PATIENCE)
    assert where == "localhost"
    socket.create_connection((another_address(), store.port), timeout=20).close()
    assert heartbeat_store._addresses("localhost") == (set(), True)
