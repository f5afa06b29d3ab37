"""One optimizer step over the ranks, from a batch to the algorithm's new state: `TrainingStep`, from top to bottom.

Below it is what a step is made of: the compiled modules, an engine for each role, and CUDA graphs.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from semisonic.algorithms.base import Algorithm
from semisonic.config.run_config import RunConfig
from semisonic.contract import Batch, Rank, Runner, StepOutput
from semisonic.data.loading.draws import purpose, sample_keys
from semisonic.data.loading.feedback import Feedback
from semisonic.distributed.deepspeed import offloads_optimizer
from semisonic.distributed.engine import Accelerator, Engine, ForwardBackward, ZeroEngine
from semisonic.faults import reach
from semisonic.models.blocks import counting, use_blocks
from semisonic.optim.optimizer import AveragingSGD, OptimConfig, build_optimizer, set_learning_rate
from semisonic.training.compile_options import compile_options
from semisonic.training.cuda_graph import WARM_UP_DDP, CudaGraph, GraphedFunction, Recorder
from semisonic.training.layer_rates import layer_rates
from semisonic.training.metrics import Meter
from semisonic_kernels.fuse import Kernels, use_kernels

USUAL_LIMIT = 8
"""Graphs of one function that torch compiles by default, before it says that something changes from step to step."""
KEYS_AT_ONCE = 64
"""Steps whose keys are made together."""


class TrainingStep:
    """`training_step(batch)` takes an optimizer step on the rank's share of a global batch.

    `number` counts the finished steps. All else that must be kept is in the algorithm's buffers and the engines.
    """

    def __init__(self, cfg: RunConfig, algorithm: Algorithm, accelerator: Accelerator):
        self.cfg, self.accelerator, self.device = cfg, accelerator, accelerator.device
        self.rank = Rank(accelerator.process_index, accelerator.num_processes)
        self.algorithm = place(algorithm, cfg, self.device)
        self.algorithm.draw_from(int(sample_keys(cfg.seed, purpose("layers"), np.array([0]))[0]), self.rank)
        self.number = 0
        self._keys: tuple[int, np.ndarray] | None = None
        """Number of a block of steps, and their keys."""
        self.first_bad_step = torch.full((), -1, dtype=torch.int64, device=self.device)
        """The first step whose loss was not finite, or -1."""
        self.meter = Meter()
        self.measured = False
        """Whether the next step leaves the norm of its gradients in the engines."""
        self.kernels = kernels_for(cfg, cfg.compiled)
        tables = algorithm.tables()
        self.feedback = Feedback(tables) if tables is not None else None
        replayed = cfg.replayed
        graph = None if replayed == "off" else CudaGraph()
        self.engines = build_engines(cfg, algorithm, accelerator, graph)
        self.partitioned = any(engine.partitioned for engine in self.engines.values())
        self.averages_parameters = not any(averages(engine) for engine in self.engines.values())
        """Whether the EMA moves the averages of parameters, or an optimizer does in its own step."""
        run = Runner(self.engines, cfg.batch.micro, partial(accelerator.reduce, reduction="mean"))
        # What a CUDA graph replays is chosen here, once: nothing, forward and backward, or all that is on the device.
        self._eager = partial(algorithm.train_step, run=run)
        self._train: Callable[[Batch], StepOutput] = self._eager
        self._on_device: Callable[[Batch], StepOutput] = self.device_step
        if graph and replayed == "backward":
            self._train = self.replaying_backward(graph)
        elif graph:
            self._on_device = GraphedFunction(self.device_step, graph, sizes=len(cfg.unlabeled_sizes.sizes))
            for engine in self.engines.values():
                engine.keeps_gradients = True

    def __call__(self, batch: Batch) -> StepOutput:
        """Moves everything that a step moves. The output of a replayed step is overwritten by the next one."""
        for engine in self.engines.values():
            engine.measured = self.measured and not engine.keeps_gradients
        # The engine's own layers draw from a counter. For those of users, seeded here, the checkpoint needs no state.
        seed_torch(self.step_key())
        with use_kernels(self.kernels):
            output = self._on_device(batch)
        self.number += 1
        if self.measured:
            for engine in self.engines.values():
                if engine.keeps_gradients:
                    engine.measure()
        if self.feedback:
            self.feedback.send(self.number)
        return output

    def step_key(self) -> int:
        """What torch's generators are seeded with in this step: one of those of a block of steps, made together."""
        block, place = divmod(self.number, KEYS_AT_ONCE)
        if self._keys is None or self._keys[0] != block:
            numbers = np.arange(block * KEYS_AT_ONCE, (block + 1) * KEYS_AT_ONCE)
            self._keys = block, sample_keys(self.cfg.seed, purpose("step", self.rank.rank), numbers)
        return int(self._keys[1][place])

    def replay_no_graphs(self) -> None:
        """Has the next steps take no CUDA graph, so that their optimizer may be given other tensors."""
        self._train, self._on_device = self._eager, self.device_step

    def device_step(self, batch: Batch) -> StepOutput:
        """All that a step does on the device, from tensors on the device alone, so that a CUDA graph can hold it."""
        algorithm, engines = self.algorithm.ready_to_train(), self.engines.values()
        for engine in engines:
            set_learning_rate(engine.optimizer.param_groups, engine.optim, algorithm.step, self.cfg.steps)
            if engine.keeps_gradients:
                engine.zero_grad()
        output = self._train(batch)
        bad = ~torch.isfinite(output.loss.detach())
        if any(engine.overflowed for engine in engines):
            bad = torch.ones_like(bad)
        self.mark_bad(bad, algorithm.step)
        if not any(engine.skipped for engine in engines):
            observed = self.gather(output.observed)
            with torch.no_grad(), self.whole_parameters():
                algorithm.commit(observed)
                algorithm.update_ema(self.averages_parameters)
        algorithm.step += 1
        self.meter.add({"loss": output.loss, **output.metrics})
        return output

    def mark_bad(self, bad: Tensor, step: Tensor | int) -> None:
        """Takes note of a bad step, unless there was one before it; on the device, without waiting for it."""
        self.first_bad_step.copy_(torch.where(bad & (self.first_bad_step < 0), step, self.first_bad_step))

    def gather(self, observed: dict[str, Tensor]) -> dict[str, Tensor]:
        """Every rank's tensors in global-sample order: a step's micro-batches are cut before its ranks."""
        reach("observed")
        if self.rank.world_size == 1:
            return observed
        gathered = {}
        for name, value in observed.items():
            everywhere = self.accelerator.gather(value)
            if value.ndim == 0:
                gathered[name] = everywhere.double().mean().to(value.dtype)
            else:
                parts = everywhere.unflatten(0, (self.rank.world_size, self.cfg.batch.micro, -1))
                gathered[name] = parts.transpose(0, 1).flatten(0, 2)
        return gathered

    def whole_parameters(self, write: bool = False) -> AbstractContextManager[object]:
        """Inside, parameters that are spread over the ranks are whole; `write` keeps what rank 0 changes."""
        with ExitStack() as stack:
            for engine in self.engines.values():
                stack.enter_context(engine.whole_parameters(write))
            return stack.pop_all()

    def replaying_backward(self, graph: Recorder) -> Callable[[Batch], StepOutput]:
        """`Algorithm.train_step` as a CUDA graph of forward and backward, which the optimizer's step follows."""
        engine = self.engines["network"]
        run = Runner({"network": ForwardBackward(engine)}, self.cfg.batch.micro)

        def gradients(batch: Batch) -> StepOutput:
            engine.zero_grad()
            return self.algorithm.train_step(batch, run)

        replayed = GraphedFunction(gradients, graph, WARM_UP_DDP, len(self.cfg.unlabeled_sizes.sizes))

        def train(batch: Batch) -> StepOutput:
            output = replayed(batch)
            engine.optimizer_step()
            return output

        return train


