"""Events leave the device: a file of JSON lines, written by a thread of its own so that a slow disk never stops inference.

Rules, in order:
1. The file is only appended to, whole lines per write. A line torn by a kill or a full disk is ended with a newline by the next write;
   readers skip it.
2. At its size the file becomes `<file>.1`, after those before it have moved on by one; the oldest goes. A kill in between leaves
   a gap in the numbers and loses nothing.
3. When the disk cannot take events, they are counted as lost, the status says so, and inference goes on.
4. After a write the thread rests for `REST_S`, and what came meanwhile is one write: waking it for every event costs the thread that
   answers more than deciding does.

Not here: brokers and webhooks (edge/outlets).
"""

from __future__ import annotations

import errno
import os
import queue
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from edge import events
from shared import log
from shared.errors import StorageError

LOST, WRITING = "events_lost", "events_written_again"
LONGEST_QUEUE = 20_000
REST_S = 0.02


class Takes(Protocol):
    """Takes events; never blocks and never fails."""

    def put(self, event: events.Event) -> None:
        """Take one."""


class FanOut:
    """Gives every event to every output.

    Args:
        outputs: each with a queue of its own.
    """

    def __init__(self, outputs: Sequence[Takes]) -> None:
        self._outputs = tuple(outputs)

    def put(self, event: events.Event) -> None:
        """Hand over one event."""
        for output in self._outputs:
            output.put(event)


class EventFile:
    """Appends events to a file.

    Args:
        path: the file; its folder is made.
        rotate_bytes: size at which it is put aside.
        keep: how many of those put aside are kept.
    """

    def __init__(self, path: Path, *, rotate_bytes: int = 256 << 20, keep: int = 3) -> None:
        self._path = path
        self._rotate_bytes = rotate_bytes
        self._keep = keep
        self._size = 0
        self._is_torn = False
        self._waiting: queue.SimpleQueue[events.Event | None] = queue.SimpleQueue()
        self._file = -1
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="events", daemon=True)
        self.written = 0
        self.lost = 0
        self.failing = ""

    def start(self) -> None:
        """Open the file, end a torn last line and begin to write.

        Raises:
            StorageError: the file cannot be opened for appending.
        """
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._open()
        except OSError as error:
            message = f"the event file {self._path} cannot be written: {error}."
            raise StorageError(message, "Set outputs.file to a place that can be written.") from error
        self._thread.start()

    def stop(self) -> None:
        """Write what waits and close the file."""
        self._stopping.set()
        self._waiting.put(None)
        self._thread.join(timeout=5)
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def put(self, event: events.Event) -> None:
        """Hand over one event; never blocks, and counts it as lost when the disk is hopelessly behind."""
        if self._waiting.qsize() >= LONGEST_QUEUE:
            self.lost += 1
        else:
            self._waiting.put(event)

    def _run(self) -> None:
        while True:
            batch = [self._waiting.get()]
            while batch[-1] is not None and len(batch) < 256:
                try:
                    batch.append(self._waiting.get_nowait())
                except queue.Empty:
                    break
            whole = [line for event in batch if event is not None and (line := self._line(event))]
            if whole:
                self._write(b"".join(whole), len(whole))
            if batch[-1] is None:
                return
            self._stopping.wait(REST_S)

    def _open(self) -> None:
        self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o640)
        self._size = os.fstat(self._file).st_size
        self._is_torn = bool(self._size) and os.pread(self._file, 1, self._size - 1) != b"\n"

    def _line(self, event: events.Event) -> bytes:
        """Return an event's line, empty for one that cannot be written down: it is counted, and costs no other."""
        try:
            return events.encode(event)
        except (ValueError, TypeError) as error:
            self._lose(1, f"an event of stream {event.stream} cannot be written down: {error}")
            return b""

    def _rotate(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
        is_there = self._path.exists()  # it is not where an earlier attempt came half-way
        numbered = [self._path, *(put_aside(self._path, number) for number in range(1, self._keep + 1))] if is_there else [self._path]
        for older, newer in zip(reversed(numbered[1:]), reversed(numbered[:-1]), strict=True):
            if newer.exists():
                newer.replace(older)
        if not self._keep:
            self._path.unlink(missing_ok=True)
        self._open()

    def _write(self, lines: bytes, count: int) -> None:
        kept = 0
        try:
            if self._file < 0 or self._size >= self._rotate_bytes:
                self._rotate()
            kept = self._append(lines)
            if kept < count:
                raise OSError(errno.ENOSPC, "only a part could be written")
        except OSError as error:
            self.written += kept
            self._lose(count - kept, str(error))
            return
        self.written += count
        if self.failing:
            self.failing = ""
            log.get("outputs").info(WRITING, file=str(self._path), lost=self.lost)

    def _append(self, lines: bytes) -> int:
        """Write as much as the disk takes, after the end of a torn line; returns how many lines are whole."""
        start = b"\n" if self._is_torn else b""
        done = os.write(self._file, start + lines)
        self._size += done
        taken = lines[: max(0, done - len(start))]
        if done:
            self._is_torn = bool(taken) and not taken.endswith(b"\n")
        return taken.count(b"\n")

    def _lose(self, count: int, reason: str) -> None:
        self.lost += count
        if not self.failing:
            log.get("outputs").error(LOST, file=str(self._path), reason=reason)
        self.failing = reason


def put_aside(path: Path, number: int) -> Path:
    """Return where an event file lies that was put aside; 1 is the newest of them."""
    return path.with_name(f"{path.name}.{number}")


def event_files(path: Path) -> list[Path]:
    """Return the event files that are there, oldest first."""
    found = [(int(one.suffix[1:]), one) for one in path.parent.glob(f"{path.name}.*") if one.suffix[1:].isdigit()]
    return [*(one for number, one in sorted(found, reverse=True)), *([path] if path.exists() else [])]
