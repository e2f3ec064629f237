"""The pure rules of streams: what is looked at, at what pace, what moved, and what must not be shown."""

from __future__ import annotations

from urllib.parse import unquote, urlsplit

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.motion import LONGEST_STILL_S, MotionGate, cells
from edge.sources.address import HIDDEN, address, shown
from edge.sources.area import Area
from edge.sources.pace import BEHIND_S, Lag, Thinning
from edge.sources.planes import TAIL, completed, layout, packed
from edge.sources.state import FROZEN_S, StreamState, Watch
from shared.errors import ConfigurationError

sides = st.integers(2, 4000)
shares = st.floats(0, 1)


@settings(deadline=None)
@given(shares, shares, shares, shares, sides, sides)
def test_an_area_is_always_an_even_rectangle_inside_the_picture(x: float, y: float, w: float, h: float, height: int, width: int) -> None:
    box = Area(x=x, y=y, width=min(w, 1 - x), height=min(h, 1 - y)).box((height, width))
    assert box.x % 2 == box.y % 2 == box.width % 2 == box.height % 2 == 0
    assert box.width >= 2
    assert box.height >= 2
    assert box.x >= 0 <= box.y
    assert box.x + box.width <= width
    assert box.y + box.height <= height


def test_an_area_covers_what_it_says() -> None:
    box = Area(x=0.25, y=0.5, width=0.5, height=0.5).box((360, 640))
    assert (box.x, box.y, box.width, box.height) == (160, 180, 320, 180)


@pytest.mark.parametrize(("camera", "wanted"), [(10, 10), (30, 10), (25, 10), (60, 7), (5, 10), (10, 0)])
def test_thinning_keeps_the_wanted_rate_in_spite_of_jitter(camera: int, wanted: int) -> None:
    rng = np.random.default_rng(0)
    thinning = Thinning(wanted)
    kept = sum(thinning.wants(100 + number / camera + rng.uniform(-0.2, 0.2) / camera) for number in range(20 * camera))
    assert kept == pytest.approx(20 * (min(camera, wanted) if wanted else camera), rel=0.05)


def test_thinning_does_not_hurry_after_a_pause() -> None:
    thinning = Thinning(10)
    assert thinning.wants(0.0)
    assert [thinning.wants(60 + n * 0.01) for n in range(12)].count(True) == 2


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(-1e6, 1e6), st.floats(0, 1e6)), max_size=50))
def test_lag_is_never_negative_whatever_the_clocks_do(steps: list[tuple[float, float]]) -> None:
    lag = Lag()
    for stamp, now in steps:
        lag.see(stamp, now)
        assert lag.behind_s >= 0


def test_a_reader_that_is_behind_takes_key_frames_until_it_has_caught_up() -> None:
    lag = Lag()
    assert not any(lag.see(t / 10, 50 + t / 10) for t in range(10))
    assert lag.see(1.0, 51.0 + BEHIND_S + 0.1)
    assert lag.see(2.0, 52.5)
    assert not lag.see(3.0, 53.1)
    assert not lag.see(-500.0, 53.2)
    assert lag.behind_s == 0


@pytest.mark.parametrize("drift", [1e-4, -1e-4, 1e-3])
def test_a_camera_whose_clock_goes_slow_or_fast_is_not_taken_for_delay(drift: float) -> None:
    lag = Lag()
    assert not any(lag.leaves_out(second * (1 - drift), 1e5 + second, is_key=second % 50 == 0) for second in range(4 * 3600))


def test_after_what_was_left_out_nothing_is_taken_before_the_next_key_frame() -> None:
    lag = Lag()
    assert not any(lag.leaves_out(t / 10, t / 10, is_key=t == 0) for t in range(5))
    assert lag.leaves_out(0.5, 0.5 + BEHIND_S + 0.1, is_key=False)
    assert lag.leaves_out(1.6, 1.61, is_key=False)  # caught up, but built on what was left out
    assert not lag.leaves_out(1.7, 1.71, is_key=True)
    assert not lag.leaves_out(1.8, 1.81, is_key=False)


@settings(deadline=None)
@given(st.text(min_size=1, max_size=20).filter(lambda text: ":" not in text and text.isprintable()), st.text(min_size=4, max_size=30))
def test_an_address_carries_any_credentials_and_shows_none(name: str, password: str) -> None:
    password = "".join(character for character in password if character not in "\r\n")
    found = address("rtsp://cam.example:8554/a?b=1", f"{name}:{password}\n")
    parts = urlsplit(found.dialled)
    assert (unquote(parts.username or ""), unquote(parts.password or "")) == (name, password)
    assert (parts.hostname, parts.port, parts.path, parts.query) == ("cam.example", 8554, "/a", "b=1")
    assert found.shown == "rtsp://cam.example:8554/a?b=***"
    if len(password) > 3 and password not in HIDDEN:
        assert password not in found.redact(f"cannot open {found.dialled} with {password}")


