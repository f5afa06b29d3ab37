"""SimCLR: NT-Xent of projected features."""

import torch
from torch.nn import functional as F

from semisonic.algorithms.simclr import SimCLR
from tests.support.algorithms import frozen, make
from tests.support.pretext import UNLABELED, given, xent_by_hand


def test_simclr_is_nt_xent_of_projected_features():
    algorithm = frozen(make(SimCLR, temperature=0.3, dimensions=7))
    z = torch.cat([
        algorithm.projector(algorithm.network.features(algorithm.normalize(view))) for view in UNLABELED[SimCLR].values()
    ])  # fmt: skip
    assert z.shape == (24, 7)
    found, _ = algorithm.pretext(given(SimCLR))
    torch.testing.assert_close(found, xent_by_hand(F.normalize(z, dim=1), 0.3))
