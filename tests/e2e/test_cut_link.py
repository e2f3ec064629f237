"""A newcomer at a terminal pulls the cable: real processes behind a pseudo-terminal, keys pressed on it."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import sys
import time

import pytest

pytestmark = pytest.mark.slow
COMMAND = [sys.executable, "-m", "shared.cli", "demo", "--cut-link"]


class Terminal:
    """The demo on a terminal of 100 columns: what it has drawn so far, and keys."""

    def __init__(self) -> None:
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.environ.update(COLUMNS="100", LINES="40", TERM="xterm")
            os.execv(COMMAND[0], COMMAND)  # noqa: S606 - our own program, on the terminal just made
        self.seen = ""

    def wait_for(self, words: str, *, within_s: float) -> str:
        """Read until the words have been drawn; returns what was drawn since the call."""
        began, start = time.monotonic(), len(self.seen)
        while re.search(words, self.seen[start:]) is None:
            assert time.monotonic() - began < within_s, f"{words!r} not drawn:\n{self.seen[-3000:]}"
            if select.select([self.fd], [], [], 1.0)[0]:
                try:
                    self.seen += os.read(self.fd, 65536).decode(errors="replace")
                except OSError:  # it has ended
                    break
        return self.seen[start:]

    def press(self, key: str) -> None:
        os.write(self.fd, key.encode())


def test_a_person_cuts_kills_mends_and_nothing_is_lost() -> None:
    terminal = Terminal()
    try:
        terminal.wait_for("press c cut", within_s=150)
        terminal.press("m")
        terminal.wait_for("the link is whole already", within_s=10)
        terminal.press("c")
        terminal.wait_for(r"link cut · \d{2,} frames answered without it · \d{2,} cases wait", within_s=30)
        terminal.press("k")
        terminal.wait_for("kill -9", within_s=10)
        terminal.press("m")
        terminal.wait_for(r"link whole · \d+ frames answered without it · [0-2] cases wait", within_s=60)
        terminal.press("q")
        said = terminal.wait_for("terrace region vault", within_s=60)
        assert "recounted from the files: lost 0, doubled 0" in said
        assert "broker killed with -9: once" in said
    finally:
        os.kill(terminal.pid, signal.SIGKILL)
        os.waitpid(terminal.pid, 0)
        os.close(terminal.fd)
