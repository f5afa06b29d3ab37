"""Before a run begins its largest step is tried, and cut into micro-batches where it does not fit."""

import gc
import weakref
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from semisonic.algorithms.fixmatch import FixMatch
from semisonic.config.command_line import Invocation, resolve
from semisonic.config.run_config import RunConfig
from semisonic.reporting.console import Console
from semisonic.runs.memory_fit import Trial, fit_steps, fitted, optimizer_bytes
from semisonic.runs.run import execute
from semisonic.schema import UserError
from semisonic.training.memory_advice import larger_counts, with_micro
from semisonic.training.process import start
from semisonic_kernels import fuse
from tests.support.memory import configuration
from tests.support.trials import TRIAL_RUN, digits, trial_of
from tests.support.two_roles import TWO_ROLES, train, trainer_in


class Limited(Trial):
    """Memory for micro-batches of so many labeled images, and as many more where the step is compiled."""

    labeled, more = 2, 0

    def __init__(self, *args: object):
        super().__init__(*args)
        self.tried: list[object] = []

    def step(self, cfg: RunConfig, compiled: bool) -> None:
        self.tried.append((cfg.batch.micro, compiled))
        if cfg.batch.labeled // cfg.batch.micro > self.labeled + (self.more if compiled else 0):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nmore")

    def evaluation(self, cfg: RunConfig) -> None:
        self.tried.append("evaluation")


def test_the_step_is_cut_until_it_fits_and_the_line_says_so():
    cfg = configuration()
    trial = trial_of(cfg, Limited)
    found, change = fitted(cfg, trial)
    assert found == with_micro(cfg, 4) and trial.tried == [(1, False), (2, False), (4, False), "evaluation"]
    assert (
        change.startswith("A step of 8 + 16 images did not fit into ") and "(rank 0): it is cut into 4 micro" in change
    )
    assert "BatchNorm statistics are then those of each micro-batch, running momentum 1-(1-m)^(1/4)" in change


def test_a_step_that_fits_stays_as_it_is():
    cfg = configuration("--batch.micro", "4")
    assert fitted(cfg, trial_of(cfg, Limited)) == (cfg, "")


def test_the_compiled_step_is_tried_before_the_step_is_cut():
    class Compiled(Limited):
        more = 2

    cfg = configuration("--compile", "whole")
    trial = trial_of(cfg, Compiled)
    found, _ = fitted(cfg, trial)
    assert found.batch.micro == 2 and trial.tried[:-1] == [(1, False), (1, True), (2, False), (2, True)]


def test_counts_divide_all_shares_and_please_the_algorithm(monkeypatch: pytest.MonkeyPatch):
    cfg = configuration("--batch.labeled", "24", "--batch.unlabeled-ratio", "3", "--batch.micro", "2")
    assert larger_counts(cfg, 1) == [3, 4, 6, 8, 12, 24] and larger_counts(cfg, 2) == [3, 4, 6, 12]
    growing = ("--batch.unlabeled-schedule", "growing", "--batch.unlabeled-stages")
    grown = configuration("--batch.labeled", "24", "--batch.unlabeled-ratio", "3", *growing, "6")
    assert larger_counts(grown, 1) == [2, 3, 4, 6, 12] and larger_counts(grown, 2) == [2, 3, 6]  # from 12 images on
    monkeypatch.setattr(FixMatch, "problems", classmethod(lambda kind, cfg, b, u: [] if b % 4 == 0 else ["no"]))
    assert larger_counts(cfg, 1) == [3, 6]
    monkeypatch.setattr(FixMatch, "micro_batches", False)
    assert larger_counts(cfg, 1) == []


