"""A step whose loss or weights were not finite, taken again: is the mathematics at fault, or the device?

A step is a function of the state before it, its number and its batch, and all of these can be had again: from the
latest good checkpoint, or from how the run began, the steps up to the bad one are repeated. Then the bad step is taken
twice from one state. Where it is not finite and the same both times, bit for bit, so is the mathematics; where it is
finite, or comes out in two ways, something else than the program is at work. The state and the batches stay in
`replay/step-N` of the run's folder, a checkpoint with `batch-RANK.safetensors` beside it, for `semisonic replay`.
"""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor

from semisonic.algorithms.base import Algorithm
from semisonic.checkpoint import format as checkpoints
from semisonic.checkpoint.atomic_files import writing
from semisonic.checkpoint.tensor_files import write_tensors
from semisonic.contract import Batch, Samples
from semisonic.distributed.consistency import Diverged, checksums
from semisonic.distributed.failures import format_ranks
from semisonic.distributed.heartbeat import Phase
from semisonic.schema import UserError
from semisonic.training.process import on_main
from semisonic.training.step import TrainingStep
from semisonic.training.trainer import Trainer

FOLDER = "replay"
"""In a run's folder: the steps that are kept."""


class Observed(NamedTuple):
    """What a step came to on this rank; its tensors are on the CPU."""

    finite: bool
    """Whether its loss and the weights after it are, and with fp16 its gradients, where no scale explains them."""
    loss: Tensor
    terms: dict[str, Tensor]
    """What the algorithm reports beside its loss."""
    gradients: dict[str, Tensor]
    """Of every parameter that has one, over the ranks, before they are clipped."""
    state: dict[str, Tensor]
    """Of the algorithm, after the step."""

    def same(self, other: "Observed") -> bool:
        """Whether both are equal bit for bit, what is not finite included."""
        mine, others = ([part.loss, *part.gradients.values(), *part.state.values()] for part in (self, other))
        return len(mine) == len(others) and torch.equal(checksums(mine), checksums(others))


def observe(step: TrainingStep, batch: Batch) -> Observed:
    """Takes a step and looks at it; waits for the device."""
    step.first_bad_step.fill_(-1)
    with gradients_of(step) as gradients:
        output = step(batch)
    parameters = [parameter.isfinite().all() for parameter in step.algorithm.parameters()]
    finite = bool(torch.stack(parameters).all()) and int(step.first_bad_step) < 0
    terms, state = output.metrics, step.algorithm.state_dict()
    return Observed(finite, _host(output.loss), _all_host(terms), gradients, _all_host(state))


@contextmanager
def gradients_of(step: TrainingStep) -> Iterator[dict[str, Tensor]]:
    """Fills what it yields, while steps are taken inside: every parameter's gradient by its name, on the CPU."""
    found: dict[str, Tensor] = {}

    def watch(engine: Any) -> None:
        take = engine.optimizer_step

        def watched() -> None:
            scale = engine.scaler.get_scale()
            found.update({name: _host(p.grad) / scale for p, name in engine.trained.items() if p.grad is not None})
            take()

        engine.optimizer_step = watched

    for engine in step.engines.values():
        watch(engine)
    try:
        yield found
    finally:
        for engine in step.engines.values():
            del engine.optimizer_step


def _host(tensor: Tensor) -> Tensor:
    return tensor.detach().cpu().clone()


def _all_host(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: _host(tensor) for name, tensor in tensors.items()}


# A batch as a flat file.


def flat_batch(batch: Batch) -> dict[str, Tensor]:
    """The tensors of a batch on the CPU, by their places in it: `x/weak`, `y`, `streams/NAME/views/VIEW`."""

    def walk(value: Any, path: str) -> Iterator[tuple[str, Tensor]]:
        if isinstance(value, Tensor):
            yield path.removeprefix("/"), _host(value)
            return
        entries = value._asdict() if hasattr(value, "_asdict") else value
        for name, entry in entries.items():
            yield from walk(entry, f"{path}/{name}")

    whole = batch._asdict()
    del whole["part"]  # of a micro-batch alone
    return dict(walk(whole, ""))


