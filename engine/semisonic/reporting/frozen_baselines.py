"""The baselines on frozen features, as people read them: their names, and a line of each."""

from collections.abc import Mapping
from typing import Any

NAMES = {"neighbors": "nearest neighbors", "logistic": "logistic regression", "self_training": "self-training"}
"""By their entries in summary.json's `frozen`, in the order in which they are shown."""
IMAGES = {"test_top1": "test", "held_out_top1": "held-out"}


def full_name(name: str) -> str:
    return f"{NAMES[name]} (frozen features)"


def line_of(name: str, found: Mapping[str, Any]) -> str:
    """What a baseline has come to, or why it has come to nothing."""
    if "error" in found:
        return f"error: {full_name(name)}: {found['error']}"
    accuracies = [f"{what} top-1 {found[entry]:.2f} %" for entry, what in IMAGES.items() if entry in found]
    details = []
    if "k" in found:
        details.append(f"k = {found['k']} by {found['chosen_by']}")
    if "chosen_by" in found and "k" not in found:
        details.append(f"C = {found['strength']:g} by {found['chosen_by']}")
    if "pseudo_labels" in found:
        details.append(f"{found['pseudo_labels']:,} pseudo-labels in {found['rounds']} rounds")
    if found.get("converged") is False:
        details.append("not converged")
    detail = f" ({'; '.join(details)})" if details else ""
    return f"{full_name(name)}: {', '.join(accuracies) or 'no images to evaluate on'}{detail}, {found['seconds']:.0f} s"