@pytest.mark.parametrize(
    ("fields", "resumed", "expected"),
    [
        (["--no-batch.fit"], False, "batch.fit: a step of 8 + 16 images does not fit into "),
        (["--batch.micro", "2"], True, "batch.micro: a step of 8 + 16 images in 2 micro-batches, as this run has"),
        (
            ["--batch.micro", "8"],
            False,
            "batch.labeled: a step of 8 + 16 images in 8 micro-batches does not fit into ",
        ),
    ],
)
def test_what_may_not_be_cut_is_an_error(fields: list[str], resumed: bool, expected: str):
    class Tiny(Limited):
        labeled = 0

    cfg = configuration(*fields)
    with pytest.raises(UserError, match="Tried to allocate") as caught:
        fitted(cfg, trial_of(cfg, Tiny), resumed)
    assert str(caught.value).startswith(expected) and "\n" not in str(caught.value)


def test_coupled_samples_are_not_cut(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(FixMatch, "micro_batches", False)
    cfg = configuration()
    with pytest.raises(UserError, match=r"batch\.labeled: .* fixmatch couples all samples of a batch"):
        fitted(cfg, trial_of(cfg, Limited))


def test_an_evaluation_that_does_not_fit_names_its_field():
    class Evaluation(Trial):
        def evaluation(self, cfg: RunConfig) -> None:
            raise MemoryError

    cfg = configuration()
    with pytest.raises(UserError, match=r"eval\.batch: an evaluation of 256 images a rank does not fit"):
        fitted(cfg, trial_of(cfg, Evaluation))


def test_another_error_is_raised_as_it_is():
    class Broken(Trial):
        def step(self, cfg: RunConfig, compiled: bool) -> None:
            raise ValueError("shapes")

    cfg = configuration()
    with pytest.raises(ValueError, match="shapes"):
        fitted(cfg, trial_of(cfg, Broken))


class Cycle:
    """What only a garbage collection frees."""


def test_nothing_of_a_failed_attempt_stays_in_memory():
    alive: list[weakref.ref] = []

    class Holding(Trial):
        def step(self, cfg: RunConfig, compiled: bool) -> None:
            assert [held() for held in alive] == [None] * len(alive)
            tensor, cycle = torch.zeros(10), Cycle()
            cycle.tensor, cycle.own = tensor, cycle
            alive.append(weakref.ref(cycle))
            if cfg.batch.micro < 4:
                raise torch.OutOfMemoryError("CUDA out of memory")

    gc.disable()
    try:
        found, _ = fitted(configuration(), trial_of(configuration(), Holding))
    finally:
        gc.enable()
    assert found.batch.micro == 4 and len(alive) == 3


def test_a_trial_leaves_modes_and_kernels_as_they_were():
    """As a run's evaluation does: every module is in the mode that it was in, and no switch is left behind."""
    cfg, built, seen = configuration(), [], []

    class Kept(Trial):
        def prepared(self, cfg: RunConfig):
            built.append(super().prepared(cfg))
            algorithm = built[-1][0]
            algorithm.ema.register_forward_pre_hook(lambda module, _: seen.append(module.training))
            algorithm.network.head.eval()
            return built[-1]

    trial = trial_of(cfg, Kept)
    trial.evaluation(cfg)
    assert seen == [False]
    algorithm = built[0][0]
    assert algorithm.training and algorithm.ema.training and not algorithm.network.head.training
    trial.step(cfg.model_copy(update={"kernels": "reference"}), compiled=False)
    assert fuse._kernels == "reference"  # that of the tests


def test_what_the_data_take_on_a_gpu_is_set_aside(monkeypatch: pytest.MonkeyPatch):
    cfg = configuration()
    trial = trial_of(cfg)
    data, _ = digits()
    assert trial.of_the_data(cfg) == []
    trial.device = torch.device("cuda", 0)
    resident = len(data.train) * (data.size + 2 * data.pad) ** 2 * 3
    # 8 steps a call; the queue's two calls, one in use and one being finished; one view of 8 and two of 16 images.
    queue = 4 * 8 * (8 + 2 * 16) * 3 * data.size**2
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (2**35, 2**36))
    assert trial.of_the_data(cfg) == [resident, queue]
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (resident, 2**36))
    assert trial.of_the_data(cfg) == [queue]  # then the images stay in the host's memory


def tensors(run: Path) -> dict[str, bytes]:
    folder = run / "checkpoints" / "step-4"
    found = load_file(folder / "model.safetensors") | load_file(folder / "optimizer.safetensors")
    return {name: value.numpy().tobytes() for name, value in found.items()}


