"""Sources yield pictures in place, number every frame for ever, and fail alone."""

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edge.newest import NewestFrames
from edge.numbers import BLOCK, FrameNumbers
from edge.sources import group
from edge.sources import stream as stream_module
from edge.sources.base import LIVE, Shot
from edge.sources.folder import FolderSource
from edge.sources.replay import ReplaySource
from edge.sources.stream import StreamThread, Wishes
from edge.sources.turns import Turns
from edge.sources.video import VideoSource
from shared.errors import InputError, StorageError
from shared.vision.frames import Frame
from tests.unit.edge_parts import ListSource, colour, frame, write_video
from tests.waiting import until


def _data_set(path: Path, count: int = 5) -> Path:
    frames = np.arange(count, dtype=np.uint8)[:, None, None, None] * np.ones((1, 4, 6, 3), np.uint8)
    np.savez(path, frames=frames, labels=np.zeros(count, np.int64), units=np.array([f"board-{n // 2}" for n in range(count)]), names=["x"])
    return path


def test_a_data_set_replays_in_order_with_its_units(tmp_path: Path) -> None:
    source = ReplaySource(_data_set(tmp_path / "d.npz"))
    assert source.open() == 5
    shots = list(source.shots(2))
    found = [(shot.index, int(shot.pixels[0, 0, 0]), shot.unit) for shot in shots]
    assert found == [(2, 2, "board-1"), (3, 3, "board-1"), (4, 4, "board-2")]


def test_a_replaced_data_set_is_shown_from_the_next_frame_on_at_the_same_places(tmp_path: Path) -> None:
    path = _data_set(tmp_path / "d.npz")
    source = ReplaySource(path)
    source.open()
    shots = source.shots(0)
    seen = [next(shots), next(shots)]
    with np.load(path) as data:
        np.savez(tmp_path / "new.npz", **{**data, "frames": data["frames"] + np.uint8(100)})
    (tmp_path / "new.npz").replace(path)
    seen += list(shots)
    assert [(shot.index, int(shot.pixels[0, 0, 0])) for shot in seen] == [(0, 0), (1, 1), (2, 102), (3, 103), (4, 104)]


def test_a_replacement_of_another_length_ends_the_pass_and_is_opened_anew(tmp_path: Path) -> None:
    path = _data_set(tmp_path / "d.npz")
    source = ReplaySource(path)
    source.open()
    shots = source.shots(0)
    next(shots)
    _data_set(tmp_path / "new.npz", count=9).replace(path)
    with pytest.raises(InputError, match="another length"):
        next(shots)
    assert source.open() == 9


