"""Splits of 200 images of five classes."""

import numpy as np
import pytest

from semisonic.data.sets.base import DataConfig
from semisonic.data.sets.splits import Split, make_split
from semisonic.schema import UserError

LABELS = np.arange(200, dtype=np.int64) * 7 % 5  # 40 of each of 5 classes

CLASSES = 5


def split_of(seed: int = 0, labels_N: np.ndarray = LABELS, **fields) -> Split:
    return make_split(DataConfig(**fields), labels_N, CLASSES, seed)


def errors_of(**fields) -> list[str]:
    with pytest.raises(UserError) as caught:
        split_of(**fields)
    return caught.value.messages


OF_EACH = list(range(10))
