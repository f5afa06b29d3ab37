"""The forms in which kernels are launched: none is forgotten, and each is the launcher's own call."""

import ast

import torch

from aot.triton_launches import FORMS, launches_of
from tests.support.processes import ROOT


def test_every_kernel_that_is_launched_has_a_form():
    launched = set()
    for path in (ROOT / "kernels").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            # KERNEL[grid](...)
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Subscript)
                and isinstance(node.func.value, ast.Name)
            ):
                launched.add(f"{path.stem}.{node.func.value.id}")
    launched = {name for name in launched if name.endswith("_kernel")}
    assert len(launched) > 3 and launched == {launch.name for form in FORMS for launch in launches_of(form)}


def test_a_launch_is_the_launcher_s_own():
    first, second = launches_of("augment without hole")
    images, _, operations, *_ = first.arguments
    assert first.grid == (2,) and images.dtype == torch.uint8 and operations.dtype == torch.int32
    assert first.options == {
        "LEVELS": 2, "HOLES": False, "PILLOW": False, "EXTENDED": False,
        "num_warps": 8, "maxnreg": 128, "enable_fp_fusion": False,
    }  # fmt: skip
    assert [launch.arguments[7] for launch in (first, second)] == [0, 1]  # level
