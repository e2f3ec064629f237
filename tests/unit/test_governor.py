"""The governor: steps down under pressure, back in calm, never to and fro; the reading of a system's files; what a step does to frames."""

import re
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge import governor, heat
from edge.governing import Governor
from edge.governor import BOUNDS, LAST, LONGEST_CALM_S, STEPS, UP_AFTER_S, Reading, State, after
from edge.newest import NewestFrames
from edge.numbers import FrameNumbers
from edge.relief import passes
from edge.sources.stream import StreamThread, Wishes
from edge.throttle import Throttle, shrunk
from edge.vitals import Vitals
from shared.vision.frames import Frame
from tests.unit import edge_parts
from tests.waiting import until

COOL, HOT, WARM = Reading(headroom_c=30.0), Reading(headroom_c=2.0), Reading(headroom_c=8.0)
READINGS = st.builds(
    Reading,
    headroom_c=st.one_of(st.none(), st.floats(-10, 60)),
    memory_free=st.one_of(st.none(), st.floats(0, 1)),
    lag=st.one_of(st.none(), st.floats(0, 1)),
    throttled=st.sampled_from(["", "under-voltage"]),
    power_mode=st.sampled_from(["", "0", "1"]),
)


def _run(state: State, reading: Reading, *, since: float, seconds: float) -> State:
    for at in np.arange(since, since + seconds, 2.0):
        state = after(state, reading, float(at))
    return state


@pytest.mark.parametrize(
    ("reading", "words"),
    [
        (HOT, "2.0 degrees"),
        (Reading(memory_free=0.03), "3% of memory"),
        (Reading(lag=0.8), "80% of the frames"),
        (Reading(throttled="under-voltage"), "under-voltage"),
    ],
)
def test_each_measure_that_stays_high_lowers_by_one_step_and_says_why(reading: Reading, words: str) -> None:
    assert _run(State(), reading, since=0, seconds=5).step == 0
    found = _run(State(), reading, since=0, seconds=8)
    assert found.step == 1
    assert words in found.reason


def test_a_temperature_at_its_limit_goes_to_the_last_step_at_once() -> None:
    assert after(State(), Reading(headroom_c=0.0), 0.0).step == LAST


def test_calm_brings_every_step_back_and_the_reason_goes() -> None:
    low = _run(State(), HOT, since=0, seconds=60)
    assert low.step == LAST
    back = _run(low, COOL, since=60, seconds=LAST * (UP_AFTER_S + 4) + 4)
    assert (back.step, back.reason) == (0, "")
    assert back.raised == LAST


def test_between_high_and_calm_nothing_changes() -> None:
    low = _run(State(), HOT, since=0, seconds=8)
    assert _run(low, WARM, since=8, seconds=1000).step == low.step
    assert _run(State(), WARM, since=0, seconds=1000).step == 0


def test_a_step_up_that_is_taken_back_makes_the_next_one_wait_twice_as_long() -> None:
    state, waits, at = _run(State(), HOT, since=0, seconds=8), [], 8.0
    for _ in range(8):
        waits.append(state.calm_s)
        raised = _run(state, COOL, since=at, seconds=state.calm_s + 4)
        at += state.calm_s + 4
        assert raised.step == 0
        state = _run(raised, HOT, since=at, seconds=8)
        at += 8
    assert waits[:3] == [UP_AFTER_S, 2 * UP_AFTER_S, 4 * UP_AFTER_S]
    assert waits[-1] == LONGEST_CALM_S
    held = _run(_run(state, COOL, since=at, seconds=state.calm_s + 4), COOL, since=at + state.calm_s + 4, seconds=200)
    assert held.calm_s == UP_AFTER_S


def test_another_power_mode_forgets_long_waits() -> None:
    state = msgspec.structs.replace(State(), step=2, calm_s=960.0)
    assert after(state, Reading(headroom_c=30.0, power_mode="2"), 1.0).calm_s == UP_AFTER_S


def test_a_suspended_hour_is_neither_calm_nor_high() -> None:
    low = _run(State(), HOT, since=0, seconds=8)
    once = after(low, COOL, 8.0)
    assert after(once, COOL, 3608.0).step == low.step
    hot = after(State(), HOT, 0.0)
    assert after(hot, HOT, 3600.0).step == 0


