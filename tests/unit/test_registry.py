import pytest

from semisonic.registry import Registry


def test_entries_are_added_once_and_never_replaced():
    first, second = object(), object()
    known: Registry[object] = Registry("network", {"small": first})
    assert known.register("own", second) is second and known.register("own", second) is second
    assert list(known) == ["small", "own"] and known["own"] is second and len(known) == 2
    for name in ("small", "own"):
        with pytest.raises(ValueError, match=f"network '{name}': there is one of that name already"):
            known.register(name, object())
    assert known["small"] is first and known["own"] is second


@pytest.mark.parametrize("name", ["", "Own", "own.net", "own net", "own=1"])
def test_a_name_must_be_one_that_a_command_line_can_give(name: str):
    with pytest.raises(ValueError, match="lower-case letters"):
        Registry("network", {}).register(name, 1)


def test_a_near_name_is_found():
    known = Registry("algorithm", {"fixmatch": 1, "mixmatch": 2})
    assert known.close_to("fixmach") == "fixmatch" and known.close_to("zzz") is None
