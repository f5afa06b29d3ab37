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
before = torch.cuda.is_available()
fake_cuda.install()
mode = FakeTensorMode()
module = torch.nn.Sequential(torch.nn.Conv2d(4, 8, 3), torch.nn.BatchNorm2d(8)).to(memory_format=torch.channels_last)
module.shared = module[0].weight
strides = module[0].weight.stride()
fake_cuda.hollow(module, mode)
def function(images, weight):
    return torch.nn.functional.conv2d(images, weight) + torch.full((images.shape[0], 1, 1, 1), 0.5, device=torch.device("cpu"))
graph = torch.fx.symbolic_trace(function)
with mode, torch.no_grad():
    images = torch.empty(2, 4, 8, 8).to(memory_format=torch.channels_last)
    there = fake_cuda.to_card(graph, [images, module[0].weight])
output = [node for node in graph.graph.nodes if node.op == "call_function"][-1].meta["val"]
try:
    fake_cuda.install()
    again = ""
except RuntimeError as error:
    again = str(error)
print(json.dumps({
    "after": [torch.cuda.is_available(), fake_cuda.installed()], "before": before,
    "name": torch.cuda.get_device_name(), "capability": torch.cuda.get_device_capability(),
    "shared": module.shared is module[0].weight, "kept": module[0].weight.stride() == strides,
    "trained": [isinstance(p, torch.nn.Parameter) and p.requires_grad for p in module.parameters()],
    "devices": [str(value.device) for value in (*there, output)],
    "last": output.is_contiguous(memory_format=torch.channels_last), "again": again,
}))
"""


@pytest.mark.slow
def test_a_process_believes_in_a_card_and_this_one_does_not(tmp_path: Path):
    before = torch.cuda.is_available(), torch.cuda.device_count(), torch._C._conv_determine_backend_memory_format
    found = run_script(BELIEVED, tmp_path)
    assert found["after"] == [True, True] and found["capability"] == [9, 0] and "H100" in found["name"]
    assert found["shared"] and found["kept"] and found["trained"] == [True] * 4
    assert all(device.startswith("cuda") for device in found["devices"]), "a graph's constants move with its inputs"
    assert found["last"], "convolutions keep channels_last, as cuDNN's do"
    assert "before" in found["again"]
    assert before == (
        torch.cuda.is_available(), torch.cuda.device_count(), torch._C._conv_determine_backend_memory_format
    )  # fmt: skip
    assert not fake_cuda.installed()


def test_what_a_version_of_torch_lacks_is_named():
    with pytest.raises(fake_cuda.Missing, match=rf"torch {torch.__version__.partition('+')[0]}.*cuda has no nonsense"):
        fake_cuda.replace(torch.cuda, nonsense=lambda: None)
    assert not hasattr(torch.cuda, "nonsense")
