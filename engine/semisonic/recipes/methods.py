"""What each algorithm changes of a data set's recipe, which is FixMatch's.

On the data sets of the papers (CIFAR-10, CIFAR-100, SVHN, STL-10) the settings are the papers', or those of the code
base whose errors are quoted: 2^20 steps of 64 labelled images, evaluated by the EMA. On other data the recipe's own
batch and optimiser stay, and ramps that the papers state in steps are cut to 0.4 of the run.

Command: accelerate launch launch/train.py --data DATA --algorithm NAME --data.labels N
Costs are estimated from the images that a step sends forward and backward, as shares of FixMatch's on the same network
(with WRN-28-2 at 32 px 617 G multiply-adds a step, 1.3e18 operations in 2^20 steps); `--plan` measures. Errors are in
per cent. Sources: [F] the FixMatch paper, table 2; [T] TorchSSL's tables (best accuracy of the run); [U] USB's
classic_cv tables; [M] the MixMatch paper; others are named. + marks figures that were quoted from memory.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Changes = dict[str, Any]

PAPERS = ("cifar10", "cifar100", "svhn", "stl10")
ONE_TO_ONE: Changes = {"batch": {"unlabelled_ratio": 1}}
ADAM: Changes = {
    # A decoupled decay of 0.02 times the rate a step, on weights of convolutions and of the head alone.
    "optim": {"name": "adamw", "lr": 0.002, "weight_decay": 0.02, "schedule": "constant"}
}
GREY = ("digits", "mnist", "fashion-mnist")
LAMBDA_U = {"cifar10": 75.0, "cifar100": 150.0, "svhn": 250.0, "stl10": 50.0}
"""MixMatch's weight of the unlabelled loss."""
BLOCK = 8
"""Labelled images of a block of mixing, by default."""


@dataclass(frozen=True)
class Setting:
    """What a method's settings depend on."""

    data: str
    """Name of the recipe."""
    labels: int | None
    """Labelled images in all; None = all."""
    steps: int
    labelled: int
    """The recipe's labelled images of a step."""
    given: int | None = None
    """The user's."""

    @property
    def paper(self) -> bool:
        """Whether the papers have settings for this data set."""
        return self.data in PAPERS

    def ramp(self) -> Changes:
        """A ramp of 0.4 of the run, in steps, where the paper's would not end in it."""
        return {} if self.paper else {"ramp": max(1.0, 0.4 * self.steps)}

    def block(self, usual: int | None = None) -> Changes:
        """Blocks of mixing that divide the labelled batch, where the default ones do not; `usual`: of the method."""
        labelled = self.given or usual or self.labelled
        if labelled % BLOCK == 0:
            return {}
        return {"block": next(size for size in (25, 10, 5, 4, 3, 2, 1) if labelled % size == 0)}


def supervised(s: Setting) -> Changes:
    """The labelled images alone: the baseline, or with --data.labels null the bound.

    Cost: 0.07. Error, as [U]: CIFAR-10 77.58 (40 labels), 55.96 (250), 15.51 (4,000), 4.60 (all); SVHN 82.21 (40),
    25.70 (250), 12.46 (1,000), 2.09 (all); CIFAR-100 with WRN-28-2 89.87 (400), 61.25 (2,500), 38.99 (10,000); with
    WRN-28-8 and all labels 19.30 [T].
    """
    return {}


def pi_model(s: Setting) -> Changes:
    """Pi-Model: 64 + 64 images, weight 10, ramp over 0.4 of the run.

    Cost: 0.16 to 0.20. Error [T]: CIFAR-10 74.34 (40), 46.24 (250), 13.13 (4,000); CIFAR-100 86.96 (400), 58.80
    (2,500), 36.65 (10,000); SVHN 67.48 (40), 13.30 (250), 7.16 (1,000); STL-10 32.78 (1,000).
    """
    return ONE_TO_ONE if s.paper else {}


