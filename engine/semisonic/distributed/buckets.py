"""How large DDP's buckets of gradients are, so that the last one is small.

DDP fills buckets in the order in which a backward makes gradients, which is about that of the parameters from the last
to the first, and sends each as soon as it is full. All but the last travel while the backward goes on; the last is sent
when it has ended, and nothing hides it. The compiler cuts a graph where buckets end, for gradients of one graph are
there together, at its end.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch.distributed as dist

SMALL = 1 << 20
"""Bytes of a message whose time is its latency, more or less: torch's own choice for a bucket that is to leave soon."""
MORE = 8
"""Numbers of buckets that are tried, beyond the fewest."""


def filled(sizes: Sequence[int], cap: int) -> list[int]:
    """Bytes of DDP's buckets, in the order in which they are sent: each is closed once it has `cap` bytes.

    sizes: bytes of the trained parameters, in the module's order.
    """
    found = [0]
    for size in reversed(sizes):
        if found[-1] >= cap:
            found.append(0)
        found[-1] += size
    return found


def bucket_cap(sizes: Sequence[int], most: int) -> int:
    """Bytes from which on a bucket is closed, at most `most`, such that the last bucket is small with few buckets."""
    rest = sum(sizes) - SMALL
    if rest <= 0:
        return most
    fewest = -(-rest // most)
    caps = [-(-rest // count) for count in range(fewest, fewest + MORE)]

    def price(cap: int) -> tuple[int, int]:
        buckets = filled(sizes, cap)
        return max(buckets[-1], SMALL), len(buckets)

    return min(caps, key=price)


@contextmanager
def cut_at(cap: int) -> Iterator[None]:
    """Inside, the compiler cuts graphs at the end of DDP's first bucket, too: it takes that one to be torch's default.

    DDP itself has its first bucket as large as all others where their size is given.
    """
    name = "_DEFAULT_FIRST_BUCKET_BYTES"
    if not hasattr(dist, name):
        raise RuntimeError("this version of torch keeps the size of DDP's first bucket elsewhere: buckets.cut_at")
    before = getattr(dist, name)
    setattr(dist, name, cap)
    try:
        yield
    finally:
        setattr(dist, name, before)