def test_a_run_with_the_trial_is_the_run_without(tmp_path: Path):
    for name, trial in (("without", None), ("with", Trial)):
        assert execute(Invocation(configuration("--out", str(tmp_path / name))), trial) == 0
    assert tensors(tmp_path / "with") == tensors(tmp_path / "without")


def test_a_run_that_was_cut_goes_on_as_it_began(tmp_path: Path, capfd: pytest.CaptureFixture):
    out = tmp_path / "run"
    fields = [*TRIAL_RUN, "--no-baseline", "--out", str(out)]
    assert execute(Invocation(resolve([*fields, "--max-hours", "1e-9"])[1]), Limited) == 0
    assert "it is cut into 4 micro-batches" in capfd.readouterr().out
    assert yaml.safe_load((out / "config.yaml").read_text())["batch"]["micro"] == 4

    def resumed(*more: str, kind: type[Trial] = Limited) -> int:
        again = [*fields, "--resume", "--batch.micro", "1", "--max-hours", "null", *more]
        return execute(Invocation(resolve(again)[1], resume=True), kind)

    class Less(Limited):
        labeled = 1

    with pytest.raises(UserError, match=r"batch\.micro: 1, but .* has 4"):
        resumed("--no-batch.fit")
    with pytest.raises(UserError, match=r"batch\.micro: a step of .* in 4 micro-batches, as this run has taken them"):
        resumed(kind=Less)
    assert resumed() == 0
    assert "batch.micro: the run goes on with its 4 micro-batches a step" in capfd.readouterr().out
    assert resumed(kind=Less) == 0  # nothing is tried for a run that is finished


def test_the_baseline_is_cut_only_where_its_own_step_does_not_fit(tmp_path: Path):
    class Main(Limited):
        def step(self, cfg: RunConfig, compiled: bool) -> None:
            if cfg.algorithm.name != "supervised":
                super().step(cfg, compiled)

    cfg = resolve([*TRIAL_RUN, "--baseline", "--out", str(tmp_path / "run")])[1]
    accelerator, console = start(cfg), Console(main=False)

    def micro(asked: RunConfig, started: bool = False) -> list[int]:
        both = fit_steps(asked, asked, started, *digits(), accelerator, console, Main)
        return [found.batch.micro for found in both if found]

    assert micro(cfg) == [4, 1]
    (tmp_path / "run" / "supervised").mkdir(parents=True)
    (tmp_path / "run" / "supervised" / "config.yaml").write_text("batch: {micro: 2}\n")
    assert micro(with_micro(cfg, 8), started=True) == [8, 2]  # what the baseline's folder says
    assert micro(cfg.model_copy(update={"baseline": False})) == [4]


def test_a_step_that_does_not_fit_leaves_no_folder(tmp_path: Path):
    with pytest.raises(UserError, match=r"batch\.fit"):
        execute(Invocation(configuration("--no-batch.fit", "--out", str(tmp_path / "run"))), Limited)
    assert not (tmp_path / "run").exists()


def test_memory_counts_every_optimizer(tmp_path: Path):
    trainer = trainer_in(tmp_path, "--optim", "adamw")
    one = sum(parameter.nbytes for parameter in trainer.algorithm.network.parameters())
    assert optimizer_bytes(trainer.algorithm, trainer.cfg.optim) == 2 * 2 * one
    train(trainer, 2)
    held = sum(
        value.nbytes for engine in trainer.training_step.engines.values() for _, value in engine.state() if value.ndim
    )
    assert held == 2 * 2 * one


def test_the_trial_of_a_step_runs_both_networks(tmp_path: Path):
    cfg = resolve(
        ["--no-baseline", "--device", "cpu", "--batch.labeled", "8", "--batch.unlabeled-ratio", "2", *TWO_ROLES]
    )[1]
    trial = trial_of(cfg)
    for micro in (1, 2):
        trial.step(cfg.model_copy(update={"batch": cfg.batch.model_copy(update={"micro": micro})}), False)
