"""Decoding pictures from devices in a process of its own: what a picture does to a decoder, it does not do to the region.

Rules, in order:
1. The child has no more memory than it needs, writes no files and no core, and dies with the thread that started it.
2. A picture that is refused is an InputError. One that ends the child or keeps it longer than `TIMEOUT_S` gets a second child, in case
   the first was ended by something else; when that does not come back either, it is an InputError.
3. Requests and replies are length-prefixed on the child's standard input and output; the parent checks the reply's size.

Not here: the limits on a picture itself (shared.vision.picture checks them before it decodes).
"""

from __future__ import annotations

import contextlib
import os
import resource
import select
import struct
import subprocess
import sys
from typing import IO

import numpy as np

from shared import clock
from shared.errors import InputError, TerraceError
from shared.lifecycle import die_with_parent
from shared.vision import picture as pictures
from shared.vision.frames import Pixels
from shared.wire.messages import Picture, decode, encode

TIMEOUT_S, START_S, ATTEMPTS = 5.0, 20.0, 2
MEMORY_BYTES = 1 << 30
"""What a child may take beyond what it has after its start."""
_REQUEST = struct.Struct(">II")
_REPLY = struct.Struct(">?II")
_READY = b"ready"


class Decoder:
    """Decodes pictures in a child; for one thread, which must live as long as the decoder is used.

    Args:
        max_pixels: of a picture, at most.
    """

    def __init__(self, *, max_pixels: int) -> None:
        self.max_pixels = max_pixels
        self._child: subprocess.Popen[bytes] | None = None
        self.starts = 0

    def start(self) -> None:
        """Start the child, so that the first picture does not wait for it; what goes wrong is said at the first picture."""
        with contextlib.suppress(OSError, EOFError):
            self._running()

    def stop(self) -> None:
        """End the child, if there is one."""
        child, self._child = self._child, None
        if child is not None:
            child.kill()
            child.communicate()

    def decode(self, picture: Picture) -> Pixels:
        """Decode one picture.

        Returns:
            uint8 RGB, shape (H, W, 3).

        Raises:
            InputError: it is refused, or it broke the decoder.
        """
        said = ""
        for _ in range(ATTEMPTS):
            try:
                return self._ask(picture)
            except (OSError, EOFError) as error:
                said = str(error) or type(error).__name__
                self.stop()
        raise InputError(f"a {picture.codec[:10]} picture broke the decoder: {said}.")

    def _ask(self, picture: Picture) -> Pixels:
        child = self._running()
        request = encode(picture)
        if child.stdin is None or child.stdout is None:
            raise EOFError
        child.stdin.write(_REQUEST.pack(len(request), self.max_pixels) + request)
        child.stdin.flush()
        deadline = clock.monotonic() + TIMEOUT_S
        is_decoded, height, width = _REPLY.unpack(_read(child.stdout, _REPLY.size, deadline))
        if not is_decoded:
            raise InputError(_read(child.stdout, height, deadline).decode(errors="replace"))
        if (height, width) != (picture.height, picture.width):
            raise EOFError("the decoder answered another size")
        return np.frombuffer(_read(child.stdout, height * width * 3, deadline), np.uint8).reshape(height, width, 3)

    def _running(self) -> subprocess.Popen[bytes]:
        if self._child is None:
            environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
            self._child = subprocess.Popen(
                [sys.executable, "-m", "region.decoder"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
            )
            self.starts += 1
            if self._child.stdout is None or _read(self._child.stdout, len(_READY), clock.monotonic() + START_S) != _READY:
                raise EOFError("the decoder does not start")
        return self._child


def _read(stream: IO[bytes], size: int, deadline: float) -> bytes:
    """Read exactly `size` bytes from a pipe.

    Raises:
        EOFError: the child ended.
        TimeoutError: it took too long.
    """
    descriptor = stream.fileno()
    data = bytearray()
    while len(data) < size:
        if not select.select([descriptor], [], [], max(0.0, deadline - clock.monotonic()))[0]:
            raise TimeoutError("it took too long")
        part = os.read(descriptor, size - len(data))
        if not part:
            raise EOFError("it ended")
        data += part
    return bytes(data)


def main() -> None:
    """Be the child: decode until standard input ends."""
    die_with_parent()
    tiny = np.zeros((1, 1, 3), np.uint8)
    for codec in pictures.FORMATS:
        pictures.decode(pictures.encode(tiny, codec=codec))  # what is loaded late is loaded now
    _limit()
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    sink.write(_READY)
    sink.flush()
    while len(header := source.read(_REQUEST.size)) == _REQUEST.size:
        size, max_pixels = _REQUEST.unpack(header)
        sink.write(_answer(source.read(size), max_pixels))
        sink.flush()


def _answer(request: bytes, max_pixels: int) -> bytes:
    try:
        pixels = pictures.decode(decode(Picture, request), max_pixels=max_pixels)
    except (TerraceError, MemoryError) as error:
        text = (str(error) or type(error).__name__).encode()[:1000]
        return _REPLY.pack(False, len(text), 0) + text
    return _REPLY.pack(True, *pixels.shape[:2]) + pixels.tobytes()


def _limit() -> None:
    with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123 - one number of the kernel's, no path to build
        held = int(file.read().split()[0]) * resource.getpagesize()
    limits = {resource.RLIMIT_AS: held + MEMORY_BYTES, resource.RLIMIT_FSIZE: 0, resource.RLIMIT_CORE: 0}
    for which, most in limits.items():
        with contextlib.suppress(ValueError, OSError):  # a lower limit is in force already
            resource.setrlimit(which, (most, most))


if __name__ == "__main__":
    main()