def pseudo_label(s: Setting) -> Changes:
    """Pseudo-Label: 64 + 64 images, threshold 0.95, ramp over 0.4 of the run.

    Cost: 0.13. Error [T]: CIFAR-10 74.61 (40), 46.49 (250), 15.08 (4,000); CIFAR-100 87.45 (400), 57.74 (2,500), 36.55
    (10,000); SVHN 64.61 (40), 15.59 (250), 9.40 (1,000); STL-10 32.64 (1,000).
    """
    return ONE_TO_ONE if s.paper else {}


def temporal_ensembling(s: Setting) -> Changes:
    """Temporal Ensembling: 64 + 64 images, weight 30, SVHN 100.

    Cost: 0.13. Error: CIFAR-10 with 4,000 labels 10.70, of LAMDA-SSL's tables (WRN-28-2); the paper's own are of
    another network.
    """
    weight = {"weight": 100.0} if s.data == "svhn" else {}
    return (ONE_TO_ONE if s.paper else {}) | {"algorithm": weight}


def mean_teacher(s: Setting) -> Changes:
    """Mean Teacher: 64 + 64 images, weight 50, the EMA's decay corrected at the start.

    Cost: 0.16. Error [T]: CIFAR-10 70.09 (40), 37.46 (250), 8.10 (4,000); CIFAR-100 81.11 (400), 45.17 (2,500), 31.75
    (10,000); SVHN 36.09 (40), 3.45 (250), 3.27 (1,000); STL-10 33.90 (1,000).
    """
    return ONE_TO_ONE | {"ema": {"start_up": "mean_teacher"}} if s.paper else {}


def vat(s: Setting) -> Changes:
    """Virtual adversarial training: 64 + 64 images, perturbations of length 6, weight 0.3, entropy 0.06.

    Where images are smaller than 32 px the length shrinks with their side, as the noise of one pixel should not grow.
    Cost: 0.24. Error [T]: CIFAR-10 74.66 (40), 41.03 (250), 10.51 (4,000); CIFAR-100 85.20 (400), 46.84 (2,500), 32.14
    (10,000); SVHN 74.75 (40), 4.33 (250), 4.11 (1,000); STL-10 37.95 (1,000).
    """
    if s.data == "digits":
        return {"algorithm": {"eps": 3.0}}
    return ONE_TO_ONE if s.paper else {}


def ict(s: Setting) -> Changes:
    """Interpolation consistency: 100 + 100 images, 400 epochs, SGD 0.1 with a cosine, Beta(1, 1), SVHN Beta(0.1, 0.1).

    CIFAR-100 and STL-10 have no settings of the authors; they get CIFAR-10's.
    Cost: 0.24 a step, 200,000 steps: 0.05 of FixMatch's run. Error, of the authors' repository: CIFAR-10 7.66 +- 0.17
    (4,000), SVHN 3.53 +- 0.07 (1,000).
    """
    alpha = {"alpha": 0.1} if s.data in ("svhn", *GREY) else {}
    if s.data in GREY:  # in short runs the consistency must weigh more to matter
        return {"algorithm": {"weight": 300.0, "ramp": 0.5} | alpha | s.block()}
    if not s.paper:
        return {"algorithm": s.block()}
    return {
        "steps": 293_000 if s.data == "svhn" else 200_000,
        "batch": {"labelled": 100, "unlabelled_ratio": 1},
        "optim": {"name": "sgd", "lr": 0.1, "schedule": "cosine"},
        "ema": {"start_up": "mean_teacher"},
        "algorithm": alpha | s.block(100),
    }


def mixmatch(s: Setting) -> Changes:
    """MixMatch: 64 + 64 images, Adam 0.002, weight 75 (CIFAR-100 150, SVHN 250, STL-10 50), ramp of 16,000 steps.

    Cost: 0.24. Error: CIFAR-10 47.54 +- 11.50 (40), 11.05 +- 0.86 (250), 6.42 +- 0.10 (4,000) [F]; CIFAR-100 67.61+
    (400), 39.94+ (2,500), 28.31+ (10,000) [F]; SVHN 42.55+ (40), 3.98+ (250), 3.50+ (1,000) [F], 3.78 (250), 3.27
    (1,000) [M]; STL-10 10.41 (1,000) [F].
    """
    own = {"weight": LAMBDA_U.get(s.data, 75.0)} | s.ramp() | s.block()
    return (ONE_TO_ONE | ADAM if s.paper else {}) | {"algorithm": own}


