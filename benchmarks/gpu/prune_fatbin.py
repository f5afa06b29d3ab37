"""Leaves, in a copy of a shared library, the GPU code of one compute capability, for a machine with one kind of card.

    python benchmarks/gpu/prune_fatbin.py IN.so OUT.so 90

CUDA keeps the code for all cards in fat binaries: a header, then one entry after the other, each machine code ("elf")
or an assembly text ("ptx") for one capability. Every fat binary keeps its place in the file and holds fewer entries;
what becomes free is zeros, which compress to nothing. One without machine code for that capability is left as it is.
"""

import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

MAGIC = struct.pack("<I", 0xBA55ED50)
HEADER = struct.Struct("<4sHHQ")
"""Magic number, version, size of this header, bytes of the entries after it."""
CAPABILITY_AT = 28
"""In the header of an entry, which begins with its kind, a version, its own size and the bytes after it."""
KINDS = (1, 2, 4, 8, 16, 32, 64)
ELF = 2


@dataclass(frozen=True)
class Entry:
    kind: int
    capability: int
    begin: int
    end: int


def fat_binaries(data: bytes | bytearray) -> Iterator[tuple[int, int]]:
    """(begin of the entries, end) of every fat binary; the size of their bytes stands 8 bytes before the begin."""
    at = 0
    while (at := data.find(MAGIC, at)) >= 0:
        if at + HEADER.size > len(data):
            return
        _, version, header, size = HEADER.unpack_from(data, at)
        if version == 1 and header == HEADER.size and at + header + size <= len(data):
            yield at + header, at + header + size
            at += header + size
        else:  # the number by chance
            at += len(MAGIC)


def entries(data: bytes | bytearray, begin: int, end: int) -> list[Entry]:
    """The entries of a fat binary, up to the first thing that is none."""
    found, at = [], begin
    while at + 64 <= end:
        kind, _, header, size = struct.unpack_from("<HHIQ", data, at)
        if not 64 <= header <= 256 or kind not in KINDS or at + header + size > end:
            break
        (capability,) = struct.unpack_from("<I", data, at + CAPABILITY_AT)
        found.append(Entry(kind, capability, at, at + header + size))
        at += header + size
    return found


def prune(data: bytearray, capability: int) -> int:
    """Prunes a library in place; returns how many bytes have become zeros."""
    freed = 0
    for begin, end in list(fat_binaries(data)):
        kept = [entry for entry in entries(data, begin, end) if (entry.kind, entry.capability) == (ELF, capability)]
        if not kept:
            continue
        body = b"".join(data[entry.begin : entry.end] for entry in kept)
        data[begin:end] = body + bytes(end - begin - len(body))
        struct.pack_into("<Q", data, begin - 8, len(body))
        freed += end - begin - len(body)
    return freed


def main(source: str, target: str, capability: str) -> None:
    data = bytearray(Path(source).read_bytes())
    freed = prune(data, int(capability))
    Path(target).write_bytes(data)
    print(f"{Path(source).name}: {freed / 2**20:.0f} of {len(data) / 2**20:.0f} MiB zeroed")


if __name__ == "__main__":
    main(*sys.argv[1:])
