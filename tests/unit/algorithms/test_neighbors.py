"""What CoMatch and SimMatch share: aligned predictions, embeddings, and what does not go together with them."""

import pytest
import torch

from semisonic.algorithms.comatch import CoMatch
from semisonic.algorithms.neighbors import Neighbors
from semisonic.algorithms.simmatch import SimMatch
from semisonic.contract import Seen
from tests.support.algorithms import CLASSES, make
from tests.support.command_line import config, mistakes

each = pytest.mark.parametrize("kind", [CoMatch, SimMatch])


@each
def test_a_class_that_nothing_was_predicted_as_stays_impossible(kind: type[Neighbors]):
    algorithm = make(kind)
    logits = torch.tensor([[0.0, 1.0, 2.0, -1e4], [1.0, 0.0, 0.0, -1e4]], dtype=torch.float64)
    p, mean = algorithm.predicted(Seen(logits, logits))
    raw = logits.softmax(-1)
    expected = raw[:, :3] / raw[:, :3].mean(0)
    torch.testing.assert_close(p[:, :3], expected / expected.sum(1, keepdim=True))
    assert not p[:, 3].any()
    torch.testing.assert_close(mean, raw.mean(0))
    guess = algorithm.guess(p)
    assert guess.logits.isfinite().all() and torch.equal(guess.targets, p)


@each
def test_without_a_window_predictions_are_as_they_are(kind: type[Neighbors]):
    logits = torch.randn(5, CLASSES, dtype=torch.float64)
    p, _ = make(kind, window=0).predicted(Seen(logits, logits))
    assert torch.equal(p, logits.softmax(-1))


@each
def test_projectors_are_trained_and_saved_but_neither_averaged_nor_exported(kind: type[Neighbors]):
    algorithm = make(kind, projectors=3)
    own = set(algorithm.projectors.parameters())
    assert len(own) == 12 and own <= set(algorithm.parameters()) and own.isdisjoint(algorithm.averaged_parameters())
    assert sum(name.startswith("projectors.") for name in algorithm.state_dict()) == 12
    assert algorithm.exported_head() is None


@pytest.mark.parametrize("name", ["comatch", "simmatch"])
def test_what_does_not_go_together_is_refused(name: str):
    fields = ["--algorithm", name, "--no-baseline", "--device", "cpu"]
    assert any(line.startswith("batch.micro: ") for line in mistakes(*fields, "--batch.micro", "2"))
    assert any(line.startswith("addons.prior.kind: ") for line in mistakes(*fields, "--addons.prior.kind", "align"))
    config(*fields, "--addons.prior.kind", "align", "--algorithm.window", "0")
    for field, value in (("projectors", 0), ("own-share", 1.1), ("temperature", 0), ("dimensions", 0), ("window", -1)):
        found = mistakes(*fields, f"--algorithm.{field}", value)
        assert any(line.startswith(f"algorithm.{field.replace('-', '_')}: ") for line in found), found