def remixmatch(s: Setting) -> Changes:
    """ReMixMatch: 64 + 64 images, two strong views, SGD, as in TorchSSL; the paper has Adam and 8 views by CTAugment.

    Cost: 0.42; with --algorithm.strong-views 8 0.82. Error [T]: CIFAR-10 9.88 (40), 6.30 (250), 4.84 (4,000); CIFAR-100
    42.75 (400), 26.03 (2,500), 20.02 (10,000); SVHN 24.04 (40), 6.36 (250), 5.16 (1,000); STL-10 6.74 (1,000). The
    paper's setting [F]: CIFAR-10 19.10 +- 9.64, 5.44 +- 0.05, 4.72 +- 0.13; CIFAR-100 44.28, 27.43, 23.03; SVHN 3.34,
    2.92, 2.65; STL-10 5.23.
    """
    return (ONE_TO_ONE if s.paper else {}) | {"algorithm": s.ramp() | s.block()}


def uda(s: Setting) -> Changes:
    """Unsupervised data augmentation: FixMatch's batch and optimiser, threshold 0.8, temperature 0.4, no annealing.

    Cost: 1. Error [F]: CIFAR-10 29.05 +- 5.93 (40), 8.82 +- 1.08 (250), 4.88 +- 0.18 (4,000); CIFAR-100 59.28 (400),
    33.13 (2,500), 24.50+ (10,000); SVHN 52.63+ (40), 5.69+ (250), 2.46+ (1,000); STL-10 7.66 (1,000). [T]: CIFAR-10
    10.62, 5.16, 4.29.
    """
    return {}


def fixmatch(s: Setting) -> Changes:
    """FixMatch: the recipe itself.

    Cost: 1. Error [F]: CIFAR-10 13.81 +- 3.37 (40), 5.07 +- 0.65 (250), 4.26 +- 0.05 (4,000); CIFAR-100 48.85 +- 1.75
    (400), 28.29 +- 0.11 (2,500), 22.60 +- 0.12 (10,000); SVHN 3.96 +- 2.17 (40), 2.48 +- 0.38 (250), 2.28 +- 0.11
    (1,000); STL-10 7.98 +- 1.50 (1,000).
    """
    return {}


def flexmatch(s: Setting) -> Changes:
    """FlexMatch: FixMatch's settings, thresholds by class. On SVHN its low thresholds hurt.

    Cost: 1. Error [T]: CIFAR-10 4.97 +- 0.06 (40), 4.98 (250), 4.19 (4,000); CIFAR-100 39.94 +- 1.62 (400), 26.49
    (2,500), 21.90 (10,000); SVHN 8.19 +- 3.2 (40), 6.59 (250), 6.72 (1,000); STL-10 5.77 (1,000).
    """
    return {}


