"""What every algorithm keeps, whatever it computes, each as a function that raises `Failed` where one does not.

`Failed` says what is broken, what that means for a run, and where: the metric, the buffer, the parameter.
"""

import copy
import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch._dynamo.testing import CompileCounterWithBackend

from semisonic.algorithms.base import Algorithm
from semisonic.check.tiny import LABELED, UNLABELED, Runner, Subject, batch_for, images
from semisonic.contract import Batch, StepOutput
from semisonic_kernels.fuse import use_kernels


class Failed(Exception):
    """An algorithm breaks what every one keeps."""


class Skipped(Exception):
    """There is nothing to check."""


def require(condition: object, message: str) -> None:
    if not condition:
        raise Failed(message)


def output_follows_the_contract(subject: Subject) -> None:
    """A scalar float32 loss, and metrics and observations that are detached."""
    algorithm = subject.make()
    output = Runner(algorithm).step(batch_for(algorithm))
    require(isinstance(output, StepOutput), f"loss must return a StepOutput, not {type(output).__name__}")
    loss = output.loss
    require(loss.ndim == 0, f"the loss must be a scalar; it has the shape {list(loss.shape)}")
    require(loss.dtype == torch.float32, f"the loss must be float32; it is {loss.dtype}, whose rounding ends training")
    wanted = {"loss_labeled", "labeled_accuracy"}
    wanted |= {"loss_unlabeled"} if algorithm.views(algorithm.cfg).unlabeled else set()
    missing = sorted(wanted - output.metrics.keys())
    require(not missing, f"metrics: {', '.join(missing)} missing, which console and reports show; see loss_metrics")
    for name, value in output.metrics.items():
        require(value.ndim <= 1, f"metrics: {name} has the shape {list(value.shape)}; give scalars or vectors")
        require(not value.requires_grad, f"metrics: {name} keeps its graph, and with it the step's memory; detach it")
    for name, value in output.observed.items():
        require(not value.requires_grad, f"observed: {name} keeps its graph, and with it the step's memory; detach it")


def sees_only_its_views(subject: Subject) -> None:
    """Add-ons bring views and draws of their own; beside them the same losses come out, bit for bit."""
    alone, beside = subject.make(), subject.make()
    for seed in range(2):
        given = batch_for(alone, seed)
        more = {"first": images(UNLABELED, 90), **given.u, "zebra": images(UNLABELED, 91)}
        labeled = {"first": images(LABELED, 92), **given.x, "zebra": images(LABELED, 93)}
        full = given._replace(x=labeled, u=more, draws={"another": torch.rand(UNLABELED, 1), **given.draws})
        one, other = Runner(alone).step(given), Runner(beside).step(full)
        read = "; the loss must read its own by name, since add-ons have theirs in the same batch"
        require(torch.equal(one.loss, other.loss), f"other views in the batch change the loss{read}")
        name = first_difference(one.metrics, other.metrics)
        require(name is None, f"other views in the batch change the metric {name}{read}")
    name = first_difference(alone.state_dict(), beside.state_dict())
    require(name is None, f"other views in the batch change the state {name}{read}")


def loss_writes_no_state(subject: Subject) -> None:
    """Only one tracking forward moves BatchNorm's running statistics; the EMA has no forward that does."""
    algorithm = subject.make()
    before = copy.deepcopy(algorithm.state_dict())
    algorithm.train_step(batch_for(algorithm), Runner(algorithm, lr=0.0))
    moved = [name for name, value in algorithm.state_dict().items() if not torch.equal(value, before[name])]
    for name in moved:
        statistics = "running_" in name or name.endswith("num_batches_tracked")
        require(statistics, f"loss writes {name}; state is committed in update alone, from what all ranks observed")
        require(not name.startswith("ema."), f"loss moves {name}; forwards of the EMA must not track")
    for name, value in algorithm.named_buffers():
        if name.endswith("num_batches_tracked") and value != (not name.startswith("ema.")):
            raise Failed(f"{name} counts {int(value)} tracking forwards in a step; exactly one has track=True")


