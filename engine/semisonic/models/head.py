"""The linear head with dropout before it."""

from torch import Tensor, nn

from semisonic.models.randomness import RandomLayer


class DropoutLinear(RandomLayer, nn.Linear):
    """A linear layer that sets each of its inputs to zero with probability `rate` in training and divides the others
    by 1 - rate. Takes over the parameters of `linear`, and has its state dict. `rate` may be changed at any time."""

    def __init__(self, linear: nn.Linear, rate: float):
        super().__init__(linear.in_features, linear.out_features, linear.bias is not None, device="meta")
        self.rate = rate
        self.weight, self.bias = linear.weight, linear.bias
        self.add_number()

    @property
    def draws(self) -> bool:
        return self.rate > 0

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, rate={self.rate}"

    def forward(self, input: Tensor) -> Tensor:
        """[N, in_features] -> [N, out_features]."""
        return super().forward(self.dropout(input, self.rate))
