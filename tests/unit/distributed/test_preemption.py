"""Signals become a flag, and what handled them before does so again afterwards."""

import os
import signal
from collections.abc import Callable, Iterator

import pytest

from semisonic.distributed.preemption import Preemption

Hangup = Callable[[signal.Handlers], object]


@pytest.fixture
def hangup() -> Iterator[Hangup]:
    """Says what SIGHUP does, whatever these tests were started by."""
    before = signal.getsignal(signal.SIGHUP)
    yield lambda handler: signal.signal(signal.SIGHUP, handler)
    signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("number", Preemption.SIGNALS)
def test_a_signal_sets_the_flag_and_ends_nothing(number: signal.Signals, hangup: Hangup):
    hangup(signal.SIG_DFL)
    before = [signal.getsignal(each) for each in Preemption.SIGNALS]
    with Preemption() as preemption:
        assert preemption.received is None
        os.kill(os.getpid(), number)
        assert preemption.received == number.name
    assert [signal.getsignal(each) for each in Preemption.SIGNALS] == before


def test_under_nohup_a_closed_terminal_is_nobody_s_business(hangup: Hangup):
    hangup(signal.SIG_IGN)
    with Preemption() as preemption:
        os.kill(os.getpid(), signal.SIGHUP)
        assert preemption.received is None
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


def test_a_second_interrupt_ends_the_process_at_once():
    with Preemption() as preemption:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGUSR1)
        assert preemption.received == "SIGUSR1"  # asked twice to stop, it still stops in order
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
