"""Losses and targets of semi-supervised learning on logits, each in one pass.

Logits and probabilities may have any floating dtype; everything is computed in float32, for float64 in float64, which
is also the dtype of the results. Gradients have the dtype of what they belong to.
Shape suffixes: N samples, C classes.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from semisonic_kernels.fuse import fused


class PseudoLabels(NamedTuple):
    """What a network believes about unlabeled samples; carries no gradient."""

    labels: Tensor
    """The most probable class, int64 [N]."""
    confidence: Tensor
    """Its probability [N]."""
    mask: Tensor
    """1 where the confidence reaches the threshold, else 0 [N]."""


# --- references -------------------------------------------------------------------------------------------


def consistency_loss_reference(logits_NC: Tensor, targets: Tensor, weights_N: Tensor | None = None) -> Tensor:
    """`consistency_loss` by torch's cross-entropy."""
    logits_NC = _wide(logits_NC)
    targets = targets.detach()
    if targets.is_floating_point():
        targets = targets.to(logits_NC.dtype)
    if weights_N is None:
        return F.cross_entropy(logits_NC, targets)
    losses_N = F.cross_entropy(logits_NC, targets, reduction="none")
    return (weights_N.detach().to(losses_N.dtype) * losses_N).mean()


def soft_cross_entropy_reference(logits_NC: Tensor, targets_NC: Tensor) -> Tensor:
    """`soft_cross_entropy` by torch's cross-entropy."""
    logits_NC = _wide(logits_NC)
    return F.cross_entropy(logits_NC, targets_NC.to(logits_NC.dtype), reduction="none")


def kl_divergence_reference(logits_p_NC: Tensor, logits_q_NC: Tensor) -> Tensor:
    """`kl_divergence` by torch's, which takes log-probabilities and the second distribution first."""
    log_p_NC, log_q_NC = F.log_softmax(_wide(logits_p_NC), -1), F.log_softmax(_wide(logits_q_NC), -1)
    return F.kl_div(log_q_NC, log_p_NC, reduction="none", log_target=True).sum(-1)


def shrunk_cross_entropy_reference(logits_NC: Tensor, targets_NC: Tensor, threshold: float) -> Tensor:
    """`shrunk_cross_entropy` with each sample's logits in the order of its targets, by torch's cross-entropy."""
    logits_NC = _wide(logits_NC)
    targets_NC, order_NC = targets_NC.detach().to(logits_NC.dtype).sort(dim=-1, descending=True, stable=True)
    first_N1, tails_NC = targets_NC[:, :1], targets_NC.flip(-1).cumsum(-1).flip(-1)
    place_C = torch.arange(logits_NC.shape[1], device=logits_NC.device)
    short_NC = first_N1 / (first_N1 + tails_NC) < threshold
    ordered_NC = logits_NC.gather(1, order_NC).masked_fill((place_C > 0) & (short_NC | (place_C == 1)), -torch.inf)
    return first_N1[:, 0] * F.cross_entropy(ordered_NC, torch.zeros_like(order_NC[:, 0]), reduction="none")


def probability_mse_reference(logits_NC: Tensor, targets_NC: Tensor) -> Tensor:
    """`probability_mse` by torch's mean squared error."""
    probabilities_NC = F.softmax(_wide(logits_NC), -1)
    return F.mse_loss(probabilities_NC, targets_NC.detach().to(probabilities_NC.dtype))


def pseudo_labels_reference(
    logits_NC: Tensor, threshold: float | Tensor = 0.0, temperature: float | Tensor = 1.0
) -> PseudoLabels:
    """`pseudo_labels` step by step."""
    with torch.no_grad():
        probabilities_NC = F.softmax(_wide(logits_NC) / temperature, -1)
        confidence_N, labels_N = probabilities_NC.max(-1)
        if isinstance(threshold, Tensor):
            threshold_NC = threshold.to(confidence_N.dtype).expand_as(probabilities_NC)
            threshold = threshold_NC[torch.arange(len(labels_N), device=labels_N.device), labels_N]
        return PseudoLabels(labels_N, confidence_N, (confidence_N >= threshold).to(confidence_N.dtype))


