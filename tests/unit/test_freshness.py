"""At twice the load: what is answered is younger than a period, every stream gets its share, every drop is counted by its reason."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.freshness import REMEMBERED, Foresight, chosen, fitting, is_stale
from edge.newest import GOVERNED, RELIEVED, REPLACED, STALE, NewestFrames
from edge.relief import LEAST, WINDOW_S, Relief, passes
from shared import clock
from shared.vision.frames import Frame

PIXELS = np.zeros((1, 1, 3), np.uint8)


def frame(stream: str, number: int, at: float, good_for_s: float = 0.1) -> Frame:
    return Frame(stream=stream, number=number, unit="", captured_at=at, arrived_at=at, pixels=PIXELS, good_for_s=good_for_s)


class Machine:
    """Streams at 10 frames a second, one thread that answers, and a clock that is moved by hand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, streams: int, each_s: float, aligned: bool = False) -> None:
        self.now = 100.0
        monkeypatch.setattr(clock, "monotonic", lambda: self.now)
        self.frames, self.foresight = NewestFrames(), Foresight()
        phases = np.zeros(streams) if aligned else np.random.default_rng(5).uniform(0, 0.1, streams)
        self.due = {f"s{place}": 100.0 + phase for place, phase in enumerate(phases)}
        self.numbers = dict.fromkeys(self.due, 0)
        self.each_s = each_s
        self.ages: list[float] = []
        self.answered = dict.fromkeys(self.due, 0)
        self.converted = 0

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        while self.now < end:
            self._arrive()
            taken = self.frames.take(16, 0.0, foresight=self.foresight)
            took = self.each_s * len(taken) if taken else 0.001
            self.now += took
            for one in taken:
                self.ages.append(self.now - one.arrived_at)
                self.answered[one.stream] += 1
            if taken:
                self.foresight.took(len(taken), took)

    def _arrive(self) -> None:
        for stream, due in self.due.items():
            while self.due[stream] <= self.now:
                number, at = self.numbers[stream], self.due[stream]
                if self.frames.allows(stream, number):
                    self.converted += 1
                    self.frames.put(frame(stream, number, at))
                self.numbers[stream], self.due[stream] = number + 1, at + 0.1
            del due


def test_at_twice_the_load_answers_are_younger_than_a_period_and_streams_share_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch, streams=200, each_s=0.001)  # 2000 frames a second come, 1000 can be answered
    machine.run(20.0)
    assert np.quantile(machine.ages, 0.99) <= 0.1
    assert max(machine.ages) <= 0.1 + 0.016
    shares = np.array(list(machine.answered.values())) / np.mean(list(machine.answered.values()))
    assert shares.min() > 0.8
    assert shares.max() < 1.2
    assert sum(machine.answered.values()) > 0.98 * 20.0 / machine.each_s, "the thread that answers is never idle"


def test_every_frame_is_answered_dropped_or_still_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch, streams=200, each_s=0.001)
    machine.run(5.0)
    came, answered, dropped = sum(machine.numbers.values()), sum(machine.answered.values()), machine.frames.dropped_in_all()
    assert 0 <= came - answered - dropped <= 200
    assert dropped == sum(machine.frames.reasons().values()) == sum(map(machine.frames.dropped, machine.numbers))
    assert machine.frames.reasons()[GOVERNED] == 0


def test_what_is_dropped_is_mostly_not_converted_and_the_share_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch, streams=200, each_s=0.001)
    machine.run(10.0)
    assert machine.frames.converted_share < 0.65
    assert machine.converted < 0.65 * sum(machine.numbers.values())
    machine.each_s = 0.0002
    machine.run(10.0)
    assert machine.frames.converted_share == 1.0


@pytest.mark.parametrize("aligned", [False, True])
def test_below_the_load_every_frame_is_answered(monkeypatch: pytest.MonkeyPatch, aligned: bool) -> None:
    machine = Machine(monkeypatch, streams=80, each_s=0.001, aligned=aligned)
    machine.run(10.0)
    assert machine.frames.dropped_in_all() == 0
    assert machine.frames.converted_share == 1.0


def test_a_model_slower_than_the_period_still_answers_without_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch, streams=1, each_s=0.3)
    machine.run(30.0)
    assert machine.answered["s0"] >= 75
    assert max(machine.ages) <= 0.3 + 0.1 + 0.01


def test_a_batch_is_bounded_by_the_model_and_not_by_a_stall() -> None:
    foresight = Foresight()
    foresight.took(16, 0.8)
    foresight.took(1, 0.02)
    assert fitting(0.1, limit=16, per_frame_s=foresight.per_frame_s) == 1
    foresight.took(16, 0.016)
    assert (foresight.per_frame_s, foresight.batch_s) == (0.001, 0.02)
    assert fitting(0.1, limit=16, per_frame_s=foresight.per_frame_s) == 16
    for _ in range(REMEMBERED):
        foresight.took(2, 0.004)
    assert (foresight.per_frame_s, foresight.batch_s) == (0.002, 0.004)


def test_a_frame_without_a_period_never_becomes_stale() -> None:
    assert not is_stale(frame("a", 0, 0.0, float("inf")), foreseen=9.0, now=1e9)
    assert is_stale(frame("a", 0, 0.0), foreseen=0.0, now=0.11)
    assert is_stale(frame("a", 0, 0.0), foreseen=0.03, now=0.08)
    assert not is_stale(frame("a", 0, 0.0), foreseen=0.06, now=0.08), "a slow model does not starve its stream"


@given(st.lists(st.floats(0.0, 0.2), max_size=40), st.integers(1, 16), st.floats(0.0, 0.2))
def test_a_choice_loses_nothing_and_keeps_its_limit(ages: list[float], limit: int, took: float) -> None:
    waiting = [frame(f"s{place}", 0, -age) for place, age in enumerate(ages)]
    foresight = Foresight()
    foresight.took(1, took)
    turns = {f"s{place}": -place for place in range(0, len(ages), 2)}
    choice = chosen(waiting, turns=turns, limit=limit, foresight=foresight, now=0.0)
    names = [one.stream for one in choice.taken + choice.stale]
    assert len(set(names)) == len(names) <= len(waiting)
    assert len(choice.taken) <= limit
    left = [one for one in waiting if one.stream not in names]
    assert bool(choice.taken) or not left
    latest = max((turns.get(one.stream, -1) for one in choice.taken), default=-99)
    assert all(turns.get(one.stream, -1) >= latest for one in left)


@given(st.floats(0.0, 1.0), st.integers(0, 10**9))
def test_a_share_is_spread_evenly(rate: float, first: int) -> None:
    passed = sum(passes(number, rate) for number in range(first, first + 100))
    assert abs(passed - 100 * rate) <= 1.001


def test_relief_never_leaves_a_stream_out_and_forgets_nothing_within_a_window() -> None:
    relief, put = Relief(), 0
    for step in range(200):
        put += 100
        relief.see(step * WINDOW_S / 2, put=put, taken=0, lost=put, is_crowded=True)
    assert relief.share == LEAST


def test_the_governors_drops_are_told_apart() -> None:
    frames = NewestFrames()
    frames.skip("a")
    frames.skip("a", RELIEVED)
    assert (frames.skipped_in_all(), frames.dropped("a"), frames.reasons()) == (1, 2, {REPLACED: 0, STALE: 0, RELIEVED: 1, GOVERNED: 1})
