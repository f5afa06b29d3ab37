"""What every message about memory advises is allowed, helps, and leads to a run that fits."""

import re

import pytest
import torch

from semisonic.algorithms.fixmatch import FixMatch
from semisonic.config.command_line import resolve
from semisonic.config.execution import Surroundings
from semisonic.config.run_config import RunConfig
from semisonic.contract import ALONE
from semisonic.runs import dry_step
from semisonic.runs.dry_step import dry_steps
from semisonic.runs.memory_fit import Trial, fitted
from semisonic.runs.predicted_memory import Predicted, predict
from semisonic.schema import UserError
from semisonic.training.build import build_algorithm
from semisonic.training.memory_advice import advice, remedies, together
from semisonic.training.out_of_memory import explained
from semisonic.training.process import start
from tests.support.memory import configuration
from tests.support.trials import TRIAL_RUN, digits, trial_of

WIDE = ["--model", "wrn-10-1", "--eval.batch", "16"]
OPTION = re.compile(r"--[a-z_.-]+(?: (?!or\b)[a-z0-9_/.]+)?")


class Budget(Trial):
    """A device whose memory is what predictions are held against."""

    bytes = 0

    def predicted(self, cfg: RunConfig) -> Predicted:
        return predict(cfg, self.data, self.split, lambda own: build_algorithm(own, self.data, self.split, fresh=False))

    def step(self, cfg: RunConfig, compiled: bool) -> None:
        if self.predicted(cfg).peak > self.bytes:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    def evaluation(self, cfg: RunConfig) -> None:
        if self.predicted(cfg).evaluation > self.bytes:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


def peak(cfg: RunConfig) -> int:
    data, split = digits()
    return predict(cfg, data, split, lambda own: build_algorithm(own, data, split, fresh=False)).peak


def advised(message: str) -> list[str]:
    """The options that a message names, as one would type them."""
    found = [option.split() for option in OPTION.findall(message) if not option.startswith(("--plan", "--no-"))]
    return [word.rstrip(",.;") for option in found for word in option]


def followed(message: str, fields: list[str]) -> RunConfig:
    return configuration(*WIDE, *fields, *advised(message))


def budgeted(size: int) -> type[Budget]:
    return type("Budgeted", (Budget,), {"bytes": size})


@pytest.mark.parametrize(
    ("fields", "resumed", "expected"),
    [
        (["--no-batch.fit"], False, ["--recompute", "--batch.micro", "8", "--precision", "bf16"]),
        (["--batch.micro", "8"], False, ["--recompute", "--precision", "bf16"]),
        (["--batch.micro", "2"], True, ["--recompute"]),
    ],
    ids=["not to be cut", "cannot be cut further", "resumed"],
)
def test_the_advice_of_a_step_that_does_not_fit(fields: list[str], resumed: bool, expected: list[str]):
    cfg = configuration(*WIDE, *fields)
    trial = trial_of(cfg, budgeted(peak(configuration(*WIDE, *fields, *expected))))
    with pytest.raises(UserError) as caught:
        fitted(cfg, trial, resumed)
    assert advised(str(caught.value)) == expected
    same = followed(str(caught.value), fields)
    assert fitted(same, trial, resumed) == (same, "")


def test_a_batch_that_may_not_be_cut_is_not_advised_to_be(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(FixMatch, "micro_batches", False)
    cfg = configuration(*WIDE)
    trial = trial_of(cfg, budgeted(peak(configuration(*WIDE, "--recompute", "--precision", "bf16"))))
    with pytest.raises(UserError, match="couples all samples") as caught:
        fitted(cfg, trial)
    assert advised(str(caught.value)) == ["--recompute", "--precision", "bf16"]
    same = followed(str(caught.value), [])
    assert fitted(same, trial) == (same, "")


def test_the_advice_of_an_evaluation_that_does_not_fit():
    cfg = configuration("--model", "wrn-10-1", "--eval.batch", "4096")
    trial = trial_of(cfg, budgeted(100 * 2**20))
    with pytest.raises(UserError, match=r"^eval\.batch: ") as caught:
        fitted(cfg, trial)
    same = configuration("--model", "wrn-10-1", *advised(str(caught.value)))
    assert same.eval.batch == 1024 and fitted(same, trial) == (same, "")


def test_the_advice_of_a_first_step_on_the_cpu(monkeypatch: pytest.MonkeyPatch):
    cfg, data_and_split = configuration(*WIDE), digits()
    monkeypatch.setattr(dry_step, "Trial", budgeted(peak(configuration(*WIDE, "--batch.micro", "8"))))

    def tried(run: RunConfig) -> None:
        dry_steps(run, build_algorithm(run, *data_and_split), *data_and_split, start(run))

    with pytest.raises(UserError, match="memory that is free here") as caught:
        tried(cfg)
    tried(followed(str(caught.value), []))


def test_the_advice_while_a_run_goes_on_is_for_it_or_for_a_new_one():
    cfg = configuration(*WIDE)
    with pytest.raises(UserError) as caught, explained(cfg, ALONE, torch.device("cpu"), lambda: 7):
        raise MemoryError
    going_on, anew = str(caught.value).split("to begin anew")
    assert advised(going_on) == ["--recompute"] and "The last checkpoint stands" in going_on
    assert advised(anew) == ["--recompute", "--batch.micro", "8", "--precision", "bf16"]
    assert peak(followed(anew, [])) < peak(followed(going_on, [])) < peak(cfg)


def test_each_remedy_helps_and_what_a_run_has_is_none():
    cfg = configuration(*WIDE)
    found = remedies(cfg)
    assert [remedy.fields for remedy in found] == [
        "--recompute", "--batch.micro 2", "--batch.micro 4", "--batch.micro 8", "--precision bf16"
    ]  # fmt: skip
    assert all(peak(remedy.cfg) < peak(cfg) for remedy in found)
    whole = together(cfg, found)
    assert whole is not None and whole.fields == "--recompute --batch.micro 8 --precision bf16"
    assert remedies(whole.cfg) == [] and advice(whole.cfg, begun=True) == "more ranks or a device with more memory"
    small = configuration("--model", "small", "--batch.micro", "8", "--precision", "bf16")
    assert remedies(small) == []  # without blocks and linear layers


def test_several_ranks_may_share_the_optimizer_s_state(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Surroundings, "here", classmethod(lambda kind: kind(gpu=False, world_size=2, cores=1)))
    cfg = resolve([*TRIAL_RUN, "--no-baseline", "--model", "small", "--optim", "adamw"])[1]
    fields = [remedy.fields for remedy in remedies(cfg, begun=True)]
    assert fields == ["--parallel.deepspeed launch/deepspeed/zero2.json"]