def soft_labels_reference(logits_NC: Tensor, temperature: float | Tensor = 1.0) -> Tensor:
    """`soft_labels` by torch's softmax."""
    with torch.no_grad():
        return F.softmax(_wide(logits_NC) / temperature, -1)


def sharpen_reference(probabilities_NC: Tensor, temperature: float | Tensor) -> Tensor:
    """`sharpen` in float64, by logarithms: at low temperatures all powers of a row would vanish, and 0 / 0 be left."""
    with torch.no_grad():
        return F.softmax(probabilities_NC.double().log() / temperature, -1).to(_wide_dtype(probabilities_NC))


# --- checks -----------------------------------------------------------------------------------------------


def _check_rows(name: str, tensor: Tensor, what: str = "logits") -> None:
    if tensor.dim() != 2 or not tensor.is_floating_point() or tensor.shape[1] == 0:
        raise ValueError(f"{name}: {what} must be floating [N, C] with C >= 1, not {_described(tensor)}")


def _check_consistency(logits_NC: Tensor, targets: Tensor, weights_N: Tensor | None = None) -> None:
    _check_rows("consistency_loss", logits_NC)
    hard = targets.dtype == torch.int64 and targets.shape == logits_NC.shape[:1]
    if not hard and not (targets.is_floating_point() and targets.shape == logits_NC.shape):
        count, classes = logits_NC.shape
        raise ValueError(
            f"consistency_loss: targets must be labels, int64 [{count}], or probabilities, floating "
            f"[{count}, {classes}], not {_described(targets)}"
        )
    if weights_N is not None and (weights_N.shape != logits_NC.shape[:1] or weights_N.is_complex()):
        raise ValueError(f"consistency_loss: weights must be real [{len(logits_NC)}], not {_described(weights_N)}")


def _check_pair(name: str, first: Tensor, second: Tensor, what: str) -> None:
    _check_rows(name, first)
    if second.shape != first.shape or not second.is_floating_point():
        raise ValueError(f"{name}: {what} must be floating {list(first.shape)}, not {_described(second)}")


def _check_soft(logits_NC: Tensor, targets_NC: Tensor) -> None:
    _check_pair("soft_cross_entropy", logits_NC, targets_NC, "targets")


def _check_shrunk(logits_NC: Tensor, targets_NC: Tensor, threshold: float) -> None:
    _check_pair("shrunk_cross_entropy", logits_NC, targets_NC, "targets")


def _check_kl(logits_p_NC: Tensor, logits_q_NC: Tensor) -> None:
    _check_pair("kl_divergence", logits_p_NC, logits_q_NC, "the second logits")


def _check_mse(logits_NC: Tensor, targets_NC: Tensor) -> None:
    _check_pair("probability_mse", logits_NC, targets_NC, "targets")


def _check_temperature(name: str, temperature: float | Tensor) -> None:
    if isinstance(temperature, Tensor):
        if temperature.dim() or not temperature.is_floating_point():
            raise ValueError(f"{name}: temperature must be a number or 0-d floating, not {_described(temperature)}")
    elif not temperature > 0:
        raise ValueError(f"{name}: temperature must be positive, not {temperature}")


def _check_pseudo(logits_NC: Tensor, threshold: float | Tensor = 0.0, temperature: float | Tensor = 1.0) -> None:
    _check_rows("pseudo_labels", logits_NC)
    _check_temperature("pseudo_labels", temperature)
    if not isinstance(threshold, Tensor):
        return
    count, classes = logits_NC.shape
    fits = tuple(threshold.shape) in ((), (classes,), (1, classes), (count, 1), (count, classes))
    if not fits or not threshold.is_floating_point():
        raise ValueError(
            f"pseudo_labels: threshold must be a number or floating, 0-d, [{classes}] by class, [{count}, 1] by "
            f"sample or [{count}, {classes}], not {_described(threshold)}"
        )


