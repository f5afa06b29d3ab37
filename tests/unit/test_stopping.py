"""Being asked to stop is answered where somebody looks, and is nobody's business outside."""

import threading

import pytest

from semisonic.schema import Interrupted, Stopped
from semisonic.stopping import heard, raise_if_stopped, until_stopped


@pytest.mark.parametrize(("reason", "kind"), [("SIGTERM", Stopped), ("SIGINT", Interrupted)])
def test_what_takes_long_ends_between_two_items(reason: str, kind: type[Stopped]):
    reasons: list[str] = []
    seen = []
    with (
        heard(lambda: reasons[0] if reasons else None),
        pytest.raises(Stopped, match=f"^stopped by {reason} before anything was written$") as raised,
    ):
        for item in until_stopped(range(5)):
            seen.append(item)
            if item == 2:
                reasons.append(reason)
    assert seen == [0, 1, 2] and type(raised.value) is kind
    raise_if_stopped()
    assert list(until_stopped(range(2))) == [0, 1]


def test_a_reason_that_comes_a_moment_later_counts_where_somebody_waits():
    reasons: list[str] = []
    with heard(lambda: reasons[0] if reasons else None):
        threading.Timer(0.1, reasons.append, ["SIGTERM"]).start()
        raise_if_stopped()
        with pytest.raises(Stopped):
            raise_if_stopped(patience=20)
