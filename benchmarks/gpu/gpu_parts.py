"""What the first run on a GPU consists of: the commands, their order, and what each of them tells."""

import sys
from dataclasses import dataclass
from pathlib import Path

from run_parts import Part

AT_ONCE = {"machine": 1, "layers": None, "speed": 1, "tests": 1, "trials": 1}
"""The groups, in the order in which they run, and how many parts of each run at a time (None: as many as is asked for).
What is measured runs alone."""
GROUPS = {
    "layers": "the training command in variants that add one layer each, so that the first that fails names the layer",
    "speed": "the step alone with a trace of its kernels, the step with its data, and every kernel",
    "tests": "the tests that need a GPU, over six processes; what they found is in tests.xml as well",
    "trials": "further measurements: methods, precisions, large networks, parts of a batch, the data path",
}
DEFAULT = ("layers", "speed", "tests")

STEPS = ("--steps", "60", "--eval.every", "30", "--checkpoint.every", "30", "--log.every", "10")
RANK = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "LOCAL_WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": "29517"}  # fmt: skip
LIMIT = ("--timeout", "100", "--timeout-method", "thread", "--tb", "short", "-p", "no:cacheprovider")


@dataclass(frozen=True)
class Machine:
    """Where results go, and what the parts can count on."""

    out: Path
    """Of results; small."""
    work: Path
    """Of runs and compiler caches; thrown away."""
    card: str = "gpu"
    """Its name, as part of a file name."""
    dali: bool = True
    """Whether data can be loaded."""
    at_once: int = 6
    """Layers, and workers of the tests."""

    def result(self, name: str) -> str:
        """Where a part writes, with the card's name before the ending: `throughput.json` -> `throughput-CARD.json`."""
        stem, dot, ending = name.partition(".")
        return str(self.out / f"{stem}-{self.card}{dot}{ending}")


def plan(machine: Machine) -> list[Part]:
    """All parts, in the order of their groups. Without DALI, steps are measured without data; what loads any fails."""
    return [*_layers(machine), *_speed(machine), *_tests(machine), *_trials(machine)]


def facts_part(machine: Machine) -> Part:
    """Names what the machine has, in the file `facts.json`."""
    command = _python("benchmarks/gpu/machine.py", str(machine.out / "facts.json"))
    return Part("machine", "machine", command, 60, "the driver, torch, Triton and the packages are there")


def _python(*arguments: str) -> tuple[str, ...]:
    return (sys.executable, *arguments)


def _train(machine: Machine, name: str, tells: str, *fields: str, environment: dict[str, str] | None = None) -> Part:
    """The training command on the digits, with fields in place of the defaults of a run of a minute."""
    out = str(machine.work / "runs" / name)
    own = ("--device", "cuda", "--no-baseline", "--precision", "bf16", *STEPS, "--log.trackers", "none", "--out", out)
    return Part(name, "layers", _python("launch/train.py", *own, *fields), 120, tells, environment=environment or {})


def _layers(machine: Machine) -> list[Part]:
    eager = ("--compile", "off", "--replay", "off")
    return [
        _train(machine, "plain", "DALI on the GPU feeds eager torch", *eager, "--kernels", "reference"),
        _train(machine, "kernels", "and so do the Triton kernels: augmentation, SGD with EMA", *eager),
        _train(machine, "replay", "the eager step is recorded as a CUDA graph", "--compile", "off", "--replay", "step"),
        _train(machine, "compiled", "Inductor compiles the step", "--compile", "whole", "--replay", "off"),
        _train(machine, "default", "all of it together, as a run is by default"),
        Part(
            "data", "layers", _python("benchmarks/gpu/check_data.py"), 120,
            "DALI's batches on the GPU are those on the CPU, also while the device is behind the host",
        ),
        _train(machine, "ctaugment", "learned strengths come back to the host", "--algorithm.strong", "ctaugment"),
        _train(machine, "adamw", "AdamW, clipping, micro-batches", "--optim", "adamw", "--optim.clip", "1.0",
               "--batch.micro", "2"),
        _train(machine, "mpl", "two networks in one graph", "--algorithm", "mpl", "--algorithm.wait", "1", "--replay",
               "step"),
        _train(machine, "ddp", "DDP over NCCL with a replayed backward", "--replay", "backward", environment=RANK),
        _train(machine, "dali-operations", "DALI's own operations", "--compile", "off", "--data.operations", "dali"),
        Part(
            "resume", "layers", _python("-m", "pytest", "tests/gpu/test_resume.py", "-n", "2", *LIMIT), 240,
            "a deterministic run that was cut goes on bit for bit without its compiler's caches",
        ),
    ]  # fmt: skip