@given(st.lists(st.tuples(READINGS, st.floats(0, 40)), max_size=60))
@settings(deadline=None)
def test_any_readings_keep_the_rules(sequence: list[tuple[Reading, float]]) -> None:
    state, now = State(), 0.0
    for reading, pause in sequence:
        now += pause
        before, state = state, after(state, reading, now)
        assert 0 <= state.step <= LAST
        if state.step > before.step:
            assert governor.pressure(reading)
            assert state.step == before.step + 1 or (reading.headroom_c is not None and reading.headroom_c <= 0)
        if state.step < before.step:
            assert governor.is_calm(reading)
            assert state.step == before.step - 1
        assert UP_AFTER_S <= state.calm_s <= LONGEST_CALM_S
        assert bool(state.reason) == bool(state.step)


@given(READINGS)
def test_nothing_is_high_and_calm_at_once(reading: Reading) -> None:
    assert not (governor.pressure(reading) and governor.is_calm(reading))
    assert all(bound.sign * (bound.high - bound.calm) > 0 for bound in BOUNDS.values())


@given(st.integers(0, 10**9), st.sampled_from(STEPS))
@settings(deadline=None)
def test_the_share_that_passes_is_the_steps(start: int, step: governor.Step) -> None:
    passed = sum(passes(number, step.rate) for number in range(start, start + 1000))
    assert abs(passed - 1000 * step.rate) <= 1


def test_a_shrunk_picture_is_the_mean_and_never_smaller_than_the_network_takes() -> None:
    pixels = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
    half = shrunk(pixels, factor=2, height=2, width=3)
    assert half.shape == (2, 3, 3)
    assert half[0, 0, 0] == 11  # of 0, 3, 18 and 21, a half upwards
    assert shrunk(pixels, factor=2, height=3, width=3) is pixels
    assert shrunk(pixels, factor=1, height=1, width=1) is pixels
    assert shrunk(np.zeros((5, 7, 3), np.uint8), factor=2, height=1, width=1).shape == (2, 3, 3)


def test_frames_that_are_not_allowed_are_counted_and_pictures_made_smaller() -> None:
    put: list[Frame] = []
    skipped: list[str] = []
    throttle = Throttle(put=put.append, skip=skipped.append, takes=lambda: (4, 4))
    throttle.step = governor.Step(rate=0.5, shrink=2)
    assert sum(throttle.allows("a", number) for number in range(10)) == 5
    assert skipped == ["a"] * 5
    throttle.put(edge_parts.frame(1, edge_parts.colour(200, 0)))
    assert put[0].pixels.shape == (4, 4, 3)
    assert int(put[0].pixels[0, 0, 0]) == 200


def test_a_picture_already_at_the_networks_size_stays_and_the_one_that_travels_shrinks() -> None:
    put: list[Frame] = []
    throttle = Throttle(put=put.append, skip=lambda stream: None, takes=lambda: (8, 8))
    throttle.step = governor.Step(rate=1.0, shrink=2)
    throttle.put(msgspec.structs.replace(edge_parts.frame(1, edge_parts.colour(9, 0)), whole=lambda: np.full((40, 20, 3), 7, np.uint8)))
    assert put[0].pixels.shape == (8, 8, 3)
    assert put[0].picture().shape == (20, 10, 3)


def test_a_stream_leaves_out_what_is_not_allowed_and_reads_on(tmp_path: Path) -> None:
    put: list[int] = []
    frames = NewestFrames()
    throttle = Throttle(put=lambda frame: put.append(frame.number), skip=frames.skip, takes=lambda: None)
    throttle.step = governor.Step(rate=0.5)
    source = edge_parts.ListSource([edge_parts.colour(1, 1)] * 10)
    thread = StreamThread(
        name="a",
        source=source,
        wishes=Wishes(fps=1000.0, loop=False),
        numbers=FrameNumbers(tmp_path / "frames.json"),
        put=throttle.put,
        allow=throttle.allows,
    )
    thread.start()
    until(lambda: thread.state.state == "ended", "the end of the list", within_s=20)
    thread.stop()
    assert put == [1, 3, 5, 7, 9]
    assert (thread.state.frames, frames.dropped("a"), frames.skipped_in_all()) == (10, 5, 5)


def _write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


