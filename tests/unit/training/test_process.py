"""How a process multiplies, and whether its kernels are deterministic: the switches of torch that a run sets."""

import ast
import os
import subprocess
import sys
import warnings
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch

from semisonic.config.command_line import resolve
from semisonic.schema import UserError
from semisonic.training.process import environment, optimizer_share, set_arithmetic, start
from tests.support.processes import ROOT

FIELDS = ["--no-baseline", "--device", "cpu", "--log.trackers", "none"]
SWITCHES = ("fp32_precision", "allow_tf32", "set_float32_matmul_precision")


def precisions() -> dict[str, object]:
    """Every getter of TF32's switches, of both families; those of the first raise once the second has been written."""
    backends = torch.backends
    return {
        "products": torch.get_float32_matmul_precision(),
        "products allowed": backends.cuda.matmul.allow_tf32,
        "products, new": backends.cuda.matmul.fp32_precision,
        "convolutions allowed": backends.cudnn.allow_tf32,
        "convolutions, new": backends.cudnn.conv.fp32_precision,
        "recurrent, new": backends.cudnn.rnn.fp32_precision,
        "all of cuDNN, new": backends.cudnn.fp32_precision,
    }


def test_our_version_is_that_of_the_code_whatever_was_installed(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("semisonic.training.process.__version__", "9.8.7")
    here = SimpleNamespace(device=torch.device("cpu"), num_processes=1)
    assert environment(here)["versions"]["semisonic"] == "9.8.7"


def test_a_gpu_run_allows_tf32_and_every_getter_answers():
    set_arithmetic(on_gpu=True, deterministic=False)
    found = precisions()
    assert found["products"] == "high" and found["products allowed"] and found["convolutions allowed"]
    assert found["products, new"] == found["convolutions, new"] == "tf32"
    assert torch.backends.cudnn.benchmark


def test_ieee_convolutions_as_the_gpu_tests_ask_for_them_leave_every_getter_answering():
    set_arithmetic(on_gpu=True, deterministic=True)
    torch.backends.cudnn.allow_tf32 = False
    found = precisions()
    assert not found["convolutions allowed"] and found["convolutions, new"] != "tf32"
    assert not torch.backends.cudnn.benchmark


def test_mixed_families_are_what_raises():
    """Why one family is used: in a process of its own, which the other family breaks for good."""
    lines = [
        "import torch",
        'torch.set_float32_matmul_precision("high")',
        'torch.backends.cudnn.conv.fp32_precision = "ieee"',
        "torch.backends.cudnn.allow_tf32",
    ]
    done = subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, timeout=100)
    if done.returncode == 0:
        pytest.skip("this torch lets the two families be mixed")
    assert "RuntimeError" in done.stderr and "mix" in done.stderr


def writes(path: Path) -> list[str]:
    """The switches of TF32 that a file's code sets."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        targets = node.targets if isinstance(node, ast.Assign) else []
        found += [target.attr for target in targets if isinstance(target, ast.Attribute) and target.attr in SWITCHES]
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in SWITCHES:
            found.append(node.func.attr)
    return found


def test_the_project_writes_one_family_of_switches():
    folders = ("engine", "kernels", "launch", "benchmarks", "tests")
    found = {name for folder in folders for path in (ROOT / folder).rglob("*.py") for name in writes(path)}
    assert found == {"set_float32_matmul_precision", "allow_tf32"}


# Deterministic kernels.


def inductor() -> ModuleType:
    from torch._inductor import config

    if not hasattr(config, "deterministic"):
        pytest.skip("this torch's Inductor has no deterministic mode")
    return config


@pytest.fixture
def kernels_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A torch whose `use_deterministic_algorithms` leaves Inductor as it is; newer ones set it too."""

    def use(mode: bool) -> None:
        torch._C._set_deterministic_algorithms(mode, warn_only=False)

    monkeypatch.setattr(torch, "use_deterministic_algorithms", use)


def test_a_deterministic_run_has_inductor_measure_no_kernels(kernels_alone: None):
    config = inductor()
    start(resolve(FIELDS)[1])
    assert not config.deterministic and not torch.are_deterministic_algorithms_enabled()
    start(resolve([*FIELDS, "--deterministic"])[1])
    assert config.deterministic and torch.are_deterministic_algorithms_enabled()


def test_the_next_test_has_the_default_again():
    """After the one above: `process_wide_settings` has put it back."""
    assert not inductor().deterministic and not torch.are_deterministic_algorithms_enabled()
    assert torch.get_float32_matmul_precision() == "highest" and torch.backends.cudnn.allow_tf32
    precisions()


def test_a_torch_without_that_mode_is_told_of(kernels_alone: None, monkeypatch: pytest.MonkeyPatch):
    import torch._inductor as package

    monkeypatch.setattr(package, "config", ModuleType("torch._inductor.config"))
    with pytest.warns(UserWarning, match=r"no torch._inductor.config.deterministic.*TORCHINDUCTOR_CACHE_DIR"):
        set_arithmetic(on_gpu=False, deterministic=True)


def test_names_of_collectives_that_torch_has_replaced_are_not_told_to_users(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    from torch.distributed import _functional_collectives as collectives

    for name in ("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR"):  # `start` sets them
        monkeypatch.setenv(name, str(tmp_path))
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        start(resolve(FIELDS)[1])
        warnings.warn(f"`{collectives.__name__}.all_gather_tensor` is deprecated.", FutureWarning, stacklevel=1)
    assert not [str(warning.message) for warning in told if warning.category is FutureWarning]


def test_compiled_code_is_kept_where_nobody_else_can_write(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    for name in ("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR"):
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    start(resolve(FIELDS)[1])
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == f"{tmp_path}/semisonic/compiled/inductor"
    assert os.environ["TRITON_CACHE_DIR"].startswith(f"{tmp_path}/semisonic/compiled/")
    (tmp_path / "semisonic" / "compiled").chmod(0o707)
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "")
    with pytest.raises(UserError, match=f"others can write {tmp_path}/semisonic/compiled, .*; chmod go-w {tmp_path}/"):
        start(resolve(FIELDS)[1])


@pytest.mark.parametrize(
    ("zero", "share"),
    [
        (None, 1.0),
        ({}, 1.0),
        ({"stage": 2}, 0.25),
        ({"stage": 2, "offload_optimizer": {"device": "cpu"}}, 0.0),
        ({"stage": 1, "offload_optimizer": {"device": "none"}}, 0.25),
    ],
)
def test_zero_spreads_the_optimizer_s_state(zero: dict | None, share: float):
    plugin = None if zero is None else SimpleNamespace(deepspeed_config={"zero_optimization": zero})
    accelerator = SimpleNamespace(state=SimpleNamespace(deepspeed_plugin=plugin), num_processes=4)
    assert optimizer_share(accelerator) == share