def _throughput(machine: Machine, name: str, group: str, seconds: float, least: float, tells: str, *more: str) -> Part:
    data = () if machine.dali or "--no-data" in more else ("--no-data",)
    out = ("--out", machine.result(f"throughput-{name}.json"))
    return Part(name, group, _python("benchmarks/throughput.py", *more, *data, *out), seconds, tells, least)


def _speed(machine: Machine) -> list[Part]:
    trace = machine.result("trace.json.gz")
    return [
        _throughput(machine, "step", "speed", 150, 40, "how fast the step alone is, and which kernels it spends",
                    "--precision", "bf16", "--no-conventional", "--no-data", "--rounds", "5", "--seconds", "1",
                    "--profile", trace),
        _throughput(machine, "end-to-end", "speed", 120, 40, "whether the data keep up with the step", "--precision",
                    "bf16", "--no-conventional", "--rounds", "3", "--seconds", "1"),
        Part("kernel-speed", "speed", _python("benchmarks/kernels.py", "--rounds", "3", "--seconds", "0.1", "--out",
             machine.result("kernels.json")), 60, "every kernel against its reference", 20),
    ]  # fmt: skip


def _tests(machine: Machine) -> list[Part]:
    # What resumes has run among the layers. Without DALI, files that import it are errors, and the others still run.
    where = ("tests", "--deselect", "tests/gpu/test_resume.py", "--continue-on-collection-errors")
    more = (
        "-n",
        str(machine.at_once),
        "--dist",
        "worksteal",
        "--durations",
        "15",
        "--junitxml",
        str(machine.out / "tests.xml"),
    )
    command = _python("-m", "pytest", "-m", "gpu", *where, *more, *LIMIT)
    return [Part("pytest", "tests", command, 240, "all that the layers do not touch", 60)]


def _trials(machine: Machine) -> list[Part]:
    bf16 = ("--precision", "bf16")
    brief = ("--rounds", "3", "--seconds", "1")
    scaling = ("benchmarks/scaling.py", *brief, *(() if machine.dali else ("--no-data",)))
    data = _python("benchmarks/data.py", "--out", machine.result("data.json"))
    zero = ("--deepspeed", "launch/deepspeed/zero2.json", "--out", machine.result("scaling-zero2.json"))
    networks = _python("benchmarks/backbones.py", "--model", "resnet50", "--out",
                       machine.result("backbones-resnet50.json"))  # fmt: skip
    return [
        _throughput(machine, "conventional", "trials", 270, 60, "the engine against a conventional loop", *bf16,
                    "--rounds", "5", "--seconds", "1.5", "--plot", machine.result("breakdown.png")),
        Part("data-speed", "trials", data, 270, "DALI by view, operation and batch size", 30),
        Part("scaling", "trials", _python(*scaling, "--out", machine.result("scaling.json")), 270,
             "the step on parts of its batch, and what larger clusters would make of it", 60),
        Part("scaling-zero2", "trials", _python(*scaling, *zero), 270, "the same under ZeRO-2", 60),
        _throughput(machine, "methods", "trials", 270, 120, "the step of every algorithm", "--algorithm", "all", *bf16,
                    "--rounds", "3", "--seconds", "0.5"),
        _throughput(machine, "weak-pass", "trials", 270, 60, "what a forward of their own for weak views brings",
                    "--weak-pass", *bf16, *brief),
        Part("backbones", "trials", networks, 270, "memory and time of ResNet-50, whole, by blocks, recomputed", 90),
        _throughput(machine, "eager", "trials", 270, 30, "what compilation brings", *bf16, "--no-compile",
                    "--no-conventional", *brief),
        _throughput(machine, "fp32", "trials", 270, 60, "what bf16 brings", "--precision", "fp32", "--no-conventional",
                    *brief),
        _throughput(machine, "deterministic", "trials", 270, 60, "what determinism costs", *bf16, "--deterministic",
                    "--no-conventional", *brief),
    ]  # fmt: skip
