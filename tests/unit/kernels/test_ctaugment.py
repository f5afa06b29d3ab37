"""CTAugment's table: every operation has its bins."""

from semisonic_kernels.ctaugment import BINS, OPERATION_BINS, first_rates


def test_every_operation_has_its_bins():
    assert len(OPERATION_BINS) == 19 and OPERATION_BINS["identity"] == ()
    assert OPERATION_BINS["posterize"] == (8,) and OPERATION_BINS["rescale"] == (17, 6)
    assert all(
        bins == (17,) for name, bins in OPERATION_BINS.items() if name not in ("identity", "posterize", "rescale")
    )
    assert first_rates().sum(1).tolist() == BINS
