"""The store of the heartbeats: where it listens, and what it takes for a message of this run.

Torch's store has no passwords: whoever reaches its port can read, write and delete. So this one listens where ranks are
alone, and an entry counts only with the seal of its key and text, by a token that the ranks of this run have agreed on.
"""

import hashlib
import hmac
import os
import secrets
import socket
import warnings
from collections.abc import Iterable
from datetime import timedelta
from ipaddress import ip_address
from typing import Any

import torch.distributed as dist

LOOPBACK = "127.0.0.1"
UNSET = "none"
"""What an entry holds until a rank sets it."""
SEAL = hashlib.sha256().digest_size * 2
"""Characters of a seal, with which each entry begins."""


class SealedStore:
    """Entries of this run in a store; what others write there is not seen, and said once."""

    def __init__(self, store: dist.TCPStore, token: bytes):
        self._store, self._token = store, token
        self.foreign = 0
        """How often an entry was not of this run."""

    def set(self, key: str, text: str) -> None:
        self._store.set(key, self._sealed(key, text))

    def set_once(self, key: str, text: str) -> None:
        """Sets an entry that is `UNSET`: the first rank's stands."""
        new = self._sealed(key, text)
        held = self._store.compare_set(key, self._sealed(key, UNSET), new)
        if self._opened(key, held) in (None, UNSET):  # somebody else's; or removed, of which the store says this
            self._store.set(key, new)

    def read(self, keys: list[str]) -> dict[str, str]:
        """The entries of this run among those; never waits for one that is not there."""
        if not self._store.check(keys):
            keys = [key for key in keys if self._store.check([key])]
        values = self._store.multi_get(keys) if keys else []
        opened = {key: self._opened(key, value) for key, value in zip(keys, values, strict=True)}
        return {key: text for key, text in opened.items() if text is not None}

    def _sealed(self, key: str, text: str) -> str:
        return hmac.new(self._token, f"{key}\0{text}".encode(), hashlib.sha256).hexdigest() + text

    def _opened(self, key: str, value: bytes) -> str | None:
        """The text of an entry; None where it is not of this run."""
        text = value[SEAL:].decode(errors="replace")
        if hmac.compare_digest(self._sealed(key, text).encode(), value):
            return text
        if not self.foreign:
            where = f"port {self._store.port} of {self._store.host}"
            warnings.warn(f"somebody else writes to {where}, where the ranks watch each other: ignored", stacklevel=2)
        self.foreign += 1
        return None


def meet(timeout: timedelta, entries: Iterable[str]) -> SealedStore:
    """The store of this run, with `UNSET` under the entries. Rank 0 serves it; called by all ranks at the same time.

    timeout: of a request.
    """
    host = _common_address()
    told: list[Any] = [None] * 3
    served = None
    if dist.get_rank() == 0:
        store, where = _serve(host, timeout)
        token = secrets.token_bytes(32)
        served = SealedStore(store, token)
        for key in entries:
            served.set(key, UNSET)
        told = [where, store.port, token]
    dist.broadcast_object_list(told, src=0)
    where, port, token = told
    if served is not None:
        return served
    return SealedStore(dist.TCPStore(where, port, is_master=False, wait_for_workers=False, timeout=timeout), token)


def _serve(host: str | None, timeout: timedelta) -> tuple[dist.TCPStore, str]:
    """A store on the interface of an address, and the name by which ranks find it; on all interfaces for None, and
    where the address is not this host's own, as behind a service that forwards."""
    listening = None if host is None else _bound(host)
    if host is None or listening is None:
        name = os.environ.get("MASTER_ADDR", "localhost")
        return dist.TCPStore(name, 0, is_master=True, wait_for_workers=False, timeout=timeout), name
    port = listening.getsockname()[1]
    return dist.TCPStore(
        host, port, is_master=True, wait_for_workers=False, timeout=timeout, master_listen_fd=listening.detach()
    ), host  # fmt: skip


def _bound(address: str) -> socket.socket | None:
    """A socket at a free port of an address; None where this host does not have it."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.bind((address, 0))
    except OSError:
        bound.close()
        return None
    return bound


def _common_address() -> str | None:
    """The address by which all ranks find rank 0's host: the loopback's where all are on it, else the one that all who
    see another host's find under MASTER_ADDR; None where they find several, or different ones."""
    found, here = _addresses(os.environ.get("MASTER_ADDR", "localhost"))
    here = here or os.environ.get("LOCAL_WORLD_SIZE") == str(dist.get_world_size())
    said: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(said, (found, here))
    if all(here for _, here in said):
        return LOOPBACK
    addresses = set().union(*(found for found, _ in said))
    return addresses.pop() if len(addresses) == 1 else None


def _addresses(name: str) -> tuple[set[str], bool]:
    """Those of a host which others can use too, and whether it has only such as mean this host itself."""
    try:
        found = {str(entry[4][0]) for entry in socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)}
    except OSError:
        return set(), False
    others = {text for text in found if not (ip_address(text).is_loopback or ip_address(text).is_link_local)}
    return others, bool(found) and all(ip_address(text).is_loopback for text in found)
