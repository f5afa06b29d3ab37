"""AUM: wrong given labels show in their margins over the run (Pleiss et al. 2020, arXiv 2001.10528).

    margin(x, y) = z_y - max over c != y of z_c,   z the logits of the labeled view as the step trains on them
    AUM          = its mean over all steps in which x was seen

An image whose label is wrong is pulled towards other classes by all that look like it: its margin stays small, or below
0, until it is memorized, which the mean over the run remembers. A finished network has memorized it.

The logits are those of the step's own forward, at no cost. Where a method mixes its labeled images it has no such
logits; `on` then takes a forward of its own, of the labeled view alone, which moves nothing.
Written into labels/margins.parquet of the run.
Shape suffixes: B labeled batch, C classes, L labeled set, N global labeled batch.
"""

from typing import Literal

import torch
from torch import Tensor

from semisonic.algorithms.add_on import AddOn, Base, Term
from semisonic.algorithms.base import Algorithm
from semisonic.contract import Batch, Info, StepOutput
from semisonic.models.norm import running_statistics
from semisonic.models.randomness import without_draws
from semisonic.schema import Config


class AUMConfig(Config):
    record: Literal["auto", "on", "off"] = "auto"
    """Whether the margins of the labeled images are recorded, which find wrong labels among them. auto = where the step
    has logits of unmixed labeled images anyway; on = also where that takes one forward of them more."""


class AUM(AddOn):
    Config = AUMConfig
    cfg: AUMConfig
    margin_sum: Tensor
    """float64 [L]."""
    margin_n: Tensor
    """int64 [L]."""

    @classmethod
    def active(cls, cfg: AUMConfig, base: Base) -> bool:
        sees = base.kind.roles == ("network",) and "labeled" in base.kind.sees(base.cfg)
        return cfg.record == "on" or (cfg.record == "auto" and sees)

    @classmethod
    def problems(cls, cfg: AUMConfig, base: Base) -> list[str]:
        if base.kind.roles == ("network",) and base.views.labeled:
            return []
        return [f"addons.aum.record: {base.name} has not one network and labeled images; use auto or off"]

    @classmethod
    def beside_baseline(cls, cfg: AUMConfig) -> AUMConfig:
        return cfg

    @classmethod
    def note(cls, cfg: AUMConfig, base: Base) -> str | None:
        if cfg.record != "auto" or cls.active(cfg, base) or not base.views.labeled:
            return None
        more = "; --addons.aum.record on takes a forward more" if base.kind.roles == ("network",) else ""
        return f"Margins of given labels: not recorded, for {base.name} has no logits of unmixed labeled images{more}"

    def setup(self, algorithm: Algorithm, info: Info) -> None:
        self.register_buffer("margin_sum", torch.zeros(info.labeled, dtype=torch.float64))
        self.register_buffer("margin_n", torch.zeros(info.labeled, dtype=torch.int64))

    def term(self, algorithm: Algorithm, batch: Batch, output: StepOutput) -> Term:
        if "labeled" in output.seen:
            logits_BC = output.seen["labeled"].logits.detach()
        else:
            with torch.no_grad(), running_statistics(), without_draws():
                view = next(iter(algorithm.views(algorithm.cfg).labeled))
                logits_BC = algorithm.infer(batch.x[view], track=False)
        margin_B = margins(logits_BC, batch.y)
        # In one tensor, so that ranks exchange one message.
        row_B2 = torch.stack([batch.x_index.double(), margin_B.double()], 1)
        return Term(None, {"margin": margin_B.mean()}, {"index and margin": row_B2})

    def update(self, observed: dict[str, Tensor]) -> None:
        # index_put_ and not index_add_: that one sums a repeated image in any order on a GPU.
        index_N, margin_N = observed["index and margin"].to(self.margin_sum.dtype).unbind(1)
        index_N = index_N.long()
        self.margin_sum.index_put_((index_N,), margin_N, accumulate=True)
        self.margin_n.index_put_((index_N,), torch.ones_like(index_N), accumulate=True)

    def labeled_tables(self) -> dict[str, dict[str, Tensor]]:
        return {"margins": {"sum": self.margin_sum, "n": self.margin_n}}


def margins(logits_BC: Tensor, label_B: Tensor) -> Tensor:
    """z_y minus the largest other logit of each sample: [B]."""
    own_B1 = label_B[:, None]
    others_BC = logits_BC.scatter(1, own_B1, -torch.inf)
    return logits_BC.gather(1, own_B1)[:, 0] - others_BC.amax(1)
