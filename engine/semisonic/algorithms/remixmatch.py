"""ReMixMatch: distribution alignment and augmentation anchoring (Berthelot et al. 2020, arXiv 1911.09785).

    p   = softmax(f(weak(u))), no gradient;   p_run = mean of the last 128 batches' mean p, this one's included
    q   = sharpen_T(normalize(p * p_lab / p_run)), p_lab the class frequencies of the labeled set
    mixed = MixUp of {weak(x), strong_1..K(u), weak(u)} with targets {y, q, .., q}; lam = max(lam, 1 - lam), Beta(a, a);
            strong(x) in the paper's algorithm 1: see `labeled`
    L   = H(y', f(x')) + w_m r H(q', f(u')) + w_kl r H(q, f(strong_1(u))) + w_rot H(k, g(rot_k(strong_1(u))))

H are means over samples, r(t) ramps up linearly, g is a rotation head on the features, k a random quarter turn.
Mixed, anchored and rotated images go through one forward, which tracks BatchNorm; the guess is a forward of its own.
Shape suffixes: B labeled batch, U unlabeled batch, N = B + (K + 1) U, C classes, D features, R rows of the window.
"""

from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from semisonic.algorithms.add_on import LOGITS
from semisonic.algorithms.alignment import EPSILON, MeanWindow, aligned
from semisonic.algorithms.base import Algorithm
from semisonic.algorithms.mixing import SampleLam, betas_of, block_problems, mixing_partners, mixing_weights
from semisonic.algorithms.monitoring import loss_metrics, pseudo_label_metrics
from semisonic.algorithms.ramps import linear_ramp
from semisonic.algorithms.settings import ONE_TO_ONE, Changes, Setting
from semisonic.contract import Batch, Info, Seen, StepOutput, Views, parted
from semisonic.schema import Config, UsedWith
from semisonic_kernels import collectives
from semisonic_kernels.losses import consistency_loss, one_hot, sharpen
from semisonic_kernels.mixup import mixup
from semisonic_kernels.rotate import rotate


class ReMixMatchConfig(Config):
    name: Literal["remixmatch"] = "remixmatch"
    temperature: float = Field(0.5, gt=0, le=100)
    """Sharpens the guessed labels; 1 leaves them as they are."""
    alpha: Annotated[float, UsedWith("lam", ("sample",))] = Field(0.75, gt=0, le=1000)
    """MixUp's lambda follows Beta(alpha, alpha)."""
    lam: SampleLam = "sample"
    """A mixing weight for each image, or a number for all, 0 to 1; 0.1 and 0.9 are the same."""
    strong_views: int = Field(2, ge=1, le=64)
    """Strongly augmented views of each unlabeled image (K); the paper's CIFAR-10 results have 8."""
    w_m: float = Field(1.5, ge=0, le=1e6)
    """Weight of the mixed unlabeled images."""
    w_kl: float = Field(0.5, ge=0, le=1e6)
    """Weight of the first strong view, not mixed, against the guess."""
    w_rot: float = Field(0.5, ge=0, le=1e6)
    """Weight of the rotation loss."""
    ramp: float = Field(16384, ge=0, le=1e9)
    """Steps over which w_m and w_kl rise from 0; up to 1, a share of the run; 0 = both whole from the start."""
    window: int = Field(128, ge=0, le=10**6)
    """Batches in the running mean of predictions, to which the guesses are aligned; 0 = no alignment."""
    block: int = Field(8, ge=1, le=2**20)
    """Labeled images, with their share of unlabeled ones, among which mixing partners are drawn; must divide a
    rank's labeled batch."""
    labeled: Literal["weak", "strong"] = "weak"
    """Which augmentation the labeled images get: weak, as in TorchSSL and USB, whose errors are quoted; strong, as in
    the paper's algorithm 1."""
    weak: str = "weak"
    """Augmentation of the views that are guessed from, and of the labeled images unless `labeled` is strong."""
    strong: str = "fixmatch"
    """Augmentation of the strong views; the paper's is CTAugment."""


