"""DeFixMatch: FixMatch with an unbiased risk (Schmutz et al. 2022, arXiv 2203.07512).

    F(z) = mean over z of 1[max q >= threshold] * H(argmax q, p(strong(z))),   q = p(weak(z)), no gradient
    L    = 1/2 mean_B [H(y, p(weak(x))) + H(y, p(strong(x)))] + weight * (F(u) - F(x))

F(x) looks at no label. Where labeled and unlabeled images are of one distribution, F(u) and F(x) have one expectation,
so that L has that of the labeled loss, whatever the pseudo-labels are; it can be negative. All four views go through
one forward, unless `weak_pass` separates the weak views of u; the labels of F(x) are of the pass that trains them.
Guesses that are aligned (`addons.prior`) are so by the unlabeled images in both terms: one F for both.
Shape suffixes: B labeled batch, U unlabeled batch, C classes.
"""

from typing import Literal

from pydantic import Field

from semisonic.algorithms.monitoring import loss_metrics, pseudo_label_metrics, seen_by
from semisonic.algorithms.settings import Changes, Setting
from semisonic.algorithms.weak_strong import WeakStrong, WeakStrongConfig, WeakStrongViews
from semisonic.contract import Batch, StepOutput, Views
from semisonic_kernels.losses import consistency_loss


class DeFixMatchConfig(WeakStrongConfig):
    name: Literal["defixmatch"] = "defixmatch"
    weight: float = Field(0.5, ge=0, le=1e6)
    """Weight of the unlabeled loss, and of the labeled images' share in it that is subtracted."""
    labeled_view: Literal["both"] = "both"  # type: ignore[assignment]
    """The labeled images are seen by both policies."""


class DeFixMatch(WeakStrong):
    Config = DeFixMatchConfig
    cfg: DeFixMatchConfig

    @classmethod
    def views(cls, cfg: WeakStrongViews) -> Views:
        both = {"weak": cfg.weak, "strong": cfg.strong}
        return Views(labeled=both, unlabeled=both)

    def loss(self, batch: Batch) -> StepOutput:
        (x, strong_x), weak, (strong,) = self.look_at_views(
            [batch.x["weak"], batch.x["strong"]], batch.u["weak"], [batch.u["strong"]]
        )
        guess = self.guess_labels(weak, self.cfg.threshold)
        guess_x = self.guess_labels(x._replace(unlabeled=weak.logits), self.cfg.threshold)

        weak_loss, strong_loss = (self.labeled_loss(seen, batch.y, index_B=batch.x_index) for seen in (x, strong_x))
        labeled = (weak_loss + strong_loss) / 2
        unlabeled = consistency_loss(self.trained_logits(strong), guess.targets, guess.mask)
        subtracted = consistency_loss(self.trained_logits(strong_x), guess_x.targets, guess_x.mask)
        loss = labeled + self.cfg.weight * (unlabeled - subtracted)

        metrics = {
            **loss_metrics(labeled, unlabeled, x.logits, batch.y),
            "loss_subtracted": subtracted.detach(),
            **pseudo_label_metrics(guess.labels, guess.mask, batch.u_true, self.info.classes),
        }
        return StepOutput(loss, metrics, {}, seen_by(x, batch.y, weak, strong, guess))

    @classmethod
    def paper_settings(cls, setting: Setting) -> Changes:
        """DeFixMatch: FixMatch's settings, half the weight, and its share of the labeled images subtracted.

        Cost: 1.07. The authors' code has this weight for FixMatch, too. Error [U], of pre-trained transformers with
        USB's strong view: CIFAR-100 31.52 (200), 21.12 (400); STL-10 17.68 (40), 7.94 (100): the recipes usb-*.
        There are no published errors of the paper's own settings on these data sets.
        """
        return {"algorithm": {"strong": "usb"}} if setting.usb else {}
