"""Talking with a measuring process: one JSON object a line in, one a line out."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any


def asked() -> Iterator[dict[str, Any]]:
    """Yield what this process is asked on its standard input, until that ends."""
    for line in sys.stdin:
        if line.strip():
            yield json.loads(line)


def answer(**values: Any) -> None:
    """Answer on standard output."""
    sys.stdout.write(json.dumps(values) + "\n")
    sys.stdout.flush()


class Partner:
    """The other end: a process that answers one line for each line it is asked.

    Args:
        name: for messages.
        process: with pipes for standard input and output.
    """

    def __init__(self, name: str, process: subprocess.Popen[bytes]) -> None:
        self.name = name
        self.process = process

    def ask(self, do: str, **values: Any) -> dict[str, Any]:
        """Ask and wait for the answer."""
        self.tell(do, **values)
        return self.hear()

    def tell(self, do: str, **values: Any) -> None:
        """Ask without waiting; `hear` comes later."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"do": do, **values}).encode() + b"\n")
        self.process.stdin.flush()

    def hear(self) -> dict[str, Any]:
        """Return the next answer.

        Raises:
            RuntimeError: the process has ended.
        """
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"the measuring process {self.name} ended with code {self.process.wait()}; its words are above.")
        return dict(json.loads(line))

    def end(self) -> None:
        """Close its input and wait for its end."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        try:
            self.process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self.process.kill()
