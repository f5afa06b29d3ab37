"""What pretext tasks share: a loss on unlabeled images alone, and a linear probe that shows what the features know.

    L = pretext(u) + H(y, head(features(weak(x)))), no gradient from the probe into the features

The probe is the network's own head, so the run's evaluation shows its accuracy, and a checkpoint is a valid --init. Its
features come from a forward of their own without gradient, normalized by running statistics as in the evaluation: by
the labeled batch's own, a probe learns features that no evaluation sees. So the labeled images have no part in what
the features learn. The pretext's forward tracks BatchNorm.
Shape suffixes: B labeled batch, D features, C classes.
"""

from typing import Any

import torch
from torch import Tensor

from semisonic.algorithms.add_on import LABELED
from semisonic.algorithms.base import Algorithm
from semisonic.algorithms.monitoring import loss_metrics
from semisonic.contract import Batch, Seen, StepOutput
from semisonic.models.norm import running_statistics
from semisonic.models.randomness import without_draws


class Pretext(Algorithm):
    """Base of the pretext tasks. A subclass states `views`, with a labeled one named "weak", and `pretext`."""

    open_to = LABELED
    own_task = True

    @classmethod
    def sees(cls, cfg: Any) -> tuple[str, ...]:
        return ("labeled",)

    def pretext(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss on the unlabeled views, 0-d, and metrics; its forward tracks BatchNorm."""
        raise NotImplementedError

    def loss(self, batch: Batch) -> StepOutput:
        pretext, metrics = self.pretext(batch)
        with torch.no_grad(), running_statistics(), without_draws():
            (features_BD,) = self.features(batch.x["weak"], track=False)
        x = Seen(self.head(features_BD), features_BD)
        probe = self.labeled_loss(x, batch.y, index_B=batch.x_index)

        metrics = {
            **loss_metrics(probe, pretext, x.logits, batch.y),
            **metrics,
        }
        return StepOutput(pretext + probe, metrics, {}, {"labeled": x._replace(targets=batch.y)})
