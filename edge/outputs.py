"""Events leave the device: a file of JSON lines, written by a thread of its own so that a slow disk never stops inference.

Rules, in order:
1. The file is only appended to, whole lines per write. A line torn by a kill is ended with a newline at the next start; readers
   skip it.
2. When the disk cannot take events, they are counted as lost, the status says so, and inference goes on.
"""

from __future__ import annotations

import os
import queue
import threading
from pathlib import Path

from edge import events
from shared import log
from shared.errors import StorageError

LOST, WRITING = "events_lost", "events_written_again"
LONGEST_QUEUE = 20_000


class EventFile:
    """Appends events to a file.

    Args:
        path: the file; its folder is made.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._waiting: queue.SimpleQueue[events.Event | None] = queue.SimpleQueue()
        self._file = -1
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
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o640)
            size = os.fstat(self._file).st_size
            if size and os.pread(self._file, 1, size - 1) != b"\n":
                os.write(self._file, b"\n")
        except OSError as error:
            message = f"the event file {self._path} cannot be written: {error}."
            raise StorageError(message, "Set outputs.file to a place that can be written.") from error
        self._thread.start()

    def stop(self) -> None:
        """Write what waits and close the file."""
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
            whole = [event for event in batch if event is not None]
            if whole:
                self._write(b"".join(map(events.encode, whole)), len(whole))
            if batch[-1] is None:
                return

    def _write(self, lines: bytes, count: int) -> None:
        try:
            done = os.write(self._file, lines)
            if done != len(lines):  # a full disk takes a part: end the torn line so that the next one stands alone
                os.write(self._file, b"\n")
                raise OSError(28, "only a part could be written")
        except OSError as error:
            self.lost += count
            if not self.failing:
                log.get("outputs").error(LOST, file=str(self._path), reason=str(error))
            self.failing = str(error)
            return
        self.written += count
        if self.failing:
            self.failing = ""
            log.get("outputs").info(WRITING, file=str(self._path), lost=self.lost)