def mpl(s: Setting) -> Changes:
    """Meta Pseudo Labels with UDA: 300,000 steps of 128 + 896 images, SGD 0.05 for both networks, EMA 0.995.

    The student waits 3,000 steps and warms up over 5,000; other numbers of steps keep these shares.
    Cost: 3.1 a step, 0.9 of FixMatch's run. Error, as the public CIFAR-10 command lines' repository gives it: CIFAR-10
    3.89 +- 0.07 (4,000), SVHN 1.99 +- 0.07 (1,000), both after finetuning; its own run 3.99 without it, 3.92 with it.
    """
    if not s.paper:
        # Short runs: labels worth learning first, and a weight that the teacher survives.
        own = {"uda_weight": 1.0, "uda_steps": s.steps // 2, "threshold": 0.8, "strong": "fixmatch"}
        return {"algorithm": own, "optim": {"schedule": "cosine"}}
    return {
        "steps": 300_000,
        "batch": {"labelled": 128, "unlabelled_ratio": 7},
        "optim": {"name": "sgd", "lr": 0.05, "schedule": "cosine"},
        "ema": {"decay": 0.995},
    }


def enaet(s: Setting) -> Changes:
    """EnAET: MixMatch and five transformation decoders, 128 + 128 images, Adam 0.002, ramp of 50 epochs.

    Cost: 1.6. Error, of the authors' repository: CIFAR-10 7.6 +- 0.34 (250), 5.35 (4,000); SVHN 3.21 +- 0.21 (250),
    2.92 (1,000); CIFAR-100 58.73 (1,000), 26.93 (10,000); STL-10 8.04 (1,000).
    """
    own = {"weight": LAMBDA_U.get(s.data, 75.0)} | s.ramp() | s.block()
    if s.data in GREY:
        # Ink that is turned far is another class; and in a short run most guesses that a divergence spreads are wrong.
        own |= {"degrees": 30.0, "quarter_turns": False, "consistency": 0.1}
        return {"batch": {"unlabelled_ratio": 2}, "algorithm": own}
    batch = {"batch": {"labelled": 128, "unlabelled_ratio": 1}}
    return (batch | ADAM if s.paper else {}) | {"algorithm": own}


def policy_mixmatch(s: Setting) -> Changes:
    """Threshold policies on MixMatch: MixMatch's batch and optimiser. For 16,000 labels: --recipe folder-16000.

    Cost: 0.24. There are no published errors on these data sets.
    """
    return (ONE_TO_ONE | ADAM if s.paper else {}) | {"algorithm": s.block()}


def rotnet(s: Setting) -> Changes:
    """RotNet's pre-training: 200 epochs of 128 images in four turns, SGD 0.1; a cosine in place of the paper's steps.

    Cost: 0.58 a step (four turns, a probe on the labelled images), 78,000 steps: 0.04 of FixMatch's run. The error of
    the linear probe that is reported is not the paper's, whose network is another.
    """
    changes: Changes = {"baseline": False}
    if s.paper:
        changes["steps"] = 78_000
        changes["batch"] = {"labelled": 128, "unlabelled_ratio": 1}
        changes["optim"] = {"name": "sgd", "lr": 0.1, "schedule": "cosine"}
    return changes


def simclr(s: Setting) -> Changes:
    """SimCLR's pre-training: 1,000 epochs of 512 images in two views, ResNet-18, SGD with a cosine in place of LARS.

    Cost: 1.1 times FixMatch's images a step, of ResNet-18; 98,000 steps. The authors' repository reports about 9 per
    cent error of a linear probe on CIFAR-10 with all labels (LARS, rate 1.0, weight decay 1e-6).
    """
    changes: Changes = {"baseline": False}
    if s.paper:
        changes["steps"] = 98_000
        changes["model"] = {"name": "resnet18"}
        changes["batch"] = {"labelled": 64, "unlabelled_ratio": 8}
        changes["optim"] = {"name": "sgd", "lr": 0.1, "schedule": "cosine", "warm_up": 1_000}
    return changes


METHODS: dict[str, Callable[[Setting], Changes]] = {
    "enaet": enaet,
    "fixmatch": fixmatch,
    "flexmatch": flexmatch,
    "ict": ict,
    "mean-teacher": mean_teacher,
    "mixmatch": mixmatch,
    "mpl": mpl,
    "pi-model": pi_model,
    "policy-mixmatch": policy_mixmatch,
    "pseudo-label": pseudo_label,
    "remixmatch": remixmatch,
    "rotnet": rotnet,
    "simclr": simclr,
    "supervised": supervised,
    "temporal-ensembling": temporal_ensembling,
    "uda": uda,
    "vat": vat,
}
"""By the algorithm's name on the command line; one that is not here changes nothing."""
