"""What a study asks for, and what is left of it where time allows few settings."""

from semisonic.studies.declaration import Factor, Setting, Study, raw

RATE = Factor("rate", "FixMatch", "fixmatch", "0.1", {"0.2": "fixmatch:optim.lr=0.2", "0.3": "fixmatch:optim.lr=0.3"},
              few=("0.3",))  # fmt: skip
NETWORK = Factor("evaluated network", "FixMatch", "fixmatch", "its average", {"itself": raw("fixmatch")}, few=())
METHOD = Factor("method", "", "fixmatch", "FixMatch", {"UDA": "uda"})
STUDY = Study("rates", "Which?", "rates", (RATE, NETWORK, METHOD))


def test_a_setting_of_several_factors_is_trained_once():
    assert STUDY.entries() == ["fixmatch", "fixmatch:optim.lr=0.2", "fixmatch:optim.lr=0.3", "uda"]
    assert STUDY.settings()[3:] == [Setting("fixmatch", "raw"), Setting("uda")]


def test_factors_are_called_as_people_call_them():
    assert (RATE.title, METHOD.title) == ("FixMatch, rate", "Method")
    assert list(RATE.settings) == ["0.1", "0.2", "0.3"] and NETWORK.settings["itself"].network == "raw"


def test_few_settings_are_those_that_a_factor_names():
    few = STUDY.reduced()
    assert few.entries() == ["fixmatch", "fixmatch:optim.lr=0.3"]
    assert [dict(factor.others) for factor in few.factors] == [{"0.3": "fixmatch:optim.lr=0.3"}, {}]
    assert few.compared() == [few.factors[0]]  # of the other the baseline is trained, and nothing is said


def test_entries_are_replaced_wherever_they_stand_and_stay_of_the_same_network():
    other = STUDY.with_entries({"fixmatch": "fixmatch:steps=7"})
    assert other.factors[0].settings["0.1"] == Setting("fixmatch:steps=7")
    assert other.factors[1].settings["itself"] == Setting("fixmatch:steps=7", "raw")
    assert other.factors[2].settings["UDA"] == Setting("uda")
