"""The commands of docs/use/clusters/, as written there, with ranks on the CPU in place of GPUs."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from accelerate.commands.config.config_args import ClusterConfig

from semisonic.distributed import deepspeed as deepspeed_config
from tests.support.processes import ROOT, Start, free_port

FILES = sorted((ROOT / "launch" / "accelerate").glob("*.yaml"))
FIELDS = ["--device", "cpu", "--threads", "1", "--batch.labeled", "8", "--batch.unlabeled-ratio", "2", "--model", "wrn-10-1",
          "--steps", "3", "--eval.every", "3", "--no-baseline"]  # fmt: skip


def run(start: Start, command: str, *fields: object, **variables: str) -> subprocess.Popen:
    program, *rest = shlex.split(command)
    path = Path(sys.executable) if program == "python" else Path(sys.executable).with_name(program)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MASTER_", "ACCELERATE_"))}
    return start(path, *rest, *fields, env=environment | variables)


def trained(start: Start, *commands: str, out: Path, ranks: int) -> None:
    """Runs commands that are one job, a few steps of a small net, and checks that it was one of so many ranks."""
    jobs = [run(start, command, *FIELDS, "--out", out) for command in commands]
    printed = [job.communicate(timeout=300)[0] for job in jobs]
    assert [job.returncode for job in jobs] == [0] * len(jobs), "\n".join(text[-3000:] for text in printed)
    assert json.loads((out / "summary.json").read_text())["world_size"] == ranks


def accelerate(name: str, *options: object) -> str:
    return " ".join(
        map(str, ["accelerate launch --config_file", f"launch/accelerate/{name}.yaml", *options, "launch/train.py"])
    )


long = pytest.mark.long


@pytest.mark.parametrize(
    ("name", "ranks"),
    [
        pytest.param("single-gpu", 1, marks=long),
        ("multi-gpu", 2),
        pytest.param("zero1", 2, marks=long),
        pytest.param("zero2", 2, marks=pytest.mark.slow),
        pytest.param("zero3", 2, marks=long),
        pytest.param("zero1-offload", 2, marks=long),
        pytest.param("zero2-offload", 2, marks=long),
        pytest.param("zero3-offload", 2, marks=long),
    ],
)
def test_accelerate_on_one_node(tmp_path: Path, start: Start, name: str, ranks: int):
    options = [] if ranks == 1 else ["--num_processes", ranks, "--main_process_port", 0]
    trained(start, accelerate(name, *options), out=tmp_path / "run", ranks=ranks)


@long
@pytest.mark.parametrize("name", ["multi-node", "zero2"])
def test_accelerate_on_two_nodes(tmp_path: Path, start: Start, name: str):
    port = free_port()
    options = [
        "--num_machines 2 --num_processes 2 --main_process_ip 127.0.0.1 --main_process_port",
        port,
        "--machine_rank",
    ]
    trained(start, *(accelerate(name, *options, rank) for rank in (0, 1)), out=tmp_path / "run", ranks=2)


@long
def test_torchrun_on_one_node(tmp_path: Path, start: Start):
    trained(start, "torchrun --standalone --nproc_per_node 2 launch/train.py", out=tmp_path / "run", ranks=2)


@pytest.mark.long
def test_torchrun_on_two_nodes(tmp_path: Path, start: Start):
    nodes = f"--nnodes 2 --nproc_per_node 1 --rdzv-backend c10d --rdzv-id 1 --rdzv-endpoint localhost:{free_port()}"
    trained(start, *[f"torchrun {nodes} launch/train.py"] * 2, out=tmp_path / "run", ranks=2)


@long
def test_torchrun_with_deepspeed(tmp_path: Path, start: Start):
    command = (
        "torchrun --standalone --nproc_per_node 2 launch/train.py --parallel.deepspeed launch/deepspeed/zero2.json"
    )
    trained(start, command, out=tmp_path / "run", ranks=2)


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("accelerate launch --cpu --num_processes 2 launch/train.py", "asked for several processes and started one"),
        pytest.param(
            "accelerate launch --use_deepspeed --zero_stage 2 --num_processes 2 --main_process_port 0 launch/train.py",
            "names no deepspeed_config_file", marks=long,
        ),
    ],
)  # fmt: skip
def test_a_launcher_that_does_something_else(tmp_path: Path, start: Start, command: str, message: str):
    job = run(start, command, *FIELDS, "--out", tmp_path / "run")
    printed = job.communicate(timeout=200)[0]
    assert job.returncode == 1 and message in printed, printed[-2000:]
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("rank", "message"),
    [
        ("0", "2 ranks did not come together within 0.05 min (MASTER_ADDR=127.0.0.1, MASTER_PORT={port}): 1 of 2 came; missing: rank 1"),
        pytest.param("1", "(MASTER_ADDR=127.0.0.1, MASTER_PORT={port}): nothing answers there", marks=long),
    ],
)  # fmt: skip
def test_ranks_that_do_not_come(tmp_path: Path, start: Start, rank: str, message: str):
    port = str(free_port())
    job = run(start, "python launch/train.py", *FIELDS, "--parallel.join-minutes", 0.05, "--out", tmp_path / "run", RANK=rank,
              LOCAL_RANK=rank, WORLD_SIZE="2", MASTER_ADDR="127.0.0.1", MASTER_PORT=port)  # fmt: skip
    printed = job.communicate(timeout=200)[0]
    assert job.returncode == 2 and message.format(port=port) in printed.splitlines()[-1], printed[-2000:]


@pytest.mark.slow
def test_a_rank_that_fails_alone_before_the_run_begins_leaves_no_folder(tmp_path: Path, start: Start):
    """Rank 0 writes nothing before all have come so far."""
    world = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    both = [run(start, "python launch/train.py", *FIELDS, "--out", tmp_path / "run", RANK=rank, LOCAL_RANK=rank,
                SEMISONIC_FAULT="begin.kill:1@1", **world) for rank in "01"]  # fmt: skip
    printed = [job.communicate(timeout=200)[0] for job in both]
    assert both[1].returncode == -signal.SIGKILL and "fault: begin.kill:1 strikes" in printed[1]
    assert both[0].returncode and not (tmp_path / "run").exists(), printed[0][-2000:]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_files_leave_accelerate_nothing_to_guess(file: Path):
    config, written = ClusterConfig.from_yaml_file(str(file)), yaml.safe_load(file.read_text())
    assert config.mixed_precision == "no" and config.dynamo_config == {"dynamo_backend": "NO"} and not config.use_cpu
    assert {"num_processes", "num_machines", "machine_rank", "gpu_ids", "debug"} <= written.keys()
    assert (
        config.num_processes == 1
        or {"main_process_ip", "main_process_port", "rdzv_backend", "same_network"} <= written.keys()
    )
    if file.stem.startswith("zero"):
        path = Path(config.deepspeed_config["deepspeed_config_file"])
        assert path == Path("launch", "deepspeed", f"{file.stem}.json")
        content = json.loads((ROOT / path).read_text())
        assert deepspeed_config.deepspeed_problems(content, path, None, 1) == [] and deepspeed_config.zero_stage(
            content
        ) == int(file.stem[4])
        assert deepspeed_config.offloads_optimizer(content) == ("offload" in file.stem)


RUN_BY = {
    "accelerate launch --config_file launch/accelerate/single-gpu.yaml launch/train.py": "test_launching.test_accelerate_on_one_node",
    "accelerate launch --config_file launch/accelerate/multi-gpu.yaml --num_processes N launch/train.py": "test_launching.test_accelerate_on_one_node",
    "accelerate launch --config_file launch/accelerate/zero2.yaml --num_processes N launch/train.py": "test_launching.test_accelerate_on_one_node",
    "accelerate launch --config_file launch/accelerate/multi-node.yaml --num_machines N --num_processes N --main_process_ip HOST"
    " --main_process_port N --machine_rank N launch/train.py": "test_launching.test_accelerate_on_two_nodes",
    "torchrun --standalone --nproc_per_node N launch/train.py --device cpu": "test_launching.test_torchrun_on_one_node",
    "torchrun --standalone --nproc_per_node N launch/train.py": "test_launching.test_torchrun_on_one_node",
    "torchrun --standalone --nproc_per_node N launch/train.py --parallel.deepspeed launch/deepspeed/zero2.json": "test_launching.test_torchrun_with_deepspeed",
    "torchrun --nnodes N --nproc_per_node N --rdzv-backend c10d --rdzv-id N --rdzv-endpoint HOST:N launch/train.py": "test_launching.test_torchrun_on_two_nodes",
    "torchrun --standalone --nproc_per_node N --max-restarts N launch/train.py": "test_elastic.test_a_killed_rank_is_started_again_and_leaves_no_trace",
    "sbatch --nodes N --gpus-per-node N launch/slurm/train.sbatch runs/first --data cifar10": "test_slurm.test_preempted_queued_again_resumed_finished",
}
"""The pages' commands, whatever their numbers and addresses, and the test that runs each."""
BLOCKS = re.compile(r"^```bash\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def test_every_command_of_the_pages_has_its_test():
    pages = (ROOT / "docs" / "use" / "clusters").glob("*.md")
    blocks = [block.replace("\\\n", " ") for page in pages for block in BLOCKS.findall(page.read_text())]
    commands = [" ".join(shlex.split(line, comments=True)) for block in blocks for line in block.splitlines()]
    found = {re.sub(r"\bNODE\d+\b", "HOST", re.sub(r"(?<=[ :])\d+\b", "N", command)) for command in commands if command}
    assert found == RUN_BY.keys()
    for name in RUN_BY.values():
        file, _, function = name.partition(".")
        assert f"\ndef {function}(" in Path(__file__).with_name(f"{file}.py").read_text(), name
