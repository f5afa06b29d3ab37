"""Which pseudo-labels count: threshold policies on a MixMatch base (`mixmatch.py`, arXiv 1905.02249).

    c   = max over classes of the guess (or of the sharpened guess), for each unlabeled image
    m   = 1[c >= tau]
    L_u = mean over KU of m * l(softmax(f(u')), q')         l: squared error, a mean over classes, or cross-entropy, or
                                                            the one up to a step and from it on the other

    none                 tau = 0; ramp
    fixed                tau = threshold
    manual               tau goes linearly from threshold to floor over `fall`, step by step
    percentile-train     tau = least of the k highest c of the global batch, k = floor(U * A), but at least floor;
                         A = training accuracy of the last finished epoch. Ties at tau count
    percentile-held-out  the same with A = accuracy of the EMA on the held-out images at the last evaluation
    staged               as fixed until A of an epoch reaches `stage`, from then on as percentile-train
    mixed                as fixed, with a ramp

An epoch is `epoch_steps` steps; A counts the mixed labeled images by their own, dominant label, in integers. Before
the first epoch (or evaluation) has ended A is 0 and no pseudo-label counts. The held-out labels thus steer the
training: report on images that are neither trained on nor held out.

Rejected images either leave the pool before mixing: nobody's partner and unmixed themselves, with loss weight 0; shapes
stay fixed, so they remain in the forward and in BatchNorm's statistics. Or they stay partners (mask after mixing) and
lend their targets to others. Forwards and BatchNorm are MixMatch's.
Shape suffixes: B labeled batch, U unlabeled batch, G that of all ranks, K views, N = KU, C classes.
"""

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from semisonic.algorithms.mixmatch import MixMatch, MixMatchConfig
from semisonic.algorithms.monitoring import loss_metrics, pseudo_label_metrics
from semisonic.algorithms.ramps import linear_ramp, ramp_length, shares_of_the_run
from semisonic.algorithms.settings import ADAM, ONE_TO_ONE, Changes, Setting
from semisonic.contract import Batch, Info, StepOutput
from semisonic.schema import UsedWith
from semisonic_kernels import collectives
from semisonic_kernels.losses import consistency_loss, sharpen

NONE_COUNTS = 1.01
"""A threshold above every confidence."""


JUDGED = UsedWith("policy", unless=("none",))


class PolicyMixMatchConfig(MixMatchConfig):
    name: Literal["policy-mixmatch"] = "policy-mixmatch"  # type: ignore[assignment]
    policy: Literal["none", "fixed", "manual", "percentile-train", "percentile-held-out", "staged", "mixed"] = (
        "percentile-train"
    )
    """Where the threshold comes from."""
    threshold: Annotated[float, UsedWith("policy", ("fixed", "manual", "staged", "mixed"))] = Field(0.9, ge=0, le=2)
    """Of fixed, mixed and the first stage of staged; where manual begins."""
    floor: Annotated[float, UsedWith("policy", unless=("none", "fixed", "mixed"))] = Field(0.5, ge=0, le=2)
    """Where manual ends; the least threshold of the percentiles."""
    fall: Annotated[float, UsedWith("policy", ("manual",))] = Field(1.0, ge=0, le=1e9)
    """Steps that manual takes from there to the floor; up to 1, a share of the run."""
    stage: Annotated[float, UsedWith("policy", ("staged",))] = Field(0.2, ge=0, le=1)
    """Training accuracy of an epoch that ends the first stage of staged."""
    epoch_steps: Annotated[int | None, UsedWith("policy", ("percentile-train", "staged"))] = Field(None, ge=1, le=10**9)
    """Steps of an epoch, after which its training accuracy is used; null = one pass over the labeled set."""
    loss: Literal["mse", "ce", "mse-to-ce"] = "mse"
    """Unlabeled loss: squared error of the probabilities, or cross-entropy with soft targets, or mse and then ce."""
    loss_switch: Annotated[float, UsedWith("loss", ("mse-to-ce",))] = Field(0.5, ge=0, le=1e9)
    """Step from which mse-to-ce is ce; up to 1, a share of the run."""
    weight: float | None = Field(None, ge=0, le=1e6)  # type: ignore[assignment]
    """Weight of the unlabeled loss; null = 150 for mse (with 10 classes: a mean over them), 1 for ce. In mse-to-ce that
    of mse."""
    ce_weight: Annotated[float | None, UsedWith("loss", ("mse-to-ce",))] = Field(None, ge=0, le=1e6)
    """In mse-to-ce the weight of ce; null = 1."""
    ramp: float | None = Field(None, ge=0, le=1e9)  # type: ignore[assignment]
    """Steps over which the weight rises from 0; up to 1, a share of the run; 0 = the whole weight from the start;
    null = 16,000 for the policies none and mixed, but at most 0.4 of the run; 0 for the others."""
    confidence: Annotated[Literal["before", "after"], JUDGED] = "before"
    """Whether the threshold judges the guess before or after sharpening."""
    rejected: Annotated[Literal["dropped", "partners"], JUDGED] = "dropped"
    """Rejected images leave the pool before mixing, or remain partners of others."""
    normalizer: Annotated[Literal["batch", "kept"], JUDGED] = "batch"
    """The unlabeled loss is a mean over all images, or over those that count."""


