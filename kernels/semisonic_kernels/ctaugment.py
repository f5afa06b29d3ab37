"""CTAugment's table (Berthelot et al. 2020, arXiv 1911.09785): the operations' bins, and how their rates are learned.

Drawing reads the rates on the host, a training step moves them on the device; this is what both know.
Shape suffixes: P parameters of all operations, K bins, R = P K flattened rates, B samples, T touched bins of a batch.
"""

import torch
from torch import Tensor

OPERATION_BINS: dict[str, tuple[int, ...]] = {
    "auto_contrast": (17,),
    "blur": (17,),
    "brightness": (17,),
    "color": (17,),
    "contrast": (17,),
    "cutout": (17,),
    "equalize": (17,),
    "identity": (),
    "invert": (17,),
    "posterize": (8,),
    "rescale": (17, 6),
    "rotate": (17,),
    "sharpness": (17,),
    "shear_x": (17,),
    "shear_y": (17,),
    "smooth": (17,),
    "solarize": (17,),
    "translate_x": (17,),
    "translate_y": (17,),
}
"""Bins of the parameters of each operation."""
BINS = [bins for parameters in OPERATION_BINS.values() for bins in parameters]
"""Of all parameters, [P]."""
MOST_BINS = max(BINS)
"""K: bins of a row of the rates."""
DECAY = 0.99


def first_rates() -> Tensor:
    """1 for each bin: float32 [P, K], 0 beyond a parameter's own bins."""
    return (torch.arange(MOST_BINS) < torch.tensor(BINS)[:, None]).float()


def moved_rates(rates: Tensor, bins: Tensor, omega_B: Tensor) -> Tensor:
    """The rates [P, K] after the touched ones moved, one sample after the other in the order given.

        m_bin <- DECAY m_bin + (1 - DECAY) omega

    bins: positions in the flattened rates [B, ...], -1 for none; omega_B in 0..1. Waits for nothing.
    """
    bins_BX = bins.flatten(1)
    omega_T = omega_B[:, None].expand_as(bins_BX).flatten().to(rates.dtype)
    touched_TR = bins_BX.flatten()[:, None] == torch.arange(rates.numel(), device=bins.device)
    from_here_TR = touched_TR.flip(0).cumsum(0).flip(0)
    later_T = (from_here_TR * touched_TR).sum(1) - 1  # times that a later sample moves the same bin
    weight_T = (1 - DECAY) * omega_T * DECAY ** later_T.to(rates.dtype)
    added_R = (touched_TR * weight_T[:, None]).sum(0)
    kept_R = DECAY ** touched_TR.sum(0).to(rates.dtype)
    return rates * kept_R.view_as(rates) + added_R.view_as(rates)
