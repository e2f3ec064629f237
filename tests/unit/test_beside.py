"""Work beside the fleet: results and errors come back, and it is ended at once when nobody waits any more."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import pytest

from provisioning.testbed.beside import Work
from provisioning.testbed.processes import DaemonFailedError
from shared.errors import InputError, TerraceError
from tests.waiting import until


def double(number: int) -> int:
    return 2 * number


def complain() -> None:
    raise InputError("there is no such thing.", "Give another.")


def stumble() -> None:
    raise ZeroDivisionError("by zero")


def vanish() -> None:
    os._exit(7)


def sleep_long() -> None:
    time.sleep(600)  # what is ended before its time


def finished(work: Work[object]) -> Work[object]:
    work.start()
    until(work.is_over, within_s=60)
    return work


def test_a_result_comes_back() -> None:
    work = finished(Work(double, 21))
    assert work.result() == 42
    work.stop()


@pytest.mark.parametrize(
    ("function", "error", "words"),
    [(complain, InputError, "no such thing"), (stumble, DaemonFailedError, "by zero"), (vanish, DaemonFailedError, "code 7")],
)
def test_what_went_wrong_is_one_of_our_errors(function: Callable[[], None], error: type[TerraceError], words: str) -> None:
    work = finished(Work(function))
    with pytest.raises(error, match=words):
        work.result()
    work.stop()


def test_it_is_ended_at_once() -> None:
    work = Work(sleep_long)
    work.start()
    began = time.monotonic()
    work.stop()
    assert time.monotonic() - began < 10
