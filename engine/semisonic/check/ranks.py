"""One process and two of the same global batch solve the same problem, in float64: losses, parameters, buffers.

What differs is a statistic of a rank's own images: it is right in one process, where no other test can find it. Dropout
shows besides where a forward's rows are not those of the global batch.

    python -m semisonic.check.ranks FOLDER FIELDS        # one rank; writes FOLDER/WORLD-RANK.pt
"""

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import semisonic_kernels
from semisonic.check.properties import Failed, require
from semisonic.config.command_line import resolve
from semisonic.config.run_config import RunConfig
from semisonic.data.sets.registry import load_data_set
from semisonic.distributed.processes import end_with
from semisonic.training.build import build_algorithm, draw_split
from semisonic.training.process import start
from semisonic.training.trainer import Trainer

PARENT = "SEMISONIC_CHECK_PROCESS"
"""The variable that names the process with which the trainings end, a rank's of torchrun, too."""
STEPS = 6
TOLERANCE = 1e-10
"""Of losses, relative."""
SLACK = 10
"""How much more of it gradients may add up to in a step; their sums are of other orders."""
CAUSE = (
    "a statistic of a rank's own images? Give its tensors to update through observed, which gathers them over the "
    "ranks; random numbers of the loss's own? Ask for them in Views.draws; or streams in one tensor? Tell its rows"
)


def train(cfg: RunConfig) -> dict[str, Any]:
    """Losses (means over the ranks) of the first steps, and the state after them, of this rank."""
    accelerator = start(cfg)
    data = load_data_set(cfg.data)
    split = draw_split(cfg, data)
    torch.manual_seed(0)
    algorithm = build_algorithm(cfg, data, split).double()
    trainer = Trainer(cfg, algorithm, data, split, accelerator)
    loader = trainer.loader()
    losses = []
    for _ in range(STEPS):
        loss = trainer.training_step(next(loader)).loss.detach().double()
        losses.append(trainer.accelerator.reduce(loss, reduction="mean").item())
    kinds = {name: "parameter" for name, _ in trainer.algorithm.named_parameters()}
    state = {name: value.clone() for name, value in trainer.algorithm.state_dict().items()}
    return {"losses": losses, "state": state, "kinds": {name: kinds.get(name, "buffer") for name in state}}


@dataclass
class Started:
    """The processes of one and of two ranks, under way."""

    folder: Path
    processes: dict[int, subprocess.Popen[bytes]]

    def results(self) -> list[dict[str, Any]]:
        """Of one process, and of both ranks. Raises `Failed` where one of them ended with an error."""
        for world, process in self.processes.items():
            if process.wait():
                text = (self.folder / f"{world}.log").read_text(errors="replace")
                ranks = "one process" if world == 1 else f"{world} ranks"
                raise Failed(f"{ranks} ended with exit code {process.returncode}: {_last_error(text)}")
        return [torch.load(self.folder / f"{part}.pt") for part in ("1-0", "2-0", "2-1")]


@contextmanager
def running(folder: Path, fields: Sequence[str]) -> Iterator[Started]:
    """Both trainings in processes of their own, of which none is left at the end; the folder is for what they write."""
    paths = [str(Path(module.__file__ or "").parents[1]) for module in (sys.modules["semisonic"], semisonic_kernels)]
    given = os.environ.get("PYTHONPATH")
    env = os.environ | {
        "OMP_NUM_THREADS": "1",
        PARENT: str(os.getpid()),
        "PYTHONPATH": os.pathsep.join([*dict.fromkeys(paths), *([given] if given else [])]),
    }
    started = Started(folder, {})
    try:
        for world in (1, 2):
            launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={world}"] if world > 1 else []
            command = [sys.executable, *launcher, "-m", __spec__.name, str(folder), *fields]
            with (folder / f"{world}.log").open("wb") as log:
                started.processes[world] = subprocess.Popen(command, env=env, stdout=log, stderr=log)
        yield started
    finally:
        for process in started.processes.values():
            process.terminate()  # torchrun ends its workers, too
            process.wait()


def ranks_equal_one_process(one: dict[str, Any], first: dict[str, Any], second: dict[str, Any]) -> str:
    """What was compared. Raises `Failed` at the first difference of one process and the two ranks of a run.

    All three are results of `train`.
    """
    for name, value in first["state"].items():
        same = torch.equal(value, second["state"][name])
        require(same, f"{first['kinds'][name]} {name} differs between the ranks; {CAUSE}")
    off = [(first["kinds"][name], name, how) for name, value in one["state"].items()
           if (how := difference(value, first["state"][name])) > SLACK * TOLERANCE]  # fmt: skip
    # A buffer that is wrong moves the loss, and then all parameters: it is what to name.
    off.sort(key=lambda item: (item[0] != "buffer" or item[1].startswith(("ema.", "network.")), -item[2]))
    wrong = [step for step, pair in enumerate(zip(one["losses"], first["losses"], strict=True), start=1)
             if difference(*map(torch.tensor, pair)) > TOLERANCE]  # fmt: skip
    if off or wrong:
        parts = [f"{kind} {name} differs by {how:.0e} of its size" for kind, name, how in off[:1]]
        parts += [f"the loss differs from step {wrong[0]} on"] if wrong else []
        raise Failed(f"after {STEPS} steps on two ranks {' and '.join(parts)} from one process's; {CAUSE}")
    return f"{STEPS} losses and {len(one['state'])} tensors equal to {TOLERANCE:.0e}"


def difference(one: Tensor, two: Tensor) -> float:
    """Largest difference relative to the largest value; 0 for what is equal bit for bit."""
    if torch.equal(one, two):
        return 0.0
    one, two = one.double(), two.double()
    return float((one - two).abs().max() / one.abs().max().clamp(min=1e-30))


def _last_error(text: str) -> str:
    """The line of a process's output that says what was wrong."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if "Error:" in line or line.startswith("error:")]
    return (errors or lines or ["it wrote nothing"])[0]


def main(argv: Sequence[str]) -> None:
    if PARENT in os.environ:
        end_with(int(os.environ[PARENT]))
    folder, cfg = Path(argv[0]), resolve(argv[1:])[1]
    result = train(cfg)
    torch.save(result, folder / f"{os.environ.get('WORLD_SIZE', '1')}-{os.environ.get('RANK', '0')}.pt")
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1:])
