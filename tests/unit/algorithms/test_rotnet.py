"""RotNet: cross-entropy on the four rotations of each image."""

import torch
from torch.nn import functional as F

from semisonic.algorithms.rotnet import RotNet
from tests.support.algorithms import frozen, make
from tests.support.pretext import UNLABELED, given


def test_rotnet_is_cross_entropy_on_four_rotations():
    algorithm = frozen(make(RotNet))
    pixels, losses, turns_seen = UNLABELED[RotNet]["view"], [], []
    for k in range(4):
        turned = algorithm.normalize(torch.rot90(pixels, k, (2, 3)))
        labels = torch.full((12,), k)
        losses.append(F.cross_entropy(algorithm.rotation(algorithm.network.features(turned)), labels))
        turns_seen += labels.tolist()
    assert all(turns_seen.count(k) == 12 for k in range(4))  # equally frequent
    found, _ = algorithm.pretext(given(RotNet))
    torch.testing.assert_close(found, torch.stack(losses).mean())
