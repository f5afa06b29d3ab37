"""The recipe for folders has the batches of the user's notes."""

import pytest

from tests.support.recipes import config


@pytest.mark.usefixtures("no_files")
def test_the_notes_batches_are_two_to_five():
    cfg = config("folder-16000", "--algorithm", "mixmatch", "--data.root", "images")
    assert (cfg.batch.labeled, cfg.batch.unlabeled, cfg.steps) == (20, 50, 240_000)
    assert (cfg.data.name, cfg.data.labels, cfg.data.unlabeled_includes_labeled) == ("folder", 16_000, False)
    assert (cfg.optim.peak, cfg.optim.weight_decay, cfg.optim.nesterov) == (5e-4, 4e-4, False)
    assert 20 * 800 == 16_000 and cfg.steps == 300 * 800
