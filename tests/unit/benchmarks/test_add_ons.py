"""What an add-on adds to a step is measured for each of them."""

import pytest

import add_ons
from semisonic.addons.registry import ADD_ONS


@pytest.mark.filterwarnings("ignore:The external source node")
def test_every_add_on_is_measured_beside_none():
    result = add_ons.run(add_ons.parse(["--labeled", "8", "--ratio", "2", "--rounds", "2", "--steps", "1"]))
    assert result["seconds"].keys() == {"none", *ADD_ONS}
    for name in ADD_ONS:
        rounds = result["ratios"][f"none / {name}"]["rounds"]
        times = [result["seconds"][each]["rounds"] for each in ("none", name)]
        assert rounds == [without / own for without, own in zip(*times, strict=True)] and min(rounds) > 0
