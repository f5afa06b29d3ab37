"""Every property is noticed where an algorithm breaks it. That all registered ones keep it is in tests/contract."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from semisonic.algorithms.fixmatch import FixMatch
from semisonic.algorithms.simclr import SimCLR
from semisonic.check import properties
from semisonic.check.properties import Failed, Skipped
from semisonic.check.tiny import Subject
from semisonic.check.waiting import never_waits
from semisonic.contract import Batch, Info, StepOutput


class Broken(FixMatch):
    """FixMatch with a buffer to break."""

    memory: Tensor

    def setup(self, info: Info) -> None:
        self.register_buffer("memory", torch.zeros(()))
        self.register_buffer("unsaved", torch.zeros(()), persistent=False)


class Doubled(Broken):
    def loss(self, batch: Batch) -> StepOutput:
        output = super().loss(batch)
        return output._replace(loss=output.loss.double())


class Attached(Broken):
    def loss(self, batch: Batch) -> StepOutput:
        output = super().loss(batch)
        return output._replace(metrics={**output.metrics, "own": output.loss})


class AnyView(Broken):
    def loss(self, batch: Batch) -> StepOutput:
        output = super().loss(batch)
        return output._replace(loss=output.loss + next(iter(batch.u.values())).float().mean())


class Writing(Broken):
    def loss(self, batch: Batch) -> StepOutput:
        output = super().loss(batch)
        self.memory += output.loss.detach()
        return output


class Untracked(Broken):
    def loss(self, batch: Batch) -> StepOutput:
        self.infer(batch.x["weak"])
        return super().loss(batch)


class Idle(Broken):
    def setup(self, info: Info) -> None:
        super().setup(info)
        self.idle = torch.nn.Linear(2, 2)


class Cheating(Broken):
    def loss(self, batch: Batch) -> StepOutput:
        output = super().loss(batch)
        (logits_UC,) = self.classify(batch.u["weak"], track=False)
        return output._replace(
            loss=output.loss + (logits_UC.argmax(-1) == batch.u_true).float().mean() * logits_UC.sum()
        )


class Forgetful(Broken):
    unsaved: Tensor

    def loss(self, batch: Batch) -> StepOutput:
        output = super().loss(batch)
        return output._replace(loss=output.loss * (1 + self.unsaved))

    def update(self, observed: dict[str, Tensor]) -> None:
        self.unsaved += 1


class Summed(Broken):
    def loss(self, batch: Batch) -> StepOutput:
        output = super().loss(batch)
        return output._replace(loss=output.loss * len(batch.y))


class Dividing(Broken):
    def loss(self, batch: Batch) -> StepOutput:
        output = super().loss(batch)
        (logits_UC,) = self.classify(batch.u["weak"], track=False)
        return output._replace(loss=output.loss + 0 / logits_UC.std(0).sum())


class Waiting(Broken):
    def loss(self, batch: Batch) -> StepOutput:
        output = super().loss(batch)
        return output._replace(loss=output.loss * (2.0 if output.loss > 1e9 else 1.0))


class Recompiled(Broken):
    def __init__(self, *args: Any, **options: Any):
        super().__init__(*args, **options)
        self.count = 0

    def loss(self, batch: Batch) -> StepOutput:
        output = super().loss(batch)
        return output._replace(loss=output.loss * (1 + 1e-12 * self.count))

    def update(self, observed: dict[str, Tensor]) -> None:
        self.count += 1


@pytest.mark.parametrize(
    ("kind", "check", "message"),
    [
        (Doubled, properties.output_follows_the_contract, "loss must be float32; it is torch.float64"),
        (Attached, properties.output_follows_the_contract, "metrics: own keeps its graph"),
        (AnyView, properties.sees_only_its_views, "other views in the batch change the loss"),
        (Writing, properties.loss_writes_no_state, "loss writes memory"),
        (Untracked, properties.loss_writes_no_state, "norm.num_batches_tracked counts 2 tracking forwards"),
        (Idle, properties.every_parameter_gets_a_gradient, "no gradient reaches idle.bias, idle.weight"),
        (Cheating, properties.truth_is_never_learned, "u_true"),
        (Forgetful, properties.state_round_trips, "make it registered buffers"),
        (Forgetful, properties.resumes_bit_for_bit, "step 1 after a resume has another loss"),
        (Summed, properties.micro_batches_mean_the_batch, "average over samples"),
        (Dividing, properties.stays_finite_at_extremes, "is nan where"),
        (Waiting, never_waits, "makes the host wait for the GPU"),
        (Recompiled, properties.is_one_graph, "compiled again after the first step"),
    ],
)
@pytest.mark.kernels("reference")
def test_what_is_broken_is_told(kind: type[Broken], check: Callable[[Subject], object], message: str):
    with pytest.raises(Failed, match=message):
        check(Subject(kind))


def test_what_refuses_micro_batches_is_skipped():
    with pytest.raises(Skipped, match="couples all samples"):
        properties.micro_batches_mean_the_batch(Subject(SimCLR))


def test_given_fields_are_kept_and_wanted_ones_taken_where_they_fit():
    assert Subject(FixMatch, {"threshold": 0.5}).make(threshold=0.0, weight=2.0).cfg.threshold == 0.5
    cfg = Subject(FixMatch).make(threshold="high", weight=2.0, unknown=1).cfg
    assert (cfg.threshold, cfg.weight) == (0.95, 2.0)
