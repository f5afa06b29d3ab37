"""Numbers of images as a text."""

import numpy as np
import pytest

from semisonic.daily.store.packing import pack_ids, unpack_ids


@pytest.mark.parametrize("images", [[], [7], [9, 1, 9, 2**40], list(range(1, 5000))])
def test_they_come_back_sorted(images: list[int]):
    found = unpack_ids(pack_ids(np.array(images, np.int64)))
    assert found.tolist() == sorted(set(images)) and found.dtype == np.int64


def test_many_are_short():
    assert len(pack_ids(np.arange(1, 10**5))) < 2_000