def _zone(number: int, temperature: int, **trips: int) -> dict[str, str]:
    folder = f"sys/class/thermal/thermal_zone{number}"
    files = {f"{folder}/type": f"cpu{number}", f"{folder}/temp": str(temperature)}
    for index, (kind, limit) in enumerate(trips.items()):
        files |= {f"{folder}/trip_point_{index}_type": kind, f"{folder}/trip_point_{index}_temp": str(limit)}
    return files


def test_the_zone_nearest_to_its_limit_counts_and_fans_are_no_limit(tmp_path: Path) -> None:
    _write(tmp_path, _zone(0, 60_000, active=50_000, passive=85_000, critical=105_000) | _zone(1, 90_000, critical=99_000))
    _write(tmp_path, _zone(4, 30_000, critical=20_800))  # firmware that makes its trip points up
    _write(tmp_path, _zone(2, 95_000) | {"sys/class/thermal/thermal_zone3/temp": "-256000"})
    reading = Vitals(tmp_path).reading()
    assert reading.headroom_c == pytest.approx(9.0)
    assert [zone.limit_c for zone in Vitals(tmp_path).zones()] == [85.0, 99.0]


def test_throttling_power_mode_and_memory_are_read(tmp_path: Path) -> None:
    _write(tmp_path, {"sys/devices/platform/soc@107c000000/soc:firmware/get_throttled": "50005\n", "var/lib/nvpmodel/status": "pmode:0002"})
    _write(tmp_path, {"proc/meminfo": "MemTotal:       8000000 kB\nMemAvailable:    400000 kB\n"})
    reading = Vitals(tmp_path).reading(lag=0.25)
    assert reading == Reading(memory_free=0.05, lag=0.25, throttled="under-voltage, throttled", power_mode="2")
    assert heat.throttled("throttled=0x8") == "soft temperature limit"


@given(st.text(max_size=60))
def test_files_of_other_content_say_nothing_and_never_fail(text: str) -> None:
    assert heat.zone("x", text, {"critical": text}) is None or re.match(r"\s*[+-]?[\d_]+", text)
    assert isinstance(heat.throttled(text) + heat.power_mode(text), str)
    assert heat.memory_free(text) is None or "MemTotal" in text


@pytest.mark.parametrize("nonsense", ["--5", "-", "", "1e5", "9" * 400, "nan", "\ufffd", "45000 C"])
def test_a_trip_point_of_nonsense_limits_nothing_and_stops_no_governor(tmp_path: Path, nonsense: str) -> None:
    folder = "sys/class/thermal/thermal_zone0"
    _write(
        tmp_path, _zone(0, 60_000, critical=99_000) | {f"{folder}/trip_point_1_type": "passive", f"{folder}/trip_point_1_temp": nonsense}
    )
    assert Vitals(tmp_path).reading().headroom_c == pytest.approx(39.0)


def test_a_machine_that_tells_nothing_is_not_governed(tmp_path: Path) -> None:
    throttle = Throttle(put=lambda frame: None, skip=lambda stream: None, takes=lambda: None)
    found = Governor(mode="auto", vitals=Vitals(tmp_path), throttle=throttle, counted=lambda: None)
    found.start()
    assert found.status()["on"] is False
    found.stop()


def test_a_hot_machine_lowers_the_rate_by_itself_and_tells(tmp_path: Path) -> None:
    _write(tmp_path, _zone(0, 100_000, critical=99_000))
    throttle = Throttle(put=lambda frame: None, skip=lambda stream: None, takes=lambda: None)
    found = Governor(mode="auto", vitals=Vitals(tmp_path), throttle=throttle, counted=lambda: (10, 0), period_s=0.01)
    found.start()
    until(lambda: throttle.step is STEPS[LAST], "the last step", within_s=20)
    status = found.status()
    assert (status["on"], status["step"], status["rate"]) == (True, LAST, STEPS[LAST].rate)
    assert status["headroom_c"] == -1.0
    assert "degrees" in status["reason"]
    found.stop()


def test_lag_is_the_share_replaced_since_the_last_reading(tmp_path: Path) -> None:
    counts = iter([(100, 0), (200, 60), None, (300, 70)])
    throttle = Throttle(put=lambda frame: None, skip=lambda stream: None, takes=lambda: None)
    found = Governor(mode="on", vitals=Vitals(tmp_path), throttle=throttle, counted=lambda: next(counts))
    seen = []
    for _ in range(4):
        found.step()
        seen.append(found.status().get("lag"))
    assert seen == [None, 0.6, None, None]
