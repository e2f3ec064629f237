"""Whole lines to a file descriptor, at whatever price to the lines: writing never fails.

Rules, in order:
1. A line that cannot be written whole is lost and counted; a torn one is ended before the next, so that later lines stay readable.
2. Once writing works again, a line says how many were lost.
3. There is no buffer: what was written is the kernel's, and a failure cannot come back later.
"""

from __future__ import annotations

import io
import json
import os
import threading

LOST = "log_lines_lost"


class Lines(io.TextIOBase):
    """A text stream of lines; safe for several threads.

    Args:
        descriptor: an open file descriptor, not closed here.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._lock = threading.Lock()
        self._is_torn = False
        self.lost = 0

    def write(self, text: str) -> int:
        """Write text that ends with a newline; returns its length, whatever became of it."""
        with self._lock:
            if self.lost and self._put(f"{json.dumps({'component': 'log', 'event': LOST, 'level': 'warning', 'lost': self.lost})}\n"):
                self.lost = 0
            if not self._put(text):
                self.lost += 1
        return len(text)

    def fileno(self) -> int:
        """Return the descriptor."""
        return self._descriptor

    def _put(self, text: str) -> bool:
        left = (b"\n" if self._is_torn else b"") + text.encode("utf-8", "backslashreplace")
        begun = False
        try:
            while left:
                left = left[os.write(self._descriptor, left) :]
                begun = True
        except OSError:
            self._is_torn = self._is_torn or begun
            return False
        self._is_torn = False
        return True
