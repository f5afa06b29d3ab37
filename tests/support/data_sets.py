"""What every data set keeps to, and tiny copies of published formats."""

import numpy as np
import pytest

from semisonic.data.sets.base import DataConfig, DataSet, Images
from semisonic.data.sets.registry import load_data_set
from semisonic.schema import UserError


def errors_of(**fields) -> list[str]:
    with pytest.raises(UserError) as caught:
        load_data_set(DataConfig(**fields))
    return caught.value.messages


def assert_sound(data: DataSet) -> None:
    for part in (data.train, data.test):
        assert isinstance(part, Images)
        assert part.pixels.dtype == np.uint8
        assert part.pixels.shape == (len(part), data.size, data.size, 3)
        assert part.pixels.flags.c_contiguous
        assert part.labels.dtype == np.int64
        assert part.labels.min() >= -1
        assert part.labels.max() < len(data.classes)


def assert_constants(data: DataSet) -> None:
    values = np.arange(256) / 255
    for channel in range(3):
        counts = np.bincount(data.train.pixels[..., channel].ravel(), minlength=256)
        mean, square = counts @ values / counts.sum(), counts @ values**2 / counts.sum()
        assert data.mean[channel] == pytest.approx(mean, abs=6e-5)
        assert data.std[channel] == pytest.approx((square - mean**2) ** 0.5, abs=6e-5)