class ReMixMatch(Algorithm, MeanWindow):
    Config = ReMixMatchConfig
    cfg: ReMixMatchConfig
    open_to = LOGITS
    micro_batches = False  # guesses are aligned to the mean of the whole batch
    prior_C: Tensor

    @classmethod
    def views(cls, cfg: ReMixMatchConfig) -> Views:
        strong = {f"strong_{k}": cfg.strong for k in range(cfg.strong_views)}
        return Views(
            labeled={cfg.labeled: getattr(cfg, cfg.labeled)},
            unlabeled={"weak": cfg.weak, **strong},
            draws={"lam_u": cfg.strong_views + 1, "partner_u": cfg.strong_views + 1, "turns": 1},
            labeled_draws={"lam_x": 1, "partner_x": 1},
            betas=betas_of(cfg.lam, cfg.alpha, "lam_u", "lam_x"),
        )

    @classmethod
    def problems(cls, cfg: ReMixMatchConfig, labeled: int, unlabeled: int) -> list[str]:
        return block_problems(cfg.block, labeled, unlabeled)

    def setup(self, info: Info) -> None:
        width: Any = self.network.feature_dim
        self.rotation = nn.Linear(width, 4)
        self.register_buffer("prior_C", torch.tensor(info.class_prior))
        self.open_window(max(1, self.cfg.window), info.classes)

    def loss(self, batch: Batch) -> StepOutput:
        cfg, size = self.cfg, len(batch.y)
        anchor = batch.u["strong_0"]
        guess_UC, mean_C = self.guess(batch.u["weak"])
        images, targets_NC = self.mixed(batch, guess_UC)
        turns_U = (4 * batch.draws["turns"][:, 0]).long()
        rows = [size, *[len(anchor)] * (cfg.strong_views + 1)]
        views = (images, anchor, rotate(anchor, turns_U))
        mixed_ND, anchor_UD, rotated_UD = self.features(*views, rows=[*rows, len(anchor), len(anchor)])
        x, u = parted(Seen(self.head(mixed_ND, rows=rows), mixed_ND), size)
        first = Seen(self.head(anchor_UD), anchor_UD)

        labeled = self.mixed_labeled_loss(x, targets_NC[:size], batch.y, batch.x_index)
        unlabeled = consistency_loss(self.trained_logits(u), targets_NC[size:])
        anchored = consistency_loss(self.trained_logits(first), guess_UC)
        rotation = F.cross_entropy(self.head(rotated_UD, "rotation"), turns_U)
        ramp = linear_ramp(self.step, cfg.ramp, self.info.steps)
        loss = labeled + ramp * (cfg.w_m * unlabeled + cfg.w_kl * anchored) + cfg.w_rot * rotation

        label_U, all_U = guess_UC.argmax(-1), torch.ones_like(guess_UC[:, 0])
        metrics = {
            **loss_metrics(labeled, unlabeled, x.logits, batch.y),
            "loss_anchored": anchored.detach(),
            "loss_rotation": rotation.detach(),
            "ramp": ramp,
            **pseudo_label_metrics(label_U, all_U, batch.u_true, self.info.classes),
        }
        return StepOutput(loss, metrics, {"mean": mean_C[None]})

    @torch.no_grad()
    def guess(self, weak: Tensor) -> tuple[Tensor, Tensor]:
        """Labels [U, C] guessed from weak views, and the global batch's mean prediction [C] before its alignment."""
        (seen,) = self.look(weak, track=False)
        p_UC = self.guessed_logits(seen).softmax(-1)
        mean_C = collectives.mean(p_UC.mean(0))
        if self.cfg.window:
            p_UC = aligned(p_UC, self.prior_C, self.running(mean_C), EPSILON)
        return sharpen(p_UC, self.cfg.temperature), mean_C

    def mixed(self, batch: Batch, guess_UC: Tensor) -> tuple[Tensor, Tensor]:
        """All images mixed with a partner [N, 3, H, W], normalized, and their targets [N, C]; labeled ones first."""
        cfg, count, draws = self.cfg, self.cfg.strong_views, batch.draws
        views = [*(batch.u[f"strong_{k}"] for k in range(count)), batch.u["weak"]]
        labels_BC = one_hot(batch.y, self.info.classes).to(guess_UC.dtype)
        blocks = len(batch.y) // self.cfg.block
        partners_N = mixing_partners([draws["partner_x"][:, 0], *draws["partner_u"].unbind(1)], blocks)
        return mixup(
            torch.cat([batch.x[self.cfg.labeled], *views]),
            torch.cat([labels_BC, *[guess_UC] * len(views)]),
            partners_N,
            mixing_weights(cfg.lam, torch.cat([draws["lam_x"][:, 0], *draws["lam_u"].unbind(1)]), blocks),
            self.pixel_mean,
            self.pixel_scale,
            dominant=True,
        )

    def update(self, observed: dict[str, Tensor]) -> None:
        self.push_mean(observed["mean"])

    @classmethod
    def paper_settings(cls, setting: Setting) -> Changes:
        """ReMixMatch: 64 + 64 images, two strong views, SGD, all as in TorchSSL; the labeled images are weak.

        Cost: 0.42; with --algorithm.strong-views 8 0.82. Error [T]: CIFAR-10 9.88 (40), 6.30 (250), 4.84 (4,000);
        CIFAR-100 42.75 (400), 26.03 (2,500), 20.02 (10,000); SVHN (extra) 24.04 (40), 6.36 (250), 5.16 (1,000); STL-10
        6.74 (1,000). The paper has another setting and other errors: Adam, 8 views by CTAugment, strong labeled images.
        """
        strong = {"strong": "usb"} if setting.paper else {}
        return (ONE_TO_ONE if setting.paper else {}) | {"algorithm": strong | setting.ramp() | setting.block()}
