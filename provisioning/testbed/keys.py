"""Single keys from the terminal, without waiting for any; where there is no terminal, none ever come."""

from __future__ import annotations

import os
import select
import sys
import termios
import tty
from typing import Any


class Keys:
    """Reads keys as they are pressed; the terminal is as it was when this ends. Ctrl-C stays Ctrl-C."""

    def __init__(self) -> None:
        self._before: list[Any] | None = None

    @property
    def can_press(self) -> bool:
        """Whether a person sits there."""
        return self._before is not None

    def __enter__(self) -> Keys:
        """Take the terminal's lines away, if it is one."""
        if sys.stdin.isatty():
            self._before = termios.tcgetattr(sys.stdin)
            tty.setcbreak(sys.stdin)
        return self

    def __exit__(self, *_: object) -> None:
        """Give them back."""
        if self._before is not None:
            termios.tcsetattr(sys.stdin, termios.TCSADRAIN, self._before)

    def pressed(self) -> str:
        """Return the keys pressed since the last call, in lower case."""
        if self._before is None or not select.select([sys.stdin], [], [], 0)[0]:
            return ""
        return os.read(sys.stdin.fileno(), 64).decode("ascii", "ignore").lower()  # past Python's buffer, which select does not see
