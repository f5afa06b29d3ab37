"""The linear head: with dropout before it, and its rows by the names of classes."""

from collections.abc import Mapping, Sequence

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


NAMED = 10
"""Classes that a report names."""


def head_by_name(
    given: Mapping[str, Tensor], wanted: Mapping[str, Tensor], theirs: Sequence[str], ours: Sequence[str]
) -> tuple[dict[str, Tensor], str]:
    """The tensors of a network for classes `theirs`, their head's rows as a network for classes `ours` has them, and a
    line about it: of a class that both have theirs, of another one as in `wanted`. Untouched where the classes are the
    same in the same order; without a head where they have none in common.
    """
    if list(theirs) == list(ours):
        return dict(given), ""
    places, known = {name: number for number, name in enumerate(ours)}, set(theirs)
    rows = [(places[name], number) for number, name in enumerate(theirs) if name in places]
    found = dict(given)
    for name in ("head.weight", "head.bias"):
        value, own = found.get(name), wanted.get(name)
        if value is None or own is None or len(value) != len(theirs) or value.shape[1:] != own.shape[1:]:
            continue
        if rows:
            to, of = map(list, zip(*rows, strict=True))
            found[name] = own.clone()
            found[name][to] = value[of].to(own.dtype)
        else:
            del found[name]
    line = f"head: {len(rows)} of {len(ours)} classes taken by name"
    for what, names in (
        ("fresh", [name for name in ours if name not in known]),
        ("not needed", [name for name in theirs if name not in places]),
    ):
        if names:
            more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
            line += f"; {what}: {', '.join(names[:NAMED])}{more}"
    return found, line
