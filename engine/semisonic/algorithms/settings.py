"""What an algorithm's paper settings depend on, and what several algorithms share of theirs.

A data set's recipe holds FixMatch's settings; `Algorithm.paper_settings` says what another algorithm changes of it. On
the data sets of the papers (CIFAR-10, CIFAR-100, SVHN, STL-10) that makes the papers' settings, or those of the code
base whose errors are quoted: 2^20 steps of 64 labeled images, evaluated by the EMA. On other data the recipe's own
batch and optimizer stay, and ramps that the papers state in steps are cut to 0.4 of the run.

What the docstrings of `paper_settings` quote:
Costs are estimated from the images that a step sends forward and backward, as shares of FixMatch's on the same network
(with WRN-28-2 at 32 px 617 G multiply-adds a step, 1.3e18 operations in 2^20 steps); `--plan` measures. Errors are in
per cent, with the number of labels in brackets, and stand beside the settings that they belong to. Sources: [F] the
FixMatch paper, table 2; [T] TorchSSL's tables and [U] USB's classic_cv ones, both of the best accuracy of a run; [M]
the MixMatch paper, as EnAET's repository gives its numbers; others are named. + marks numbers quoted from memory.

What belongs to all settings of a source:
* [T] and [U] have `usb` as strong view: three operations, and Cutout in a fixed color.
* SVHN: [F] and [M] train without the extra images, as the recipe does. [T] and [U] train with them, and with flips,
  which digits do not survive: --data.svhn-extra true --data.flip true. "(extra)" marks their errors.
* All train in float32, whatever the hardware: --precision fp32.
* The unlabeled images of STL-10 hold copies of test images, which flatter every method.
Command: accelerate launch launch/train.py --data DATA --algorithm NAME --data.labels N
"""

from dataclasses import dataclass
from typing import Any

Changes = dict[str, Any]
"""Sections and fields of a run's configuration -> what they become."""

PAPER_RECIPES = ("cifar10", "cifar100", "svhn", "stl10")
USB_RECIPES = ("usb-cifar100", "usb-stl10", "usb-eurosat", "usb-tissuemnist", "usb-semi-aves")
FINE_TUNED_RECIPES = (*USB_RECIPES, "folder-vit", "folder-small-vit")
"""Pre-trained transformers, all of them trained, in USB's setting."""
GRAY_RECIPES = ("digits", "mnist", "fashion-mnist")
ONE_TO_ONE: Changes = {"batch": {"unlabeled_ratio": 1}}
ADAM: Changes = {
    # A decoupled decay of 0.02 times the rate a step, on weights of convolutions and of the head alone.
    "optim": {"name": "adamw", "lr": 0.002, "weight_decay": 0.02, "schedule": "constant"}
}
BLOCK = 8
"""Labeled images of a block of mixing, by default."""


@dataclass(frozen=True)
class Setting:
    """What an algorithm's settings depend on."""

    recipe: str
    """Name of the data set's recipe."""
    labels: int | None
    """Labeled images in all; None = all."""
    steps: int
    labeled_batch: int
    """The recipe's labeled images of a step."""
    user_labeled_batch: int | None = None
    """The user's, if given."""

    @property
    def paper(self) -> bool:
        """Whether the papers have settings for this data set."""
        return self.recipe in PAPER_RECIPES

    @property
    def usb(self) -> bool:
        """Whether the recipe's setting is USB's for pre-trained transformers."""
        return self.recipe in FINE_TUNED_RECIPES

    @property
    def quoted_view(self) -> Changes:
        """The strong view of TorchSSL and USB, for methods whose errors are theirs, on the data sets that have any."""
        return {"strong": "usb"} if self.usb or self.paper else {}

    def teacher(self) -> Changes:
        """An average for those that learn from one, where the recipe has none: USB's evaluate the network itself."""
        return {"ema": {"decay": 0.999, "start_up": "tf"}} if self.recipe in USB_RECIPES else {}

    def ramp(self) -> Changes:
        """A ramp of 0.4 of the run, in steps, where the paper's would not end in it."""
        return {} if self.paper else {"ramp": max(1.0, 0.4 * self.steps)}

    def averages(self) -> Changes:
        """Running averages that look back over a quarter of the run, where the papers' 1,000 steps are more.

        Chosen on the digits, 40 labels, 400 steps, seeds 10 and 11. The errors are the same within two images of 400;
        with the papers' 0.999 FreeMatch's tau ends at 0.36 and every image counts, with 0.99 at 0.96.
        """
        return {} if self.paper or self.usb else {"momentum": round(min(0.999, max(0.0, 1 - 4 / self.steps)), 6)}

    def block(self, usual: int | None = None) -> Changes:
        """Blocks of mixing that divide the labeled batch, where the default ones do not.

        usual: labeled images of a step as the algorithm has them, where that is not the recipe's number.
        """
        labeled = self.user_labeled_batch or usual or self.labeled_batch
        if labeled % BLOCK == 0:
            return {}
        return {"block": next(size for size in (25, 10, 5, 4, 3, 2, 1) if labeled % size == 0)}