def read_batch(tensors: dict[str, Tensor]) -> Batch:
    """The reverse of `flat_batch`."""
    nested: dict[str, Any] = {}
    for path, tensor in tensors.items():
        *groups, leaf = path.split("/")
        place = nested
        for group in groups:
            place = place.setdefault(group, {})
        images = tensor.ndim == 4 and tensor.dtype == torch.uint8
        place[leaf] = tensor.contiguous(memory_format=torch.channels_last) if images else tensor
    whole = {name: nested.get(name, {}) for name in Batch._fields if name != "part"}
    own = {name: Samples(**{part: entry.get(part, {}) for part in Samples._fields})
           for name, entry in whole["streams"].items()}  # fmt: skip
    return Batch(**(whole | {"streams": own}))


# The replay.


@dataclass(frozen=True)
class Replayed:
    """How a step came out when it was taken twice more."""

    step: int
    finite: bool
    """Both times, on all ranks."""
    unequal: list[int]
    """Ranks on which it was not the same both times."""
    lost: str | None
    """Why it could not be kept."""


class GaveUp(Exception):
    """The step was not reached again, for the reason given."""


def explained(
    error: Diverged, trainer: Trainer, begin: Callable[[], Algorithm], stop: Callable[[], str | None],
    say: Callable[[str], None],
) -> Diverged:  # fmt: skip
    """The error with a line on what two replays of its step show. The trainer is of no other use afterwards.

    begin: the algorithm as it was before the first step. All ranks must call it.
    """
    try:
        found = replay(error.step, trainer, begin, stop, say)
    except torch.OutOfMemoryError:
        why = "its device has too little memory for it"
    except (GaveUp, UserError) as reason:  # such as a checkpoint that cannot be read; the divergence stays the error
        why = "; ".join(str(reason).splitlines())
    else:
        return Diverged([*error.messages, verdict(found, trainer)], found.step)
    return Diverged([*error.messages, f"its step was not replayed: {why}"], error.step)


def verdict(found: Replayed, trainer: Trainer) -> str:
    cfg = trainer.cfg
    exact = trainer.device.type == "cpu" or cfg.deterministic
    begin = f"step {found.step} was replayed twice from its state"
    if found.finite:
        fault = f"{begin} and was finite: the device was at fault, not the mathematics; have it checked"
    elif not found.unequal:
        fault = f"{begin} and was not finite, the same both times: the mathematics is at fault, not the device"
    elif exact:
        fault = (
            f"{begin} and came out in two ways on {format_ranks(found.unequal)}: the device is at fault, not the "
            "mathematics; have it checked"
        )
    else:
        fault = (
            f"{begin} and was not finite both times, but not the same bits, as kernels may differ without "
            "--deterministic: most likely the mathematics is at fault, not the device"
        )
    if found.lost:
        return f"{fault}. It is not kept: {found.lost}"
    return f"{fault}. Where it begins: semisonic replay {trainer.run_folder}"