@pytest.mark.parametrize(
    "url",
    [
        *("", "cam", "http://cam/", "rtsp://", "rtsp://a:secret@cam/", "rtsp://cam:port/", "rtsp://[::1", "rtsp://secret@cam/"),
        *("rtsp://a:12/secret@cam/", "rtsp://a:12#secret@cam/", "rtsp://a:12?secret@cam/", "rtsp://%61:secret%40@cam/"),
        *("rtsp://cam/secret x", "rtsp://cam/\nsecret"),
    ],
)
def test_an_address_that_cannot_be_used_is_not_repeated(url: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        address(url)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "rtsp://cam/user=operator_password=secret_channel=1_stream=0.sdp?real_stream",
        "rtsp://[fe80::1]:554/live?username=operator&password=secret",
        'could not set property "location" in element "rtspsrc0" to "rtsp://operator:secret@cam/live"',
        "no element: rtspsrc location=rtsp://operator:secret@cam user-id=operator user-pw=secret ! x",
    ],
)
def test_credentials_that_a_camera_wants_in_its_path_are_not_shown(text: str) -> None:
    assert "secret" not in shown(text)
    assert "operator" not in shown(text)
    assert "cam" in shown(text) or "fe80" in shown(text)
    if text.startswith("rtsp://"):
        assert (address(text).dialled, address(text, "a:b").shown) == (text, shown(text))


def _scene(shift: int = 0, noise: int = 0) -> np.ndarray:
    scene = np.full((96, 128), 80, np.uint8)
    scene[40:56, 10 + shift : 30 + shift] = 200
    return scene + np.random.default_rng(shift + noise).integers(0, 6, scene.shape, dtype=np.uint8)


def test_noise_is_still_and_a_moving_thing_is_not() -> None:
    gate = MotionGate(share=0.005, is_audit=lambda _: False)
    assert gate.passes(0, _scene(), 0.0)
    assert not any(gate.passes(n, _scene(noise=n), 0.1 * n) for n in range(1, 9))
    assert gate.passes(9, _scene(shift=16), 1.0)


def test_what_creeps_adds_up_and_the_audit_and_the_clock_pass_the_gate() -> None:
    gate = MotionGate(share=0.5, is_audit=lambda number: number == 3)
    flat = np.full((96, 128), 80, np.uint8)
    assert [gate.passes(n, flat, 0.0) for n in range(5)] == [True, False, False, True, False]
    passed = [n for n in range(5, 35) if gate.passes(n, flat + np.uint8(n - 5), 0.1)]
    assert passed == [16, 27]
    assert gate.passes(99, flat + np.uint8(29), 0.1 + LONGEST_STILL_S)
    assert gate.passes(100, flat[:48], 10.2)


@settings(deadline=None)
@given(st.integers(0, 40), st.integers(0, 40))
def test_every_picture_has_cells(height: int, width: int) -> None:
    found = cells(np.full((height, width), 7, np.uint8))
    assert found.shape == (max(1, height // 8) if width >= 8 else 1, max(1, width // 8) if height >= 8 else 1)
    assert not height * width or (found == 28).all()


def test_a_frozen_picture_is_told_and_forgotten_when_it_moves() -> None:
    state = StreamState()
    watch = Watch(state)
    for second in range(int(FROZEN_S) + 1):
        watch.compare(_scene(), 5.0 + second)
    assert state.frozen_s == FROZEN_S
    watch.compare(_scene(shift=3), 99.0)
    assert state.frozen_s == 0


@settings(deadline=None)
@given(st.integers(2, 70), st.integers(2, 70))
def test_padded_planes_are_packed_value_by_value(width: int, height: int) -> None:
    found = layout(width, height)
    data = np.random.default_rng(width * 100 + height).integers(0, 256, found.size, dtype=np.uint8)
    made = packed(data.tobytes(), found)
    even_w, even_h = width // 2 * 2, height // 2 * 2
    assert made.shape == (even_h * 3 // 2, even_w)
    luma = [[data[row * found.luma_stride + column] for column in range(even_w)] for row in range(even_h)]
    assert (made[:even_h] == luma).all()
    begin = found.luma_stride * 2 * found.chroma_height
    for plane in range(2):
        start = begin + plane * found.chroma_stride * found.chroma_height
        wanted = [data[start + row * found.chroma_stride + column] for row in range(even_h // 2) for column in range(even_w // 2)]
        assert (made[even_h:].reshape(2, -1)[plane] == wanted).all()
    with pytest.raises(ValueError, match="holds no picture"):
        packed(data.tobytes()[:-1], found)


def test_a_pipeline_gets_its_end_and_may_not_bring_one() -> None:
    assert completed(" videotestsrc ! x264dec ! ") == f"videotestsrc ! x264dec ! {TAIL}"
    for wrong in ("", " ! ", "videotestsrc ! fakesink", "a ! appsink name=b"):
        with pytest.raises(ConfigurationError, match="sink"):
            completed(wrong)


def test_a_source_that_hangs_is_seen_by_its_silence() -> None:
    state = StreamState()
    watch = Watch(state)
    assert state.silent_s(50.0) == 0.0
    watch.dialled(50.0)
    watch.saw((48, 64), 51.0)
    state.state = "running"
    assert state.silent_s(91.0) == 40.0
    state.state = "failed"
    assert state.silent_s(91.0) == 0.0
