"""Cameras over real RTSP on loopback: they come back after everything, and nothing they do reaches another stream or shows a password."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edge.config import StreamSettings
from edge.motion import MotionGate
from edge.numbers import FrameNumbers
from edge.sources import live, stream
from edge.sources.address import Address, address
from edge.sources.area import Area
from edge.sources.base import Source
from edge.sources.live import Dial, LiveSource, rtsp
from edge.sources.make import make_source
from edge.sources.stream import StreamThread, Wishes
from shared.errors import ConfigurationError, DependencyError, InputError
from shared.vision.frames import Frame
from tests.rtsp import Camera, encode
from tests.waiting import until


def _pictures(count: int = 10, height: int = 48, width: int = 64, step: int = 20) -> list[np.ndarray]:
    return [np.full((height, width, 3), 20 + step * number, np.uint8) for number in range(count)]


SMALL, LARGE = encode(_pictures()), encode(_pictures(5, 96, 128))


@pytest.fixture
def camera() -> Iterator[Camera]:
    with Camera(SMALL) as made:
        yield made


class Reader:
    """A stream's thread on a camera, with what it delivered."""

    def __init__(self, source: Source, folder: Path, *, fps: float = 0.0, gate: MotionGate | None = None, name: str = "a") -> None:
        self.frames: list[Frame] = []
        numbers = FrameNumbers(folder / f"{name}.json")
        self.thread = StreamThread(
            name=name, source=source, wishes=Wishes(fps=fps), numbers=numbers, put=self.frames.append, gate=gate, size=lambda _: (8, 8)
        )
        self.state = self.thread.state

    def __enter__(self) -> Reader:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.thread.stop()

    def more(self, count: int = 3) -> None:
        seen = len(self.frames)
        until(lambda: len(self.frames) >= seen + count, lambda: f"frames; the stream is {self.state}", within_s=40)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reads that wait shorter than on a real network, and shorter pauses between dials."""
    monkeypatch.setattr(stream, "LONGEST_WAIT_S", 0.2)
    monkeypatch.setattr(live, "SILENCE_S", 0.5)


def test_a_camera_shows_numbered_frames_at_the_models_size_and_whole_ones_on_demand(camera: Camera, tmp_path: Path) -> None:
    with Reader(LiveSource(rtsp(address(camera.url))), tmp_path) as reader:
        reader.more(6)
        assert (reader.state.state, reader.state.width, reader.state.height) == ("running", 64, 48)
    assert [frame.number for frame in reader.frames[:6]] == list(range(6))
    shown = reader.frames[3]
    assert (shown.pixels.shape, shown.picture().shape) == ((8, 8, 3), (48, 64, 3))
    assert abs(float(shown.pixels.mean()) - float(shown.picture().mean())) < 3
    assert reader.state.first_frame_s > 0


def test_a_camera_that_dies_is_dialled_again_and_numbers_go_on(camera: Camera, tmp_path: Path, quick: None) -> None:
    with Reader(LiveSource(rtsp(address(camera.url))), tmp_path) as reader:
        reader.more()
        camera.hang_up()
        until(lambda: reader.state.failures == 1, within_s=40)
        reader.more()
    numbers = [frame.number for frame in reader.frames]
    assert numbers == sorted(set(numbers))
    assert camera.dials >= 2
    assert reader.state.connections == camera.dials


def test_a_camera_that_falls_silent_is_noticed_and_the_others_go_on(camera: Camera, tmp_path: Path, quick: None) -> None:
    with (
        Camera(SMALL) as other,
        Reader(LiveSource(rtsp(address(camera.url)), read_s=0.5), tmp_path) as silent,
        Reader(LiveSource(rtsp(address(other.url))), tmp_path, name="b") as well,
    ):
        silent.more()
        camera.frozen = True
        until(lambda: silent.state.state == "failed", within_s=40)
        assert "said nothing in time" in silent.state.reason or "ended" in silent.state.reason
        well.more()
        assert well.state.failures == 0
        camera.frozen = False
        silent.more()


def test_garbage_costs_its_frames_and_a_camera_that_sends_nothing_else_is_dialled_again(
    camera: Camera, tmp_path: Path, quick: None
) -> None:
    with Reader(LiveSource(rtsp(address(camera.url))), tmp_path) as reader:
        reader.more()
        camera.garbage = True
        until(lambda: reader.state.failures > 0, within_s=40)
        assert reader.state.state == "failed"
        camera.garbage = False
        reader.more()
        assert reader.state.state == "running"


def test_a_change_of_resolution_goes_on_in_the_same_stream(camera: Camera, tmp_path: Path) -> None:
    with Reader(LiveSource(rtsp(address(camera.url)), area=Area(x=0.5, y=0.0, width=0.5, height=1.0)), tmp_path) as reader:
        reader.more()
        camera.units = LARGE
        until(lambda: reader.state.width == 64 and reader.state.height == 96, within_s=40)
        reader.more()
    assert {frame.picture().shape for frame in reader.frames} >= {(48, 32, 3), (96, 64, 3)}
    assert {frame.pixels.shape for frame in reader.frames} == {(8, 8, 3)}


def test_time_stamps_that_run_backwards_change_nothing(camera: Camera, tmp_path: Path) -> None:
    with Reader(LiveSource(rtsp(address(camera.url))), tmp_path) as reader:
        reader.more()
        for shift in (-500.0, 900.0, -2.0):
            camera.shift_s = shift
            reader.more()
        assert (reader.state.state, reader.state.connections) == ("running", 1)
    arrived = [frame.arrived_at for frame in reader.frames]
    assert arrived == sorted(arrived)


def test_catching_up_never_shows_a_picture_that_nobody_filmed(tmp_path: Path) -> None:
    levels = [20, 23, 33, 60, 140, 240, 170, 88, 50, 27]  # no two steps alike: a step from another picture than its own leads elsewhere
    units = encode([np.full((48, 64, 3), level, np.uint8) for level in levels], every=10)
    with Camera(units, fps=40) as camera, Reader(LiveSource(rtsp(address(camera.url))), tmp_path) as reader:
        reader.more()
        for _ in range(4):
            camera.shift_s = -1.5  # seems delayed by as much
            sent = camera.sent
            until(lambda sent=sent: camera.sent >= sent + 7, within_s=40)
            camera.shift_s = 0.0
            reader.more(8)
    strange = [value for frame in reader.frames if min(abs(level - (value := float(frame.pixels.mean()))) for level in levels) > 6]
    assert strange == []


def test_a_faster_camera_is_thinned_and_a_still_one_is_gated(tmp_path: Path) -> None:
    same = encode([np.full((48, 64, 3), 90, np.uint8)] * 10)
    gate = MotionGate(share=0.01, is_audit=lambda number: number % 7 == 6)
    with Camera(same, fps=60) as camera, Reader(LiveSource(rtsp(address(camera.url))), tmp_path, fps=20, gate=gate) as reader:
        until(lambda: len(reader.frames) >= 3, within_s=40)
    assert [frame.number for frame in reader.frames[:3]] == [0, 6, 13]
    assert reader.state.still >= 11
    assert reader.state.thinned > reader.state.still


@pytest.mark.parametrize(("credentials", "says"), [("op:s3 c/ret@x", ""), ("op:wrong one", "refuses these credentials")])
def test_credentials_come_from_a_file_and_are_never_shown(tmp_path: Path, credentials: str, says: str) -> None:
    secret = tmp_path / "camera.secret"
    secret.write_text(credentials + "\n")
    secret.chmod(0o600)
    with Camera(SMALL, credentials="op:s3 c/ret@x") as camera:
        source = make_source(StreamSettings(name="a", kind="rtsp", url=camera.url, credentials=secret))
        if not says:
            assert source.open() == 0
            assert next(iter(source.shots(0))).look.size == (48, 64)
            source.close()
            return
        with pytest.raises(InputError, match=says) as caught:
            source.open()
    assert "wrong" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_neither_our_words_nor_the_librarys_show_a_password(tmp_path: Path) -> None:
    code = (
        "from edge.sources.live import LiveSource, rtsp\nfrom edge.sources.address import address\nfrom shared import log\nimport sys\n"
        "log.configure(level='debug')\n"
        "try: LiveSource(rtsp(address(sys.argv[1], 'operator:hunter22'))).open()\n"
        "except Exception as error: log.get('x').exception('failed', reason=str(error))\n"
    )
    with Camera(SMALL, credentials="operator:another") as camera:
        ran = subprocess.run([sys.executable, "-c", code, camera.url], capture_output=True, text=True, check=False, env={**os.environ})
    assert "refuses these credentials" in ran.stderr
    assert "hunter22" not in ran.stderr + ran.stdout


def test_credentials_that_others_may_read_are_refused(tmp_path: Path) -> None:
    secret = tmp_path / "camera.secret"
    secret.write_text("a:b")
    secret.chmod(0o644)
    with pytest.raises(ConfigurationError, match="others may read") as caught:
        make_source(StreamSettings(name="a", kind="rtsp", url="rtsp://127.0.0.1/live", credentials=secret))
    assert "chmod 600" in caught.value.remedy


def test_a_capture_device_is_read_like_a_camera(tmp_path: Path) -> None:
    # the library's test picture generator comes through the same device layer as V4L2; a machine without cameras has it too
    generator = Dial(address=Address(shown="testsrc", dialled="testsrc=size=64x48:rate=200"), format="lavfi")
    with Reader(LiveSource(generator), tmp_path) as reader:
        reader.more(5)
    assert reader.frames[0].picture().shape == (48, 64, 3)
    missing = make_source(StreamSettings(name="usb", kind="camera", path=tmp_path / "video9"))
    with pytest.raises(InputError, match="No such file") as caught:
        missing.open()
    assert "group `video`" in caught.value.remedy


def test_a_gstreamer_pipeline_is_a_camera_where_the_bindings_are(tmp_path: Path) -> None:
    text = "videotestsrc is-live=true ! video/x-raw,width=66,height=48,framerate=100/1"
    source = make_source(StreamSettings(name="csi", kind="gstreamer", pipeline=text))
    if importlib.util.find_spec("gi") is None:
        with pytest.raises(DependencyError, match="bindings") as caught:
            source.open()
        assert "python3-gi" in caught.value.remedy
        return
    with Reader(source, tmp_path) as reader:
        reader.more()
    assert reader.frames[0].picture().shape == (48, 66, 3)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"kind": "camera"}, "no path"),
        ({"kind": "rtsp", "url": "http://cam/live"}, "rtsp://host"),
        ({"kind": "video", "path": Path("v"), "area": (0.5, 0.0, 0.6, 1.0)}, "not inside"),
        ({"kind": "folder", "path": Path("v"), "area": (0.0, 0.0, 1.0, 1.0)}, "not inside"),
    ],
)
def test_settings_that_lack_something_name_it(settings: dict[str, object], says: str) -> None:
    with pytest.raises(ConfigurationError, match=says) as caught:
        make_source(StreamSettings(name="a", **settings))
    assert caught.value.remedy
