"""AUM: margins over the run, which find wrong given labels."""

from pathlib import Path

import pyarrow.parquet as parquet
import torch

from semisonic.addons.aum import margins
from semisonic.algorithms.fixmatch import FixMatch
from semisonic.algorithms.mixmatch import MixMatch
from semisonic.algorithms.mpl import MPL
from semisonic.checkpoint import format as checkpoints
from semisonic.reporting.console import Console
from tests.support.addons import composed, composition
from tests.support.algorithms import batch_for
from tests.support.runner import Runner
from tests.support.trainers import make_trainer


def test_the_margin_is_the_given_class_s_lead_over_all_others():
    logits = torch.tensor([[1.0, 4.0, 2.0], [1.0, 4.0, 2.0], [0.0, -1.0, -3.0]])
    assert margins(logits, torch.tensor([1, 2, 2])).tolist() == [2.0, -2.0, -3.0]


def test_margins_are_the_mean_over_all_steps_of_the_step_s_own_logits():
    algorithm, plain = composed(FixMatch, aum={"record": "auto"}), composed(FixMatch)
    run, other = Runner(algorithm), Runner(plain)
    sums, counts = torch.zeros(8, dtype=torch.float64), torch.zeros(8, dtype=torch.int64)
    for seed in range(4):
        batch = batch_for(algorithm, seed)._replace(x_index=torch.tensor([0, 1, 2, 2, 5, seed]))
        logits = plain.train().loss(batch).seen["labeled"].logits
        for index, logit, label in zip(batch.x_index, logits, batch.y, strict=True):
            rest = torch.cat([logit[:label], logit[label + 1 :]])
            sums[index] += (logit[label] - rest.max()).item()
            counts[index] += 1
        # The tracking forward above has moved running statistics, which no loss in training reads.
        assert torch.equal(run.step(batch).loss, other.step(batch).loss)
    found = algorithm.labeled_tables()["margins"]
    torch.testing.assert_close(found["sum"], sums)
    assert torch.equal(found["n"], counts) and counts[2] >= 8 and counts[7] == 0


def test_where_labeled_images_are_mixed_it_is_off_and_says_so_or_takes_a_forward_of_its_own():
    auto, on = composition(MixMatch, aum={"record": "auto"}), composition(MixMatch, aum={"record": "on"})
    assert auto.addons == () and len(on.addons) == 1 and on.notes == ()
    assert "mixmatch has no logits of unmixed labeled images; --addons.aum.record on takes a forward" in auto.notes[0]
    assert composition(MixMatch, aum={"record": "off"}).notes == ()
    algorithm, plain = composed(MixMatch, aum={"record": "on"}), composed(MixMatch)
    run, other = Runner(algorithm), Runner(plain)
    for seed in range(2):
        batch = batch_for(algorithm, seed)
        assert torch.equal(run.step(batch).loss, other.step(batch).loss)
    own = algorithm.state_dict()
    assert all(torch.equal(value, own[name]) for name, value in plain.state_dict().items())
    with torch.no_grad():
        wanted = margins(plain.eval().infer(batch.x["weak"]), batch.y)
    torch.testing.assert_close(algorithm.eval()(batch).observed["aum/index and margin"][:, 1], wanted)


def test_several_networks_have_no_margins():
    assert composition(MPL, aum={"record": "auto"}).addons == ()
    found = composition(MPL, aum={"record": "on"}).problems()
    assert found == ["addons.aum.record: mpl has not one network and labeled images; use auto or off"]


QUICK = ["--model", "small", "--batch.labeled", "8", "--batch.unlabeled-ratio", "2", "--steps", "6", "--threads", "1"]


def test_a_resumed_run_has_the_same_margins_bit_for_bit_and_writes_them(tmp_path: Path):
    def stepped(trainer, until: int) -> None:
        with trainer.loader() as loader:
            while trainer.step < until:
                trainer.training_step(next(loader))

    whole, halves = make_trainer(tmp_path / "whole", *QUICK), make_trainer(tmp_path / "halves", *QUICK)
    stepped(whole, 6)
    stepped(halves, 3)
    halves.save()
    halves.checkpoint_writer.finish()
    resumed = make_trainer(tmp_path / "halves", *QUICK)
    latest = checkpoints.latest(tmp_path / "halves" / "checkpoints")
    assert latest is not None
    resumed.restore(checkpoints.load_checkpoint(latest))
    stepped(resumed, 6)
    tables = [trainer.algorithm.labeled_tables()["margins"] for trainer in (whole, resumed)]
    assert all(torch.equal(tables[0][name], tables[1][name]) for name in ("sum", "n"))
    whole.write_label_tables()
    (tmp_path / "whole" / "labels" / "margins.parquet").unlink()
    whole.train(Console(True), lambda: None)  # after a kill at the end there is no step left, but a table to write
    table = parquet.read_table(tmp_path / "whole" / "labels" / "margins.parquet").to_pydict()
    assert list(table) == ["index", "class", "sum", "n"] and sum(table["n"]) == 6 * 8
    split, data = whole.split, whole.data
    assert table["index"] == split.labeled.tolist() and table["sum"] == tables[0]["sum"].tolist()
    assert table["class"] == [data.classes[label] for label in data.train.labels[split.labeled]]