def replay(
    bad: int, trainer: Trainer, begin: Callable[[], Algorithm], stop: Callable[[], str | None],
    say: Callable[[str], None],
) -> Replayed:  # fmt: skip
    """Repeats the run up to step `bad` and takes that step twice, or the one before it where that spoils the weights.

    Keeps the state before it and its batches. Raises GaveUp where that step cannot be reached.
    """
    cfg, step = trainer.cfg, trainer.training_step
    if cfg.execution.zero_stage:
        raise GaveUp("DeepSpeed keeps its state in parts; without it, steps are")
    step.replay_no_graphs()
    latest = on_main(trainer.accelerator, lambda: checkpoints.latest(trainer.run_folder / "checkpoints"))
    if latest:
        go_back(trainer, checkpoints.load_checkpoint(latest))
    else:
        start_over(trainer, begin())
    where = latest.name if latest else "the beginning"
    say(f"Not finite at step {bad}: replaying {bad - step.number + 1} steps from {where}, the last of them twice")
    trainer.vote.begin(step.number)
    with trainer.loader() as loader:
        while step.number < bad - 1:
            step(next(loader))
            after_step(trainer, stop)
        if earlier := [number for number in _of_ranks(trainer, int(step.first_bad_step)) if number >= 0]:
            raise GaveUp(f"this time step {min(earlier)} before it was not finite; have the device checked")
        while True:
            batch, before = next(loader), snapshot(trainer)
            first = observe(step, batch)
            finite = all(_of_ranks(trainer, first.finite))
            if step.number > bad or not finite:
                break
            after_step(trainer, stop)
    go_back(trainer, before)
    second = observe(step, batch)
    finite = finite and all(_of_ranks(trainer, second.finite))
    unequal = [rank for rank, same in enumerate(_of_ranks(trainer, first.same(second))) if not same]
    try:
        keep(trainer, before, batch)
        lost = None
    except UserError as error:  # of the file system: what was found is told all the same
        lost = str(error)
    return Replayed(before.state["step"], finite, unequal, lost)


def after_step(trainer: Trainer, stop: Callable[[], str | None]) -> None:
    """What a step's end asks for: a sign of life, the evaluation that a method reads, and whether to stop."""
    trainer.activity.enter(Phase.STEP, trainer.step)
    cfg = trainer.cfg
    if trainer.step % cfg.eval.every == 0 and cfg.algorithm_class.reads_held_out(cfg.algorithm):
        trainer.algorithm.held_out_counts.copy_(torch.tensor(trainer.evaluate("ema", "held_out").counts))
    if reason := trainer.agree(stop()):
        raise GaveUp(f"stopped by {reason}")


def _of_ranks(trainer: Trainer, value: int) -> list[int]:
    """What every rank says."""
    if trainer.host_group is None:
        return [value]
    said = torch.zeros(trainer.rank.world_size, dtype=torch.int64)
    said[trainer.rank.rank] = value
    dist.all_reduce(said, group=trainer.host_group)
    return said.tolist()


def snapshot(trainer: Trainer) -> checkpoints.Checkpoint:
    """The state of this moment on the CPU, on every rank."""
    optimizer = {
        f"{role}/{name}": _host(value)
        for role, engine in trainer.training_step.engines.items()
        for name, value in engine.state()
    }
    state = copy.deepcopy(trainer.description()) | {"info": asdict(trainer.algorithm.info)}
    return checkpoints.Checkpoint(_all_host(trainer.algorithm.state_dict()), optimizer, state, trainer.cfg.dump())


def go_back(trainer: Trainer, checkpoint: checkpoints.Checkpoint) -> None:
    for engine in trainer.training_step.engines.values():
        engine.optimizer.state.clear()
    trainer.restore(checkpoint)
    trainer.training_step.first_bad_step.fill_(-1)


def start_over(trainer: Trainer, algorithm: Algorithm) -> None:
    step = trainer.training_step
    trainer.algorithm.load_state_dict(algorithm.state_dict())
    for engine in step.engines.values():
        engine.optimizer.state.clear()
        enabled = engine.scaler.is_enabled()
        engine.scaler.load_state_dict(torch.amp.GradScaler(trainer.device.type, enabled=enabled).state_dict())
    step.number = 0
    step.first_bad_step.fill_(-1)
    trainer.history = []


def batch_file(folder: Path, rank: int) -> Path:
    return folder / f"batch-{rank}.safetensors"


def keep(trainer: Trainer, before: checkpoints.Checkpoint, batch: Batch) -> None:
    """Writes the state before a step, which rank 0 holds, and every rank's batch; one step is kept of a run."""
    folder, number = trainer.run_folder / FOLDER, before.state["step"]

    def write() -> Path:
        trainer.checkpoint_writer.check()
        with writing(folder):
            return checkpoints.save(folder, number, before, keep=1)

    final = on_main(trainer.accelerator, write)
    with writing(folder):
        write_tensors(batch_file(final, trainer.rank.rank), flat_batch(batch))