class PolicyMixMatch(MixMatch):
    Config = PolicyMixMatchConfig
    cfg: PolicyMixMatchConfig
    micro_batches = False  # percentiles and counts are those of the whole batch
    epoch_counts: Tensor
    last_counts: Tensor
    second_stage: Tensor

    @classmethod
    def reads_held_out(cls, cfg: PolicyMixMatchConfig) -> bool:
        return cfg.policy == "percentile-held-out"

    @classmethod
    def ramp_of(cls, cfg: PolicyMixMatchConfig, steps: int) -> float:
        """`ramp`, or what stands in its place."""
        if cfg.ramp is not None:
            return cfg.ramp
        return min(16_000.0, 0.4 * steps) if cfg.policy in ("none", "mixed") else 0.0

    @classmethod
    def ramped(cls, cfg: PolicyMixMatchConfig, steps: int) -> float:
        fall = ramp_length(cfg.fall, steps) if cfg.policy == "manual" else 0.0
        switch = ramp_length(cfg.loss_switch, steps) if cfg.loss == "mse-to-ce" else 0.0
        return max(ramp_length(cls.ramp_of(cfg, steps), steps), fall, switch)

    @classmethod
    def depends_on_steps(cls, cfg: PolicyMixMatchConfig) -> list[str]:
        ramp = cfg.ramp is None and cfg.policy in ("none", "mixed")
        fall = shares_of_the_run(cfg, "fall") if cfg.policy == "manual" else []
        switch = shares_of_the_run(cfg, "loss_switch") if cfg.loss == "mse-to-ce" else []
        return shares_of_the_run(cfg, "ramp") + ["ramp"] * ramp + fall + switch

    def setup(self, info: Info) -> None:
        steps = self.cfg.epoch_steps or -(-info.labeled // info.labeled_batch)
        self.epoch_images = steps * info.labeled_batch
        for name in ("epoch_counts", "last_counts"):  # correct and all images: of this epoch so far, of the last one
            self.register_buffer(name, torch.zeros(2, dtype=torch.int64))
        self.register_buffer("second_stage", torch.zeros((), dtype=torch.bool))
        self.ramp = self.ramp_of(self.cfg, info.steps)
        own, later = self.cfg.weight, self.cfg.ce_weight
        self.weight = (1.0 if self.cfg.loss == "ce" else 150.0) if own is None else own
        self.ce_weight = 1.0 if later is None else later

    def loss(self, batch: Batch) -> StepOutput:
        cfg, guess_UC = self.cfg, self.guess(batch)
        target_UC = sharpen(guess_UC, cfg.temperature)
        confidence_U = (guess_UC if cfg.confidence == "before" else target_UC).amax(-1)
        threshold = self.threshold(confidence_U)
        kept_U = confidence_U >= threshold
        taking_part_U = kept_U if cfg.rejected == "dropped" else None
        x, y_BC, u, q_NC = self.mixed(batch, target_UC, taking_part_U)

        labeled = self.mixed_labeled_loss(x, y_BC, batch.y, batch.x_index)
        unlabeled = self.unlabeled(self.trained_logits(u), q_NC, kept_U.to(q_NC.dtype))
        weight = torch.where(self.switched, self.ce_weight, self.weight) if self.switches else self.weight
        loss = labeled + weight * linear_ramp(self.step, self.ramp, self.info.steps) * unlabeled

        correct_B = x.logits.argmax(-1).eq(batch.y)
        metrics = {
            **loss_metrics(labeled, unlabeled, x.logits, batch.y),
            "threshold": threshold,
            **pseudo_label_metrics(target_UC.argmax(-1), kept_U, batch.u_true, self.info.classes),
        }
        observed = {"correct": correct_B.long()}
        return StepOutput(loss, metrics, observed)

    def unlabeled(self, logits_NC: Tensor, q_NC: Tensor, kept_U: Tensor) -> Tensor:
        """The loss of the mixed unlabeled images whose base counts: 0-d."""
        kept_N = kept_U.repeat(self.cfg.views)
        if self.cfg.loss == "ce":
            loss = consistency_loss(logits_NC, q_NC, kept_N)
        else:
            loss = (kept_N * (logits_NC.softmax(-1) - q_NC).square().mean(-1)).mean()
        if self.switches:
            loss = torch.where(self.switched, consistency_loss(logits_NC, q_NC, kept_N), loss)
        if self.cfg.normalizer == "kept":
            loss = loss / collectives.mean(kept_U.mean()).clamp(min=1 / self.info.unlabeled_batch)
        return loss

    @property
    def switches(self) -> bool:
        return self.cfg.loss == "mse-to-ce"

    @property
    def switched(self) -> Tensor:
        """Of mse-to-ce, whether this step's loss is ce: 0-d bool."""
        return self.step >= ramp_length(self.cfg.loss_switch, self.info.steps)

    def threshold(self, confidence_U: Tensor) -> Tensor:
        """The least confidence that counts in this step, the same on all ranks: 0-d."""
        cfg = self.cfg
        fixed = confidence_U.new_full((), 0.0 if cfg.policy == "none" else cfg.threshold)
        if cfg.policy == "manual":
            return fixed - (cfg.threshold - cfg.floor) * linear_ramp(self.step, cfg.fall, self.info.steps)
        if cfg.policy == "percentile-train":
            return self.percentile(confidence_U, self.last_counts)
        if cfg.policy == "percentile-held-out":
            return self.percentile(confidence_U, self.held_out_counts)
        if cfg.policy == "staged":
            return torch.where(self.second_stage, self.percentile(confidence_U, self.last_counts), fixed)
        return fixed

    def percentile(self, confidence_U: Tensor, counts: Tensor) -> Tensor:
        """The least of the floor(G * correct / all) highest confidences of all ranks, but at least the floor: 0-d."""
        descending_G = collectives.gather(confidence_U).sort(descending=True).values
        correct, total = counts.unbind()
        k = len(descending_G) * correct // total.clamp(min=1)  # in integers: 100 * 0.29 is 28 in floating point
        least = descending_G.gather(0, (k - 1).clamp(min=0).view(1))[0].clamp(min=self.cfg.floor)
        return torch.where(k > 0, least, NONE_COUNTS)

    def update(self, observed: dict[str, Tensor]) -> None:
        correct_G = observed["correct"]
        self.epoch_counts += torch.stack([correct_G.sum(), torch.full_like(correct_G[0], len(correct_G))])
        ended = self.epoch_counts[1] >= self.epoch_images
        self.last_counts.copy_(torch.where(ended, self.epoch_counts, self.last_counts))
        self.epoch_counts.mul_(~ended)
        correct, total = self.last_counts.double().unbind()
        self.second_stage.logical_or_(correct / total >= self.cfg.stage)  # 0 / 0 before the first end: no

    @classmethod
    def paper_settings(cls, setting: Setting) -> Changes:
        """Threshold policies on MixMatch: MixMatch's batch and optimizer. For 16,000 labels: --recipe folder-16000.

        Cost: 0.24. There are no published errors on these data sets.
        """
        return (ONE_TO_ONE | ADAM if setting.paper else {}) | {"algorithm": setting.block()}
