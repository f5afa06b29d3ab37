"""How far an accuracy on few images may be off: its 95 % interval.

Wilson's score interval for a share: unlike the plain one it stays within 0 and 100 %, and knows that no error among few
images does not mean none. It is about other images of the same kind, and not about networks of other seeds.
"""

import math

FEW = 1000
"""Images from which an accuracy is reported without its interval: it is within about 3 % then."""
_Z = 1.959963984540054  # the normal distribution's quantile of 97.5 %


def accuracy_interval(right: int, count: int) -> tuple[float, float]:
    """The 95 % interval of an accuracy, in percent; `right` of `count` (at least 1) images are classified right."""
    share, square = right / count, _Z**2
    middle = share + square / (2 * count)
    half = _Z * math.sqrt(share * (1 - share) / count + square / (4 * count**2))
    low, high = ((middle + sign * half) / (1 + square / count) for sign in (-1, 1))
    # At the ends it is exact; rounding would miss them by a hair.
    return (100 * low if right else 0.0), (100 * high if right < count else 100.0)


def interval_of_few(top1: float, count: int) -> tuple[float, float] | None:
    """The interval of an accuracy in percent on so many images, at least one; None where they are not few."""
    return accuracy_interval(round(top1 * count / 100), count) if count < FEW else None
