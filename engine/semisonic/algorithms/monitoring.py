"""What algorithms report: their losses and how good their pseudo-labels are, and to add-ons what they have seen.

Shape suffixes: B labeled batch, U unlabeled batch, C classes.
"""

from torch import Tensor

from semisonic.contract import Guess, Seen
from semisonic_kernels.losses import one_hot


def loss_metrics(labeled: Tensor, unlabeled: Tensor, logits_BC: Tensor, label_B: Tensor) -> dict[str, Tensor]:
    """What every method with unlabeled images logs: both losses, and the accuracy on the labeled images; detached."""
    return {
        "loss_labeled": labeled.detach(),
        "loss_unlabeled": unlabeled.detach(),
        "labeled_accuracy": logits_BC.argmax(-1).eq(label_B).float().mean(),
    }


def pseudo_label_metrics(label_U: Tensor, mask_U: Tensor, true_U: Tensor, classes: int) -> dict[str, Tensor]:
    """What is logged about pseudo-labels: labels [U], which of them count (0..1) [U], true classes [U] (-1 unknown).

    All are means over the whole batch, so that they average over steps and ranks; precision is
    pseudo_label_correct / pseudo_label_known, and class_share [C] sums to `coverage`.
    """
    mask_U = mask_U.detach().float()
    shares_UC = one_hot(label_U, classes) * mask_U[:, None]
    return {
        "coverage": mask_U.mean(),
        "pseudo_label_correct": (mask_U * (label_U == true_U)).mean(),
        "pseudo_label_known": (mask_U * (true_U >= 0)).mean(),
        "class_share": shares_UC.mean(0),
    }


def seen_by(x: Seen, label_B: Tensor, weak: Seen, strong: Seen, guess: Guess) -> dict[str, Seen]:
    """What a method has seen that guesses labels from one view and trains another one on them."""
    guessed = {"targets": guess.targets, "mask": guess.mask}
    return {
        "labeled": x._replace(targets=label_B),
        "guessed": weak._replace(**guessed),
        "trained": strong._replace(**guessed),
    }
