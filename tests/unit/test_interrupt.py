"""Ctrl-C while something comes to its end takes effect after it, and not at all where it is ignored."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from provisioning.testbed.interrupt import held_back


@pytest.fixture(params=[signal.default_int_handler, signal.SIG_IGN], ids=["heard", "ignored"])
def is_heard(request: pytest.FixtureRequest) -> Iterator[bool]:
    before = signal.signal(signal.SIGINT, request.param)
    yield request.param is not signal.SIG_IGN
    assert signal.getsignal(signal.SIGINT) is request.param
    signal.signal(signal.SIGINT, before)


def test_ctrl_c_waits_for_the_end(is_heard: bool) -> None:
    done = []

    def stop() -> None:
        with held_back():
            signal.raise_signal(signal.SIGINT)
            done.append("all down")

    if is_heard:
        with pytest.raises(KeyboardInterrupt):
            stop()
    else:
        stop()
    assert done == ["all down"]


def test_a_failure_goes_on_as_itself() -> None:
    with pytest.raises(ValueError, match="first"), held_back():
        raise ValueError("first")