def seed_torch(key: int) -> None:
    """`torch.manual_seed` of the devices in use: for those that are not it formats a stack trace, at each call."""
    torch.default_generator.manual_seed(key)
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(key)


def kernels_for(cfg: RunConfig, compiled: bool) -> Kernels:
    """The implementation of the kernels in a step that is compiled, or not."""
    return "reference" if cfg.kernels == "reference" else "fused" if compiled else "eager"


def place(algorithm: Algorithm, cfg: RunConfig, device: torch.device) -> Algorithm:
    """The algorithm on the device, images' channels last."""
    algorithm.to(device)
    if not cfg.execution.zero_stage:  # DeepSpeed lays parameters out one after the other, and takes contiguous ones
        algorithm.to(memory_format=torch.channels_last)
    return algorithm


def compile_modules(algorithm: Algorithm, graphs: str, recompute: bool, overlap: bool = True) -> None:
    """Compiles every role's module as a whole, or each block, or nothing (graphs: whole, blocks, off).

    recompute: activations of each block are computed again in the backward. overlap: as in `compile_options`.
    """
    options = compile_options(overlap) if graphs in ("whole", "blocks") else None
    if recompute or graphs == "blocks":
        use_blocks(algorithm, recompute, graphs == "blocks", options)
    if graphs != "whole":
        return
    for role in algorithm.roles:
        module = algorithm.role_module(role)
        # The bound method, not the module: keys stay clean, and DDP and DeepSpeed wrap it from outside.
        forward = counting(torch.compile(module.forward, fullgraph=True, dynamic=False, options=options), recompute)
        if algorithm.inner_gradients:
            # Under DDP the compiler cuts the graph where buckets of gradients end: not inside an inner gradient.
            forward = torch._dynamo.config.patch(optimize_ddp=False)(forward)
        module.forward = forward