@pytest.mark.parametrize("damage", ["missing", "text", "no_frames", "floats", "pickle", "cut", "empty"])
def test_a_data_set_that_cannot_be_used_says_why(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "d.npz"
    if damage == "text":
        path.write_text("hello")
    elif damage == "no_frames":
        np.savez(path, labels=np.zeros(3))
    elif damage == "floats":
        np.savez(path, frames=np.zeros((2, 4, 4, 3)))
    elif damage == "pickle":
        np.savez(path, frames=np.array([{"a": 1}], dtype=object))
    elif damage == "cut":
        path.write_bytes(_data_set(tmp_path / "whole.npz").read_bytes()[:300])
    elif damage == "empty":
        np.savez(path, frames=np.zeros((0, 4, 4, 3), np.uint8))
    with pytest.raises(InputError) as caught:
        ReplaySource(path).open()
    assert caught.value.remedy


def test_a_video_is_decoded_in_place_from_any_place(tmp_path: Path) -> None:
    source = VideoSource(write_video(tmp_path / "v.mp4"))
    assert source.open() == 24
    assert source.rate() == 10.0
    for first in (0, 7, 23):
        shots = list(source.shots(first))
        assert [shot.index for shot in shots] == list(range(first, 24))
        for shot in shots:
            assert shot.pixels.shape == (64, 64, 3)
            assert abs(float(shot.pixels.mean()) - (8 * shot.index + 20)) < 6


def test_units_of_a_video_come_from_the_file_beside_it(tmp_path: Path) -> None:
    np.savez(tmp_path / "labels.npz", units=np.array([f"b{n // 8}" for n in range(24)]))
    source = VideoSource(write_video(tmp_path / "v.mp4"), tmp_path / "labels.npz")
    source.open()
    assert [shot.unit for shot in source.shots(0)][::8] == ["b0", "b1", "b2"]
    with pytest.raises(InputError, match="units"):
        VideoSource(tmp_path / "v.mp4", tmp_path / "none.npz").open()


def test_a_damaged_stretch_of_a_video_leaves_a_gap_and_no_shift(tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.mp4")
    data = bytearray(path.read_bytes())
    place = data.index(b"mdat") + (len(data) - data.index(b"mdat")) // 3
    data[place : place + 60] = os.urandom(60)
    path.write_bytes(bytes(data))
    source = VideoSource(path)
    assert source.open() == 24
    shots = list(source.shots(0))
    assert 8 <= len(shots) <= 24
    right = sum(abs(float(shot.pixels.mean()) - (8 * shot.index + 20)) < 6 for shot in shots)
    assert right >= len(shots) - 6


@pytest.mark.parametrize("content", [b"", b"this is no video", None])
def test_a_video_that_cannot_be_read_says_why(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "v.mp4"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match="video") as caught:
        VideoSource(path).open()
    assert caught.value.remedy


def test_a_folder_yields_its_pictures_and_leaves_damaged_ones_out(tmp_path: Path) -> None:
    for kind, value in (("good", 10), ("bad", 200)):
        (tmp_path / kind).mkdir()
        Image.fromarray(np.full((5, 7, 3), value, np.uint8)).save(tmp_path / kind / "1.png")
    (tmp_path / "bad" / "0.png").write_bytes(b"no picture")
    source = FolderSource(tmp_path)
    assert source.open() == 3
    found = [(shot.index, int(shot.pixels[0, 0, 0]), shot.unit) for shot in source.shots(0)]
    assert found == [(1, 200, "bad/1.png"), (2, 10, "good/1.png")]


def test_an_empty_folder_says_what_to_put_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no pictures") as caught:
        FolderSource(tmp_path).open()
    assert "sub-folder" in caught.value.remedy


class _Stream:
    """A stream thread over given pictures, with what it delivered."""

    def __init__(self, source: ListSource, folder: Path, loop: bool = False, fps: float = 500.0) -> None:
        self.frames: list[Frame] = []
        self.thread = StreamThread(
            name="a",
            source=source,
            wishes=Wishes(fps=fps, loop=loop),
            numbers=FrameNumbers(folder / "numbers.json"),
            put=self.frames.append,
        )


def test_every_place_takes_a_number_and_damaged_ones_are_counted(tmp_path: Path) -> None:
    pictures = [colour(1, 0), None, colour(2, 0), None]
    stream = _Stream(ListSource(pictures), tmp_path)
    stream.thread.start()
    until(lambda: stream.thread.state.state == "ended")
    stream.thread.stop()
    assert [(f.number, int(f.pixels[0, 0, 0])) for f in stream.frames] == [(0, 1), (2, 2)]
    assert (stream.thread.state.frames, stream.thread.state.corrupt) == (4, 2)


def test_after_a_restart_numbers_go_on_above_and_the_source_at_the_same_place(tmp_path: Path) -> None:
    pictures = [colour(n, 0) for n in range(7)]
    seen: list[Frame] = []
    for _ in range(3):
        stream = _Stream(ListSource(pictures), tmp_path, loop=True)
        stream.thread.start()
        until(lambda stream=stream: len(stream.frames) > 9)
        stream.thread.stop()
        seen += stream.frames
    numbers = [f.number for f in seen]
    assert len(set(numbers)) == len(numbers)
    assert all(int(f.pixels[0, 0, 0]) == f.number % 7 for f in seen)


def test_numbers_cross_block_ends_without_a_gap(tmp_path: Path) -> None:
    numbers = FrameNumbers(tmp_path / "n.json")
    assert [numbers.reserve("a"), numbers.reserve("a"), numbers.reserve("b")] == [0, BLOCK, 0]
    assert FrameNumbers(tmp_path / "n.json").reserve("a") == 2 * BLOCK


def test_damaged_numbers_are_set_aside_and_never_repeated(tmp_path: Path) -> None:
    path = tmp_path / "n.json"
    FrameNumbers(path).reserve("a")
    path.write_text('{"a": 40')
    numbers = FrameNumbers(path)
    first = numbers.reserve("a")
    assert first > 1_600_000_000_000
    assert numbers.reserve("a") == first + BLOCK
    assert (tmp_path / "n.damaged").exists()


def test_numbers_that_cannot_be_written_are_not_given_out(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError):
        FrameNumbers(tmp_path / "file" / "n.json").reserve("a")


def _is_barred(path: Path) -> bool:
    """Put a folder where a file is to be written, unless one is just there."""
    try:
        path.mkdir()
    except FileExistsError:
        return False
    return True


def test_a_disk_that_fills_up_stops_no_stream_and_no_number_comes_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_module, "BLOCK", 4)
    source = ListSource([colour(value, 0) for value in (10, 20, 30)])
    stream = _Stream(source, tmp_path, loop=True)
    stream.thread.start()
    until(lambda: len(stream.frames) > 6)
    until(lambda: _is_barred(tmp_path / "numbers.new"))  # nothing can be written aside any more
    seen = len(stream.frames)
    until(lambda: len(stream.frames) > seen + 12)
    (tmp_path / "numbers.new").rmdir()
    seen = len(stream.frames)
    until(lambda: len(stream.frames) > seen + 6)
    stream.thread.stop()
    numbers = [one.number for one in stream.frames]
    assert numbers == sorted(set(numbers))
    assert numbers[-1] > 1_600_000_000_000
    assert {(one.number % 3, int(one.pixels[0, 0, 0])) for one in stream.frames} == {(0, 10), (1, 20), (2, 30)}
    assert (stream.thread.state.failures, stream.thread.state.corrupt) == (0, 0)
    assert FrameNumbers(tmp_path / "numbers.json").reserve("a") > numbers[-1]


def test_a_rare_frame_of_a_triggered_camera_is_good_for_as_long_as_it_was_waited_for(tmp_path: Path) -> None:
    class Triggered(ListSource):
        def open(self) -> int:
            return LIVE

        def shots(self, first: int) -> Iterator[Shot]:
            yield from super().shots(first)
            pause.wait(0.7)
            yield from super().shots(first)

    pause = threading.Event()
    stream = _Stream(Triggered([colour(1, 0)]), tmp_path, fps=100.0)
    stream.thread.start()
    until(lambda: len(stream.frames) >= 2)
    pause.set()
    stream.thread.stop()
    assert stream.frames[1].good_for_s > 0.6


def test_streams_that_hang_end_together_within_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Hung(ListSource):
        def open(self) -> int:
            release.wait(30)
            return super().open()

    release = threading.Event()
    monkeypatch.setattr(group, "STOP_S", 0.3)
    folders = [tmp_path / str(number) for number in range(10)]
    streams = [_Stream(Hung([colour(1, 0)]), folder).thread for folder in folders]
    whole = group.StreamGroup(streams)
    whole.start()
    began = time.monotonic()
    whole.stop()
    taken = time.monotonic() - began
    release.set()
    assert taken < 2.5
    whole.stop()


def test_a_source_that_fails_says_so_and_comes_back(tmp_path: Path) -> None:
    source = ListSource([colour(1, 0)] * 3)
    source.failures = 1
    stream = _Stream(source, tmp_path)
    stream.thread.start()
    until(lambda: stream.thread.state.state == "failed")
    assert stream.thread.state.reason == "the camera is gone. Plug it in."
    until(lambda: stream.thread.state.state == "ended")
    stream.thread.stop()
    assert len(stream.frames) == 3
    assert source.closed == 2


def test_a_source_without_one_usable_frame_is_a_failure_not_a_busy_loop(tmp_path: Path) -> None:
    stream = _Stream(ListSource([None, None]), tmp_path, loop=True)
    stream.thread.start()
    until(lambda: stream.thread.state.state == "failed")
    stream.thread.stop()
    assert "no usable frame" in stream.thread.state.reason
    assert stream.thread.state.failures == 1


def test_no_more_decoders_run_at_a_time_than_there_are_places() -> None:
    turns, inside, most = Turns(2), [0], [0]
    lock = threading.Lock()

    def decode() -> None:
        for _ in range(20):
            with turns:
                with lock:
                    inside[0] += 1
                    most[0] = max(most[0], inside[0])
                threading.Event().wait(0.0005)
                with lock:
                    inside[0] -= 1

    threads = [threading.Thread(target=decode) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=20)
    assert most == [2]


def test_the_newest_frame_of_each_stream_wins_and_drops_are_counted() -> None:
    newest = NewestFrames()
    for number in range(5):
        newest.put(frame(number, colour(0, 0), "a"))
    newest.put(frame(0, colour(0, 0), "b"))
    assert [(f.stream, f.number) for f in newest.take(8, 0.1)] == [("a", 4), ("b", 0)]
    assert (newest.dropped("a"), newest.dropped("b"), newest.dropped_in_all()) == (4, 0, 4)
    assert newest.take(8, 0.01) == []
    newest.close()
    assert newest.take(8, 60.0) == []