def every_parameter_gets_a_gradient(subject: Subject) -> None:
    """DDP waits for the gradient of every parameter."""
    algorithm = subject.make()
    run = Runner(algorithm)
    run.step(batch_for(algorithm))
    missing = sorted(dict(algorithm.named_parameters()).keys() - run.gradients.keys())
    require(not missing, f"no gradient reaches {', '.join(missing[:5])}; several ranks would wait for it forever")


def state_round_trips(subject: Subject) -> None:
    """All that is remembered is in the state dict."""
    one, other = subject.make(), subject.make()
    run = Runner(one)
    for seed in range(3):
        run.step(batch_for(one, seed))
    other.load_state_dict(one.state_dict())
    one.eval(), other.eval()
    batch = batch_for(one)
    losses = [algorithm.train_step(batch, Runner(algorithm)).loss for algorithm in (one, other)]
    require(
        torch.equal(*losses), "the state dict does not hold all that the loss depends on; make it registered buffers"
    )
    require(other.step == 3 and other.ema_updates == 3, "the state dict does not hold how many steps were taken")


def resumes_bit_for_bit(subject: Subject) -> None:
    """A run that was stopped goes on as if it had not been."""
    through, resumed = subject.make(), subject.make()
    run = under_way(through)
    torch.manual_seed(5)
    other = Runner(resumed)
    other.load(copy.deepcopy(run.state()))
    for seed in (3, 4, 5):
        one, two = run.step(batch_for(through, seed)), other.step(batch_for(resumed, seed))
        require(
            torch.equal(one.loss, two.loss), f"step {seed - 2} after a resume has another loss; see what is no buffer"
        )
    name = first_difference(through.state_dict(), resumed.state_dict())
    require(name is None, f"{name} differs three steps after a resume")


def micro_batches_mean_the_batch(subject: Subject) -> None:
    """Where BatchNorm is frozen, and the method allows micro-batches at all."""
    if not subject.kind.takes_micro_batches(subject.make().cfg):
        raise Skipped("couples all samples of a batch, and refuses micro-batches")
    algorithms = [subject.make(block=1).double() for _ in (1, 2)]
    outputs, gradients = [], []
    for micro, algorithm in enumerate(algorithms, start=1):
        under_way(algorithm)
        algorithm.eval()
        run = Runner(algorithm, micro=micro)
        outputs.append(run.step(batch_for(algorithm, 7), train=False).loss)
        gradients.append(run.gradients)
    say = "; average over samples, or set micro_batches = False where a loss couples all of a batch"
    losses = [value.item() for value in outputs]
    require(
        math.isclose(*losses, rel_tol=1e-9), f"the loss of two halves is {losses[1]}, of the whole {losses[0]}{say}"
    )
    for name, value in gradients[0].items():
        near = torch.allclose(value, gradients[1][name], rtol=1e-9, atol=1e-12)
        require(near, f"the gradient of {name} is another in two halves than in the whole batch{say}")


def truth_is_never_learned(subject: Subject) -> None:
    """The true classes of unlabeled images are for metrics alone."""
    unknown = torch.full_like(batch_for(subject.make(), 7).u_true, -1)
    one, two = late_gradients(subject), late_gradients(subject, u_true=unknown)
    name = first_difference(one, two)
    require(
        name is None, f"the true classes of unlabeled images (u_true) move the gradient of {name}; they are for metrics"
    )


