"""Stochastic depth (Huang et al. 2016, arXiv 1603.09382) whose rate is a tensor.

torchvision's has the rate as a Python number, another one in each block, so that no two blocks could share compiled
code.
"""

import torch
from torch import Tensor, nn

from semisonic.models.randomness import RandomLayer, draws_now


class StochasticDepth(RandomLayer):
    """Sets samples of a residual branch [N, ...] to zero with probability `rate` in training, and divides the others
    by 1 - rate. scaled: False leaves them as they are. Has no part in the state dict."""

    rate: Tensor
    """0-d float32."""

    def __init__(self, rate: float, scaled: bool = True):
        super().__init__()
        if not 0 <= rate < 1:
            raise ValueError(f"StochasticDepth: rate must be in [0, 1), not {rate}")
        self.register_buffer("rate", torch.tensor(rate), persistent=False)
        self.scaled = scaled
        self.add_number()

    def forward(self, x: Tensor) -> Tensor:
        if not draws_now(self):
            return x
        kept_N = self.uniforms(x, 1)[0] >= self.rate
        scale_N = ((kept_N / (1 - self.rate)) if self.scaled else kept_N).to(x.dtype)
        return x * scale_N.view(-1, *[1] * (x.dim() - 1))


def convert_stochastic_depth(module: nn.Module) -> nn.Module:
    """Replaces torchvision's layers inside by ours, in place; those of rate 0 by an identity. Returns the module.

    Raises ValueError for a layer that drops whole batches.
    """
    # Imported where it is used: it takes as long as torch itself.
    from torchvision.ops import StochasticDepth as Numbered

    for parent in list(module.modules()):
        for name, child in parent.named_children():
            if isinstance(child, Numbered):
                if child.mode != "row":
                    raise ValueError(f"convert_stochastic_depth: mode must be row, not {child.mode}")
                setattr(parent, name, StochasticDepth(child.p) if child.p > 0 else nn.Identity())
    return module
