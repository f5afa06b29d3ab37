"""Tensors in files that safetensors reads."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from semisonic.checkpoint.tensor_files import DTYPES, write_tensors


def test_tensors_of_every_type_and_stride_are_read_by_safetensors(tmp_path: Path):
    tensors = {str(dtype): torch.arange(6).reshape(2, 3).to(dtype) for dtype in DTYPES}
    image = torch.randn(2, 3, 5, 4)
    tensors |= {
        "scalar": torch.tensor(3), "empty": torch.empty(0, 4), "last": image.to(memory_format=torch.channels_last),
        "expanded": torch.ones(1, 3).expand(4, 3), "part": image[:, 1:2, ::2], "parameter": torch.nn.Parameter(image),
        "ä\n": torch.ones(1, dtype=torch.uint8),
    }  # fmt: skip
    write_tensors(tmp_path / "own", tensors)
    found = load_file(tmp_path / "own")
    assert found.keys() == tensors.keys()
    for name, value in tensors.items():
        assert found[name].dtype == value.dtype and found[name].shape == value.shape
        assert torch.equal(found[name].to(torch.complex64), value.to(torch.complex64)), name


def test_a_type_that_the_format_has_not_is_refused(tmp_path: Path):
    with pytest.raises(TypeError, match="complex128"):
        write_tensors(tmp_path / "x", {"a": torch.zeros(1, dtype=torch.complex128)})
