"""Run by the tests: trains with faults put in, each fault in ranks of its own, and writes how every rank ended.

    faulty.py FOLDER FAULT[:RANKS]... -- FIELDS

The ranks are forked from one process that has imported everything, for the sake of time. FOLDER/FAULT is the run,
FOLDER/FAULT.json has (exit code, seconds from the fault to the end) of each rank, FOLDER/FAULT.N what rank N printed.
A fault strikes before step 7 of the last rank, or of rank 0 where its name says so.
"""

import json
import os
import signal
import socket
import sys
import threading
import time
from pathlib import Path

import sklearn.datasets  # noqa: F401
import torch

import semisonic.runs.run  # noqa: F401
from semisonic.algorithms.base import Algorithm
from semisonic.cli import main
from semisonic.contract import Batch, StepOutput
from semisonic.data.loading.loader import Loader
from semisonic.schema import UserError
from semisonic.training.step import TrainingStep

STEP, DEADLINE, TOGETHER = 7, 240, 3


def strike(step: TrainingStep, fault: str) -> None:
    Path(f"{step.cfg.run_folder}.struck").write_text(str(time.time()))
    if fault == "raise":
        raise ValueError("this is a fault")
    if fault == "runtime":
        raise RuntimeError("this is no collective's")
    if fault == "mistake":
        raise UserError("data.root: this is a mistake")
    if fault == "buffer":
        next(iter(step.algorithm.averaged_parameters().values())).mul_(1 + 1e-6)
    if fault == "image":
        for path in (step.cfg.run_folder.parent / "images" / "train").rglob("*.png"):
            path.write_bytes(path.read_bytes()[:-40])
    if fault.startswith(("stop", "kill")):
        time.sleep(2)  # for a sign of this step
        os.kill(os.getpid(), signal.SIGSTOP if fault.startswith("stop") else signal.SIGKILL)


def put_in(fault: str) -> None:
    call, loss, take = TrainingStep.__call__, Algorithm.forward, Loader.__next__
    taken = 0

    def faulty_step(self: TrainingStep, batch: Batch) -> StepOutput:
        if self.number == STEP:
            strike(self, fault)
        return call(self, batch)

    def faulty_loss(self: Algorithm, batch: Batch) -> StepOutput:
        output = loss(self, batch)
        return output._replace(loss=output.loss * torch.where(self.step == STEP, torch.nan, 1.0))

    def hanging_next(self: Loader) -> Batch:
        nonlocal taken
        taken += 1
        if taken > STEP:
            threading.Event().wait()
        return take(self)

    TrainingStep.__call__ = faulty_step  # type: ignore[method-assign]
    if fault == "nan":
        Algorithm.forward = faulty_loss  # type: ignore[method-assign]
    if fault == "hang":
        Loader.__next__ = hanging_next  # type: ignore[method-assign]


def become_rank(fault: str, rank: int, ranks: int, port: int, folder: Path, fields: list[str]) -> None:
    output = os.open(folder / f"{fault}.{rank}", os.O_CREAT | os.O_WRONLY)
    os.dup2(output, 1)
    os.dup2(output, 2)
    if ranks > 1:
        os.environ |= {
            "RANK": str(rank),
            "WORLD_SIZE": str(ranks),
            "LOCAL_RANK": str(rank),
            "LOCAL_WORLD_SIZE": str(ranks),
        }
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    if rank == (0 if fault.endswith("0") else ranks - 1):
        put_in(fault)
    if fault == "hang":
        fields = [*fields, "--health.progress", "15"]
    if fault == "image":
        fields = [
            *fields,
            "--data",
            "folder",
            "--data.root",
            str(folder / "images"),
            "--data.size",
            "16",
            "--data.labels",
            "6",
        ]
    sys.exit(main([*fields, "--out", str(folder / fault)]))


def start(fault: str, ranks: int, folder: Path, fields: list[str]) -> list[int]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    children = []
    for rank in range(ranks):
        children.append(os.fork())
        if children[-1] == 0:
            become_rank(fault, rank, ranks, port, folder, fields)
    return children


def collect(fault: str, children: list[int], folder: Path) -> None:
    """Waits for the ranks; one that was stopped is killed when the others have ended."""
    ended: dict[int, tuple[int, float]] = {}
    end = time.monotonic() + DEADLINE
    while len(ended) < len(children):
        done, status = 0, 0
        for child in [child for child in children if child not in ended]:
            done, status = os.waitpid(child, os.WNOHANG)
            if done:
                ended[child] = (os.waitstatus_to_exitcode(status), time.time())
        last = fault.startswith("stop") and len(ended) == len(children) - 1
        if last or time.monotonic() > end:
            for child in set(children) - ended.keys():
                os.kill(child, signal.SIGKILL)
        time.sleep(0.05)
    struck = folder / f"{fault}.struck"
    at = float(struck.read_text()) if struck.exists() else 0.0
    (folder / f"{fault}.json").write_text(json.dumps([(ended[c][0], ended[c][1] - at) for c in children]))


def run_all(folder: Path, faults: list[str], fields: list[str]) -> None:
    waiting = [(name, int(ranks or 2)) for name, _, ranks in (fault.partition(":") for fault in faults)]
    running: list[threading.Thread] = []
    while waiting or running:
        running = [thread for thread in running if thread.is_alive()]
        if waiting and len(running) < TOGETHER:
            name, ranks = waiting.pop(0)
            children = start(name, ranks, folder, fields)
            running.append(threading.Thread(target=collect, args=(name, children, folder)))
            running[-1].start()
        time.sleep(0.05)


if __name__ == "__main__":
    at = sys.argv.index("--")
    run_all(Path(sys.argv[1]), sys.argv[2:at], sys.argv[at + 1 :])
