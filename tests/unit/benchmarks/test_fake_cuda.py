"""A card that is not there is believed in by one process alone."""

from pathlib import Path

import pytest
import torch

from aot import fake_cuda
from tests.support.without_gpu import run_script

BELIEVED = """
import json, torch
from torch._subclasses import FakeTensorMode
from aot import fake_cuda
before = torch.cuda.is_available(), fake_cuda.installed()
fake_cuda.install()
mode = FakeTensorMode()
module = torch.nn.Sequential(torch.nn.Conv2d(4, 8, 3), torch.nn.BatchNorm2d(8)).to(memory_format=torch.channels_last)
module.shared = module[0].weight
strides = module[0].weight.stride()
fake_cuda.to_card(module, mode)
with mode:
    images = torch.empty(2, 4, 8, 8, device="cuda", memory_format=torch.channels_last)
    output = module(images)
try:
    fake_cuda.install()
    again = ""
except RuntimeError as error:
    again = str(error)
print(json.dumps({
    "before": before, "after": [torch.cuda.is_available(), fake_cuda.installed()],
    "name": torch.cuda.get_device_name(), "capability": torch.cuda.get_device_capability(),
    "shared": module.shared is module[0].weight, "kept": module[0].weight.stride() == strides,
    "trained": [type(p).__name__ + str(p.requires_grad) for p in module.parameters()], "device": str(output.device),
    "last": output.is_contiguous(memory_format=torch.channels_last), "again": again,
}))
"""


def test_a_process_believes_in_a_card_and_this_one_does_not(tmp_path: Path):
    before = torch.cuda.is_available(), torch.cuda.device_count(), torch._C._conv_determine_backend_memory_format
    found = run_script(BELIEVED, tmp_path)
    assert found["after"] == [True, True] and found["capability"] == [9, 0] and "H100" in found["name"]
    assert found["shared"] and found["kept"] and found["trained"] == ["ParameterTrue"] * 4
    assert found["device"].startswith("cuda") and found["last"], "convolutions keep channels_last, as cuDNN's do"
    assert "before" in found["again"]
    assert before == (
        torch.cuda.is_available(), torch.cuda.device_count(), torch._C._conv_determine_backend_memory_format
    )  # fmt: skip
    assert not fake_cuda.installed()


def test_what_a_version_of_torch_lacks_is_named():
    with pytest.raises(fake_cuda.Missing, match=rf"torch {torch.__version__.partition('+')[0]}.*cuda has no nonsense"):
        fake_cuda.replace(torch.cuda, nonsense=lambda: None)
    assert not hasattr(torch.cuda, "nonsense")