def is_one_graph(subject: Subject) -> int:
    """Compiled as one graph for each role and phase, never again from the second step on; returns how many there are.

    Its losses are those of the plain step.
    """
    torch._dynamo.reset()
    algorithm, plain = subject.make(), subject.make()
    counter = CompileCounterWithBackend("aot_eager")
    for role in algorithm.roles:
        module = algorithm.role_module(role)
        module.forward = torch.compile(module.forward, fullgraph=True, dynamic=False, backend=counter)
    losses: list[list[float]] = []
    first = 0
    for module, kernels in ((algorithm, "fused"), (plain, "reference")):
        run = Runner(module)
        losses.append([])
        for step, rate in enumerate([0.1, 0.05, 0.025, 0.0125]):
            run.set_rate(rate)
            with use_kernels(kernels):  # type: ignore[arg-type]
                losses[-1].append(run.step(batch_for(module, seed=step)).loss.item())
            first = first or counter.frame_count
            module.eval()  # an evaluation between steps must not cost a recompile either
            module.infer(images(4, 9), module="ema")
    more = counter.frame_count - first
    require(
        more == 0, f"{more} graphs are compiled again after the first step; what changes must be a tensor (self.step)"
    )
    near = all(math.isclose(one, two, rel_tol=1e-5) for one, two in zip(*losses, strict=True))
    require(near, f"the compiled losses {losses[0]} are not the plain ones {losses[1]}")
    require(algorithm.state_dict().keys() == plain.state_dict().keys(), "compiling changes the names of the state")
    return first


def stays_finite_at_extremes(subject: Subject) -> None:
    """No or all samples confident, and a batch of one image and one class."""
    for scale in (0.0, 1e4):
        algorithm = subject.make()
        run = under_way(algorithm)
        scale_logits(algorithm, scale)
        where = "no sample is confident" if scale == 0 else "all samples are certain"
        for seed in (7, 8):
            check_finite(run, batch_for(algorithm, seed), where)
    algorithm = subject.make()
    run, full = under_way(algorithm), batch_for(algorithm, 7)
    one: dict[str, Any] = {
        stream: {name: view[:1].expand_as(view) for name, view in getattr(full, stream).items()} for stream in "xu"
    }
    one |= {name: torch.zeros_like(getattr(full, name)) for name in ("y", "x_index", "u_index")}
    check_finite(run, full._replace(**one), "a batch is one image many times")


def check_finite(run: Runner, batch: Batch, where: str) -> None:
    """A step gives finite metrics and leaves everything finite."""
    output = run.step(batch)
    require(torch.isfinite(output.loss), f"the loss is {output.loss.item()} where {where}")
    for name, value in {**output.metrics, **run.algorithm.state_dict()}.items():
        require(torch.isfinite(value).all(), f"{name} is not finite where {where}")


def under_way(algorithm: Algorithm, steps: int = 3) -> Runner:
    """After a few steps, late in the schedule, where every ramp has risen and every table holds something."""
    algorithm.step.fill_(algorithm.info.steps - 10)
    run = Runner(algorithm)
    for seed in range(steps):
        run.step(batch_for(algorithm, seed))
    return run


def scale_logits(algorithm: Algorithm, scale: float) -> None:
    """Scales the logits of all networks."""
    with torch.no_grad():
        for name, value in [*algorithm.named_parameters(), *algorithm.named_buffers()]:
            if name.endswith(("head.weight", "head.bias")):
                value *= scale


def late_gradients(subject: Subject, **changes: Any) -> dict[str, Tensor]:
    """Of a step late in the schedule, with BatchNorm frozen so that a sample reaches others through the loss alone, and
    in which every unlabeled image counts, where the method can be told so. changes: of the batch."""
    algorithm = subject.make(threshold=0.0, policy="none").double()
    run = under_way(algorithm)
    algorithm.eval()
    run.step(batch_for(algorithm, 7)._replace(**changes), train=False)
    return run.gradients


def first_difference(one: Mapping[str, Tensor], two: Mapping[str, Tensor]) -> str | None:
    """The first tensor of `one` that is not bit for bit that of the same name in `two`."""
    return next((name for name, value in one.items() if name not in two or not torch.equal(value, two[name])), None)