def compile_for_each_of(sizes: int) -> None:
    """Lets torch compile as many graphs as before for each of so many batch sizes; `dynamic=False` makes it one a size.

    More would mean that something else changes from step to step, which stays an error.
    """
    if sizes > 1:
        limit = torch._dynamo.config.recompile_limit
        torch._dynamo.config.recompile_limit = max(limit, USUAL_LIMIT * sizes)


def build_engines(
    cfg: RunConfig, algorithm: Algorithm, accelerator: Accelerator, graph: Recorder | None
) -> dict[str, Engine]:
    """Every role's module, compiled and wrapped for the ranks, with its optimizer."""
    compile_modules(algorithm, cfg.graphs, cfg.recompute, cfg.parallel.overlap)
    if cfg.compiled:
        compile_for_each_of(len(cfg.unlabeled_sizes.sizes))
    zero = cfg.execution.zero
    names: dict[Tensor, str] = {parameter: name for name, parameter in algorithm.named_parameters()}
    engines: dict[str, Engine] = {}

    def build(role: str) -> Engine:
        module, optim = algorithm.role_module(role), algorithm.role_optim(role, cfg.optim)
        averaged = zero is None and can_average(cfg, algorithm, module, optim)
        optimizer = build_optimizer(
            module, optim, algorithm.averaged_parameters() if averaged else None, algorithm.ema_weight,
            captured=cfg.replayed == "step", on_host=offloads_optimizer(zero), rates=layer_rates(module, optim),
        )  # fmt: skip
        scaler = torch.amp.GradScaler(accelerator.device.type, enabled=cfg.precision == "fp16")
        if zero is None:
            return Engine(accelerator, module, optimizer, scaler, optim, names)
        # A second accelerator takes over all settings; one holds one engine of DeepSpeed's.
        own = Accelerator() if engines else accelerator
        images = (cfg.batch.labeled + cfg.batch.unlabeled) // (own.num_processes * cfg.batch.micro)
        return ZeroEngine(own, module, optimizer, scaler, optim, names, cfg.batch.micro, images)

    for role in algorithm.roles:
        # DDP makes nodes of the autograd graph, which stay on the stream that they were made on: that of the graph.
        engines[role] = graph.warm_up(partial(build, role)) if graph else build(role)
    return engines


def can_average(cfg: RunConfig, algorithm: Algorithm, module: nn.Module, optim: OptimConfig) -> bool:
    """Whether the optimizer of a role's module can move the averages of the network's parameters in its own pass."""
    averaged = algorithm.averaged_parameters()
    on_gpu = all(parameter.is_cuda for parameter in averaged)
    fits = optim.name == "sgd" and cfg.precision != "fp16" and cfg.kernels == "fused" and on_gpu
    return fits and set(module.parameters()).issuperset(averaged)


def averages(engine: Engine) -> bool:
    return isinstance(engine.optimizer, AveragingSGD)