def _check_soft_labels(logits_NC: Tensor, temperature: float | Tensor = 1.0) -> None:
    _check_rows("soft_labels", logits_NC)
    _check_temperature("soft_labels", temperature)


def _check_sharpen(probabilities_NC: Tensor, temperature: float | Tensor) -> None:
    _check_rows("sharpen", probabilities_NC, "probabilities")
    _check_temperature("sharpen", temperature)


def _described(tensor: Tensor) -> str:
    return f"{tensor.dtype} {list(tensor.shape)}"


# --- kernels ----------------------------------------------------------------------------------------------


@fused(consistency_loss_reference, _check_consistency)
def consistency_loss(logits_NC: Tensor, targets: Tensor, weights_N: Tensor | None = None) -> Tensor:
    """Mean over all N of weight * H(target, softmax(logits)), 0-d; samples of weight 0 count in the mean.

    targets: labels 0..C-1, int64 [N], or probabilities, floating [N, C]. weights: [N], a mask (FixMatch,
    arXiv 2001.07685; UDA, 1904.12848) or any others (SoftMatch, 2301.10921); None: all 1. The gradient goes to the
    logits alone. Raises ValueError where shapes or dtypes do not fit.
    """
    log_p_NC = F.log_softmax(_wide(logits_NC), -1)
    targets = targets.detach()
    if targets.is_floating_point():
        losses_N = -(targets.to(log_p_NC.dtype) * log_p_NC).sum(-1)
    else:
        losses_N = F.nll_loss(log_p_NC, targets, reduction="none")
    if weights_N is not None:
        losses_N = losses_N * weights_N.detach().to(losses_N.dtype)
    return losses_N.mean()


@fused(soft_cross_entropy_reference, _check_soft)
def soft_cross_entropy(logits_NC: Tensor, targets_NC: Tensor) -> Tensor:
    """H(targets, softmax(logits)) of each sample [N]; targets: probabilities, floating [N, C].

    The gradient goes to both, so that with `logits.softmax(-1)` as targets it is the entropy; detach targets that are
    constants. Raises ValueError where shapes or dtypes do not fit.
    """
    log_p_NC = F.log_softmax(_wide(logits_NC), -1)
    return -(targets_NC.to(log_p_NC.dtype) * log_p_NC).sum(-1)


@fused(shrunk_cross_entropy_reference, _check_shrunk)
def shrunk_cross_entropy(logits_NC: Tensor, targets_NC: Tensor, threshold: float) -> Tensor:
    """H(most probable class, softmax(logits)) among fewer classes, times that class's probability: of each sample [N]
    (ShrinkMatch, arXiv 2308.06777).

    targets: probabilities, floating [N, C]. In their order, q_0 >= q_1 >= ..., the classes 1 .. c-1 are left out, with
    the smallest c of 2 .. C-1 for which q_0 / (q_0 + q_c + ... + q_(C-1)) reaches the threshold. 0 where there is none.
    The gradient goes to the logits of the classes that are left alone. Raises ValueError where shapes or dtypes do not
    fit.
    """
    with torch.no_grad():
        q_NC, order_NC = targets_NC.to(_wide_dtype(logits_NC)).sort(dim=-1, descending=True, stable=True)
        first_N1, tails_NC = q_NC[:, :1], q_NC.flip(-1).cumsum(-1).flip(-1)
        place_C = torch.arange(q_NC.shape[1], device=q_NC.device)
        # Tails shrink, so that all classes from the first c on reach the threshold, too.
        kept_NC = ((first_N1 / (first_N1 + tails_NC) >= threshold) & (place_C > 1)) | (place_C == 0)
        kept_NC = torch.zeros_like(kept_NC).scatter(1, order_NC, kept_NC)
    log_p_NC = F.log_softmax(_wide(logits_NC).masked_fill(~kept_NC, -torch.inf), -1)
    # With no class but the first the loss and its gradient are 0.
    return first_N1.squeeze(1) * F.nll_loss(log_p_NC, order_NC[:, 0], reduction="none")


