"""Tensors as safetensors files, written piece by piece."""

import struct
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from semisonic.checkpoint.atomic_files import FileRecord, write_file
from semisonic.text import dump_json

DTYPES = {
    torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.bool: "BOOL",
    torch.int64: "I64", torch.int32: "I32", torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8",
    torch.uint16: "U16", torch.uint32: "U32", torch.uint64: "U64", torch.complex64: "C64",
    torch.float8_e4m3fn: "F8_E4M3", torch.float8_e5m2: "F8_E5M2",
}  # fmt: skip
"""The names that safetensors has for types."""


def write_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str] | None = None) -> FileRecord:
    """Writes CPU tensors of any strides as a safetensors file, piece by piece: no second copy of them is held.

    metadata: text that the file's header holds beside them, which programs that only want the tensors pass over.
    Other threads go on meanwhile. Raises `OSError`, and `TypeError` for a type that the format has not.
    """
    if odd := sorted({str(tensor.dtype) for tensor in tensors.values() if tensor.dtype not in DTYPES}):
        raise TypeError(f"{path.name} cannot hold tensors of {', '.join(odd)}")
    # Large types first, as the format's own writer does, so that all are aligned.
    order = sorted(tensors, key=lambda name: (-tensors[name].itemsize, name))
    header: dict[str, object] = {} if metadata is None else {"__metadata__": metadata}
    begin = 0
    for name in order:
        tensor = tensors[name]
        end = begin + tensor.numel() * tensor.itemsize
        header[name] = {"dtype": DTYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [begin, end]}
        begin = end
    text = dump_json(header).encode()
    text += b" " * (-len(text) % 8)

    def parts() -> Iterator[bytes | memoryview]:
        yield struct.pack("<Q", len(text)) + text
        for name in order:
            flat = tensors[name].detach().contiguous().reshape(-1)
            if flat.numel():
                yield flat.view(torch.uint8).numpy().data

    return write_file(path, parts())
