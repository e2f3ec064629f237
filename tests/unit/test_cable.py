"""The cable of `terrace demo --cut-link`: what pulls mean, what is counted, and keys from a real terminal."""

from __future__ import annotations

import os
import sys
import termios

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from provisioning.testbed import cable, commands
from provisioning.testbed.cable import KEYS, TABLE, Cable, CableFigures, Pull, Tally
from provisioning.testbed.cli import app
from provisioning.testbed.keys import Keys
from provisioning.testbed.plan import CABLE
from shared.errors import InputError
from tests.waiting import until


@given(st.lists(st.sampled_from(Pull)))
def test_whatever_is_pulled_the_cable_is_whole_at_the_end(pulls: list[Pull]) -> None:
    state = Cable.WHOLE
    for pull in [*pulls, Pull.QUIT]:
        state = TABLE.get((state, pull), state)
    assert state is Cable.WHOLE


def test_the_script_cuts_kills_mends_and_ends() -> None:
    steps = cable.script(10)
    assert [pull for _, pull in steps] == [Pull.CUT, Pull.KILL, Pull.MEND, Pull.QUIT]
    assert steps[2][0] - steps[0][0] == 10
    assert all(key in cable.HINT for key in KEYS)


@given(st.lists(st.tuples(st.sampled_from(Cable), st.integers(0, 50), st.integers(0, 9)), max_size=30))
def test_only_what_happens_on_a_cut_cable_is_counted_as_such(looks: list[tuple[Cable, int, int]]) -> None:
    tally, answered = Tally(), 0
    for at, (state, waiting, more) in enumerate(looks):
        answered += more
        tally.see(state, now=float(at), answered=answered, waiting=waiting, few=2)
    assert tally.cut_s == sum(state is Cable.CUT for state, _, _ in looks[1:])
    assert tally.answered_in_cut == sum(more for state, _, more in looks[1:] if state is Cable.CUT)
    assert tally.peak == max((waiting for _, waiting, _ in looks), default=0)


def test_draining_runs_from_the_mending_to_the_first_time_that_few_wait() -> None:
    tally = Tally()
    for at, waiting in enumerate((5, 40, 30, 2, 1)):
        if at == 1:
            tally.pulled(Pull.MEND, now=1.0)
        tally.see(Cable.WHOLE, now=float(at), answered=0, waiting=waiting, few=2)
    assert tally.drained_s == 2.0


def test_lines_fit_80_columns() -> None:
    figures = CableFigures(
        cuts=12, cut_s=3600, answered_in_cut=123_456, peak=99_999, drained_s=123.4, kills=10, spooled=123_456, stored=123_456,
        waiting=99, evicted=99, lost=0, doubled=0,
    )  # fmt: skip
    assert all(len(line) <= 76 for line in [*figures.lines(), *commands.of_cases(CABLE, "region-1")])


def test_a_demo_of_its_own_takes_no_options_of_the_others() -> None:
    assert isinstance(CliRunner().invoke(app, ["--cut-link", "--act", "2"]).exception, InputError)


def test_keys_come_one_by_one_and_the_terminal_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    person, terminal = os.openpty()
    with os.fdopen(terminal) as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        before = termios.tcgetattr(stdin)
        with Keys() as keys:
            assert keys.can_press
            assert keys.pressed() == ""
            os.write(person, b"Ck")
            found: list[str] = []
            until(lambda: found.append(keys.pressed()) or "".join(found) == "ck")
        assert termios.tcgetattr(stdin) == before
    os.close(person)


def test_without_a_terminal_no_key_ever_comes() -> None:
    with Keys() as keys:
        assert not keys.can_press
        assert keys.pressed() == ""
