"""A start on a folder of images is measured beside another checkout's."""

import pytest

import scan
from tests.support.processes import ROOT


@pytest.mark.long
def test_both_checkouts_load_the_same_files_cold_and_warm(tmp_path):
    args = scan.parse(["--beside", str(ROOT), "--files", "40", "--cold", "1", "--warm", "1", "--folder", str(tmp_path)])
    found = scan.run(args)
    assert found["ratios"].keys() == {
        f"{state}, {what}"
        for state in ("cold", "warm")
        for what in ("seconds", "cpu", "process seconds", "process cpu")
    }
    for name, own in found["ratios"].items():
        times = [found["seconds"][name][side]["rounds"] for side in ("beside", "this")]
        assert own["rounds"] == [other / here for other, here in zip(*times, strict=True)]
        assert len(own["rounds"]) == 1 and own["min"] > 0
    assert list(tmp_path.iterdir()) == []