@fused(kl_divergence_reference, _check_kl)
def kl_divergence(logits_p_NC: Tensor, logits_q_NC: Tensor) -> Tensor:
    """KL(p || q) of each sample [N], p and q the softmax of the logits (VAT, arXiv 1704.03976, with p clean).

    The gradient goes to both; detach logits that are constants. Raises ValueError where shapes or dtypes do not fit.
    """
    log_p_NC, log_q_NC = F.log_softmax(_wide(logits_p_NC), -1), F.log_softmax(_wide(logits_q_NC), -1)
    return (log_p_NC.exp() * (log_p_NC - log_q_NC)).sum(-1)


@fused(probability_mse_reference, _check_mse)
def probability_mse(logits_NC: Tensor, targets_NC: Tensor) -> Tensor:
    """Mean over N and C of (softmax(logits) - targets)^2, 0-d (Mean Teacher, arXiv 1703.01780; MixMatch, 1905.02249).

    targets: probabilities, floating [N, C]. The gradient goes to the logits alone. Raises ValueError where shapes or
    dtypes do not fit.
    """
    probabilities_NC = F.softmax(_wide(logits_NC), -1)
    errors_NC = (probabilities_NC - targets_NC.detach().to(probabilities_NC.dtype)).square()
    return errors_NC.mean(-1).mean()  # rows in the pass that makes them


@fused(pseudo_labels_reference, _check_pseudo)
def pseudo_labels(
    logits_NC: Tensor, threshold: float | Tensor = 0.0, temperature: float | Tensor = 1.0
) -> PseudoLabels:
    """The most probable class of softmax(logits / temperature), its probability, and whether that reaches a threshold.

    threshold: a number or a tensor that broadcasts to [N, C], whose entry at the label counts: 0-d (AdaMatch, arXiv
    2106.04732), [C] by class (FlexMatch, 2110.08263), [N, 1] by sample. temperature: a number or 0-d, above 0.
    Detached. Raises ValueError where shapes or dtypes do not fit.
    """
    with torch.no_grad():
        probabilities_NC = F.softmax(_wide(logits_NC) / temperature, -1)
        confidence_N, labels_N = probabilities_NC.max(-1)
        if isinstance(threshold, Tensor):
            threshold_NC = threshold.to(confidence_N.dtype).expand_as(probabilities_NC)
            threshold_N = threshold_NC.gather(1, labels_N.unsqueeze(1)).squeeze(1)
        else:
            threshold_N = torch.full_like(confidence_N, threshold)  # rounded as the confidence is
        return PseudoLabels(labels_N, confidence_N, (confidence_N >= threshold_N).to(confidence_N.dtype))


@fused(soft_labels_reference, _check_soft_labels)
def soft_labels(logits_NC: Tensor, temperature: float | Tensor = 1.0) -> Tensor:
    """softmax(logits / temperature) [N, C], detached: the targets of UDA (arXiv 1904.12848) or of a mean teacher.

    temperature: a number or 0-d, above 0. Raises ValueError where shapes or dtypes do not fit.
    """
    with torch.no_grad():
        return F.softmax(_wide(logits_NC) / temperature, -1)


@fused(sharpen_reference, _check_sharpen)
def sharpen(probabilities_NC: Tensor, temperature: float | Tensor) -> Tensor:
    """q^(1 / temperature) of probabilities [N, C], normalized, detached (MixMatch, arXiv 1905.02249, equation 7).

    Rows need not sum to 1. temperature: a number or 0-d, above 0. Raises ValueError where shapes or dtypes do not fit.
    """
    with torch.no_grad():
        return F.softmax(_wide(probabilities_NC).log() / temperature, -1)


def one_hot(labels_N: Tensor, classes: int) -> Tensor:
    """bool [N, C]. Other than torch's, it does not have the host check the labels on the CPU."""
    return labels_N[:, None] == torch.arange(classes, device=labels_N.device)


def _wide_dtype(tensor: Tensor) -> torch.dtype:
    return torch.promote_types(tensor.dtype, torch.float32)


def _wide(tensor: Tensor) -> Tensor:
    return tensor.to(_wide_dtype(tensor))
