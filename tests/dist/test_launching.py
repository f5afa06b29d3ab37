"""The commands of the README's section on launching, as written there, with ranks on the CPU in place of GPUs."""

import json
import os
import shlex
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from accelerate.commands.config.config_args import ClusterConfig

from semisonic import parallel
from tests.conftest import ROOT

FILES = sorted((ROOT / "launch" / "accelerate").glob("*.yaml"))
FIELDS = ["--device", "cpu", "--threads", "1", "--batch.labelled", "8", "--batch.unlabelled-ratio", "2", "--model", "wrn-10-1",
          "--steps", "3", "--eval.every", "3", "--no-baseline"]  # fmt: skip


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def start(command: str, *fields: object, **variables: str) -> subprocess.Popen:
    program, *rest = shlex.split(command)
    path = Path(sys.executable) if program == "python" else Path(sys.executable).with_name(program)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MASTER_", "ACCELERATE_"))}
    return subprocess.Popen(
        [str(path), *rest, *map(str, fields)], cwd=ROOT, env=environment | {"OMP_NUM_THREADS": "1"} | variables,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def trained(*commands: str, out: Path, ranks: int) -> None:
    """Runs commands that are one job, a few steps of a small net, and checks that it was one of so many ranks."""
    jobs = [start(command, *FIELDS, "--out", out) for command in commands]
    printed = [job.communicate(timeout=300)[0] for job in jobs]
    assert [job.returncode for job in jobs] == [0] * len(jobs), "\n".join(text[-3000:] for text in printed)
    assert json.loads((out / "summary.json").read_text())["world_size"] == ranks


def accelerate(name: str, *options: object) -> str:
    return " ".join(map(str, ["accelerate launch --config_file", f"launch/accelerate/{name}.yaml", *options, "launch/train.py"]))


full = pytest.mark.full


@pytest.mark.parametrize(
    ("name", "ranks"),
    [
        pytest.param("single-gpu", 1, marks=full),
        pytest.param("multi-gpu", 2, marks=full),
        pytest.param("zero1", 2, marks=full),
        ("zero2", 2),
        pytest.param("zero3", 2, marks=full),
        pytest.param("zero1-offload", 2, marks=full),
        pytest.param("zero2-offload", 2, marks=full),
        pytest.param("zero3-offload", 2, marks=full),
    ],
)
def test_accelerate_on_one_node(tmp_path: Path, name: str, ranks: int):
    options = [] if ranks == 1 else ["--num_processes", ranks, "--main_process_port", 0]
    trained(accelerate(name, *options), out=tmp_path / "run", ranks=ranks)


@full
@pytest.mark.parametrize("name", ["multi-node", "zero2"])
def test_accelerate_on_two_nodes(tmp_path: Path, name: str):
    port = free_port()
    options = ["--num_machines 2 --num_processes 2 --main_process_ip 127.0.0.1 --main_process_port", port, "--machine_rank"]
    trained(*(accelerate(name, *options, rank) for rank in (0, 1)), out=tmp_path / "run", ranks=2)


@full
def test_torchrun_on_one_node(tmp_path: Path):
    trained("torchrun --standalone --nproc_per_node 2 launch/train.py", out=tmp_path / "run", ranks=2)


def test_torchrun_on_two_nodes(tmp_path: Path):
    nodes = f"--nnodes 2 --nproc_per_node 1 --rdzv-backend c10d --rdzv-id 1 --rdzv-endpoint localhost:{free_port()}"
    trained(*[f"torchrun {nodes} launch/train.py"] * 2, out=tmp_path / "run", ranks=2)


@full
def test_torchrun_with_deepspeed(tmp_path: Path):
    command = "torchrun --standalone --nproc_per_node 2 launch/train.py --parallel.deepspeed launch/deepspeed/zero2.json"
    trained(command, out=tmp_path / "run", ranks=2)


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("accelerate launch --cpu --num_processes 2 launch/train.py", "asked for several processes and started one"),
        pytest.param(
            "accelerate launch --use_deepspeed --zero_stage 2 --num_processes 2 --main_process_port 0 launch/train.py",
            "names no deepspeed_config_file", marks=full,
        ),
    ],
)  # fmt: skip
def test_a_launcher_that_does_something_else(tmp_path: Path, command: str, message: str):
    job = start(command, *FIELDS, "--out", tmp_path / "run")
    printed = job.communicate(timeout=200)[0]
    assert job.returncode == 1 and message in printed, printed[-2000:]
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("rank", "message"),
    [
        ("0", "2 ranks did not come together within 0.05 min (MASTER_ADDR=127.0.0.1, MASTER_PORT={port}): 1 of 2 came; missing: rank 1"),
        pytest.param("1", "(MASTER_ADDR=127.0.0.1, MASTER_PORT={port}): nothing answers there", marks=full),
    ],
)  # fmt: skip
def test_ranks_that_do_not_come(tmp_path: Path, rank: str, message: str):
    port = str(free_port())
    job = start("python launch/train.py", *FIELDS, "--parallel.join-minutes", 0.05, "--out", tmp_path / "run", RANK=rank,
                LOCAL_RANK=rank, WORLD_SIZE="2", MASTER_ADDR="127.0.0.1", MASTER_PORT=port)  # fmt: skip
    printed = job.communicate(timeout=200)[0]
    assert job.returncode == 2 and message.format(port=port) in printed.splitlines()[-1], printed[-2000:]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_files_leave_accelerate_nothing_to_guess(file: Path):
    config, written = ClusterConfig.from_yaml_file(str(file)), yaml.safe_load(file.read_text())
    assert config.mixed_precision == "no" and config.dynamo_config == {"dynamo_backend": "NO"} and not config.use_cpu
    assert {"num_processes", "num_machines", "machine_rank", "gpu_ids", "debug"} <= written.keys()
    assert config.num_processes == 1 or {"main_process_ip", "main_process_port", "rdzv_backend", "same_network"} <= written.keys()
    if file.stem.startswith("zero"):
        path = Path(config.deepspeed_config["deepspeed_config_file"])
        assert path == Path("launch", "deepspeed", f"{file.stem}.json")
        content = json.loads((ROOT / path).read_text())
        assert parallel.check(content, path, None, 1) == [] and parallel.zero_stage(content) == int(file.stem[4])
        assert parallel.offloads_optimizer(content) == ("offload" in file.stem)
