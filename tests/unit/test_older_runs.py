"""Runs that an older version began go on, and are used, as that version would have done: see `tests/fixtures`.

To the bit on the machine and with the versions that made them. Elsewhere a run's last ten steps may differ as the
golden losses do: without oneDNN, figures and norms differ by 5e-2 relative at most, and what needs no training by 1e-5.
A run whose layers draw random numbers goes on with others, and says so: all else of it is held to those that it had.
"""

import json
import re
import shutil
from pathlib import Path

import pytest

from semisonic.algorithms.base import Algorithm
from semisonic.checkpoint import format as checkpoints
from semisonic.config.migrations import read_saved
from tests.fixtures.older_runs import FOLDER, RUNS, WAYS, Seen, differences, machine, nearly
from tests.support.processes import ROOT

ELSEWHERE = {"resumed": nearly(0.1, percent=10)}
SINCE = {"augment.": "addons.ctaugment.", "auxiliary_rotation.": "addons.auxiliary.rotation."}
"""Beginnings of tensors' names, and what they were renamed to."""
UNTRAINED = nearly(1e-4, percent=2.5)  # one of the 40 test images of a class


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("stored", RUNS)
def test_an_older_run(
    stored: str, way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    # Without keys, layers draw from torch's generator, as earlier versions had them do.
    monkeypatch.setattr(Algorithm, "_row_keys", lambda algorithm, rows: None)
    expected = json.loads((FOLDER / f"{stored}.expected.json").read_text())
    run = tmp_path / "run"
    shutil.copytree(FOLDER / stored, run)
    found = WAYS[way](ROOT / "launch", run, tmp_path)
    exact = machine() == expected["machine"]
    assert not differences(named_now(Seen(**expected[way])), found, None if exact else ELSEWHERE.get(way, UNTRAINED))
    printed = " ".join(capsys.readouterr().out.split())
    said = "random layers draw new numbers, the same on any number of ranks" in printed
    assert said == (way == "resumed" and "mpl" in stored)
    assert printed.count("kept no fingerprint of its images") == (
        way == "resumed" and not stored.startswith(("653bcec", "f24baab", "fea1fb9"))
    )
    if way == "resumed":
        known = read_saved(run).records["content"]["data"]
        last = json.loads((checkpoints.find(run) / "state.json").read_text())
        assert known == last["data"] and known.keys() >= {"classes", "train", "test"}
        assert read_saved(run).fields["data"]["classes"] == last["classes"]


def named_now(seen: Seen) -> Seen:
    """What an older version said of tensors, which it called `model: NAME` and `optimizer: ROLE/NAME`, by present names."""

    def present(name: str) -> str:
        for old, new in SINCE.items():
            name = re.sub(rf"^(model: |optimizer: [^/]*/){re.escape(old)}", rf"\g<1>{new}", name)
        return name

    return Seen(*({present(name): value for name, value in part.items()} for part in seen))


def test_the_last_bit_of_a_figure_counts_where_it_must():
    expected = Seen({"sum": "1a"}, {"loss": [(1.0).hex()], "10: eval/top1": [(50.0).hex()]})
    other = Seen({"sum": "1b"}, {"loss": [(1.0 + 2**-52).hex()], "10: eval/top1": [(52.0).hex()], "new": ["0x0p+0"]})
    assert [line.split(":")[0] for line in differences(expected, other)] == ["sum", "loss", "10"]
    assert differences(expected, other, nearly(1e-4, percent=2.5)) == []
    assert len(differences(expected, other, nearly(1e-4, percent=1))) == 1
    assert len(differences(expected, Seen({}, {}), nearly(0.5, percent=50))) == 2
    nowhere = Seen({}, {"precision": ["nan"]})
    assert differences(nowhere, nowhere, nearly(1e-4, percent=1)) == []
    assert len(differences(nowhere, Seen({}, {"precision": [(0.5).hex()]}), nearly(0.5, percent=50))) == 1
