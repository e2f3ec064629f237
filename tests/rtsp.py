"""A real RTSP camera on loopback for tests and benchmarks: H.264 over RTP interleaved in TCP (RFC 2326, RFC 6184).

One thread with one event loop per camera. What it sends are access units made beforehand; `frozen`, `garbage`, `shift_s` and other
`units` change what goes out from the next unit on.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import os
import secrets
import sys
import threading
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

Unit = tuple[bytes, ...]
"""The NAL units of one picture, without start codes."""
PACKET = 1400
CLOCK_HZ = 90_000


def encode(pictures: Sequence[np.ndarray], *, fps: int = 10, every: int = 5) -> list[Unit]:
    """Encode RGB pictures as H.264 access units with a key frame (and its parameter sets) every so many."""
    codec = av.CodecContext.create("libx264", "w")
    codec.height, codec.width = pictures[0].shape[:2]
    codec.pix_fmt, codec.framerate, codec.time_base = "yuv420p", fps, Fraction(1, CLOCK_HZ)
    codec.options = {"tune": "zerolatency", "g": str(every), "crf": "12", "x264-params": "repeat-headers=1:scenecut=0:sliced-threads=0"}
    codec.thread_count = 1
    units = []
    for number, picture in enumerate(pictures):
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
        frame.pts = number * CLOCK_HZ // fps
        units += [split(bytes(packet)) for packet in codec.encode(frame)]
    return units + [split(bytes(packet)) for packet in codec.encode(None)]


def from_file(path: Path) -> list[Unit]:
    """Return a video file's access units, as they are."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        to_annex_b = av.BitStreamFilterContext("h264_mp4toannexb", stream)
        return [split(bytes(out)) for packet in container.demux(stream) if packet.size for out in to_annex_b.filter(packet)]


def split(data: bytes) -> Unit:
    """Split an Annex B access unit at its start codes."""
    return tuple(part.rstrip(b"\0") for part in data.replace(b"\0\0\0\1", b"\0\0\1").split(b"\0\0\1") if part.rstrip(b"\0"))


class Camera:
    """An RTSP camera.

    Args:
        units: what it sends, in a loop.
        fps: how many a second.
        credentials: `name:password` asked for by digest, empty for none.
    """

    def __init__(self, units: Sequence[Unit], *, fps: float = 20.0, credentials: str = "") -> None:
        self.units = list(units)
        self.fps = fps
        self.credentials = credentials
        self.frozen = self.garbage = False
        self.shift_s = 0.0
        self.dials = self.sent = 0
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._writers: set[asyncio.StreamWriter] = set()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="camera", daemon=True)

    @property
    def url(self) -> str:
        """Where it is."""
        return f"rtsp://127.0.0.1:{self.port}/live"

    def __enter__(self) -> Camera:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop)
        self._thread.join(timeout=5)

    def hang_up(self) -> None:
        """Cut all connections."""
        self._loop.call_soon_threadsafe(lambda: [writer.transport.abort() for writer in self._writers])

    async def _end(self) -> None:
        for writer in list(self._writers):
            writer.transport.abort()
        serving = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)
        self._loop.stop()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", self.port))
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        self._loop.run_forever()
        server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        playing: asyncio.Task[None] | None = None
        nonce = secrets.token_hex(8)
        try:
            while request := await _request(reader):
                method, headers = request
                reply = self._reply(method, headers, nonce)
                writer.write(reply.replace("$CSEQ", headers.get("cseq", "0")).encode())
                await writer.drain()
                if method == "PLAY" and " 200 " in reply and playing is None:
                    playing = asyncio.ensure_future(self._play(writer))
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            if playing:
                playing.cancel()
            self._writers.discard(writer)
            writer.close()

    def _reply(self, method: str, headers: dict[str, str], nonce: str) -> str:
        head = "RTSP/1.0 200 OK\r\nCSeq: $CSEQ\r\nSession: 1;timeout=60\r\n"
        if method == "OPTIONS":
            return head + "Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN, GET_PARAMETER\r\n\r\n"
        if self.credentials and not self._is_known(method, headers.get("authorization", ""), nonce):
            return f'RTSP/1.0 401 Unauthorized\r\nCSeq: $CSEQ\r\nWWW-Authenticate: Digest realm="camera", nonce="{nonce}"\r\n\r\n'
        if method == "DESCRIBE":
            self.dials += 1
            body = self._description()
            return f"{head}Content-Base: {self.url}/\r\nContent-Type: application/sdp\r\nContent-Length: {len(body)}\r\n\r\n{body}"
        if method == "SETUP":
            if "interleaved" not in headers.get("transport", ""):
                return "RTSP/1.0 461 Unsupported Transport\r\nCSeq: $CSEQ\r\n\r\n"
            return head + "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n\r\n"
        return head + "\r\n"

    def _description(self) -> str:
        sets = [nal for nal in self.units[0] if nal[0] & 31 in {7, 8}]
        coded = ",".join(base64.b64encode(nal).decode() for nal in sets)
        return (
            "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=camera\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\nm=video 0 RTP/AVP 96\r\n"
            f"a=rtpmap:96 H264/{CLOCK_HZ}\r\na=fmtp:96 packetization-mode=1;sprop-parameter-sets={coded}\r\na=control:track1\r\n"
        )

    def _is_known(self, method: str, said: str, nonce: str) -> bool:
        """Check a digest (RFC 2617, without qop)."""
        fields = dict(part.strip().split("=", 1) for part in said.removeprefix("Digest ").split(",") if "=" in part)
        given = {name: value.strip('"') for name, value in fields.items()}
        name, _, password = self.credentials.partition(":")
        first = _md5(f"{name}:camera:{password}")
        request = _md5(f"{method}:{given.get('uri', '')}")
        wanted = _md5(f"{first}:{nonce}:{request}")
        return given.get("username") == name and given.get("response") == wanted

    async def _play(self, writer: asyncio.StreamWriter) -> None:
        sequence, number, due = 0, 0, self._loop.time()
        with contextlib.suppress(OSError):
            while True:
                if not self.frozen:
                    unit = self.units[number % len(self.units)]
                    stamp = int((number / self.fps + self.shift_s + 1000.0) * CLOCK_HZ)
                    for payload, is_last in _payloads(self._spoilt(unit)):
                        writer.write(_interleaved(payload, sequence, stamp, is_last=is_last))
                        sequence += 1
                    self.sent += 1
                    number += 1
                    await writer.drain()
                due += 1 / self.fps
                await asyncio.sleep(max(0.0, due - self._loop.time()))

    def _spoilt(self, unit: Unit) -> Unit:
        return tuple(nal[:1] + os.urandom(len(nal) - 1) for nal in unit) if self.garbage else unit


async def _request(reader: asyncio.StreamReader) -> tuple[str, dict[str, str]] | None:
    """Read one request; RTCP that the receiver sends between them is thrown away."""
    while (first := await reader.read(1)) == b"$":
        await reader.readexactly(int.from_bytes((await reader.readexactly(3))[1:], "big"))
    if not first:
        return None
    lines = (first + await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines[1:] if ": " in line)
    return lines[0].split(" ")[0], {name.lower(): value for name, value in headers.items()}


def _payloads(unit: Unit) -> list[tuple[bytes, bool]]:
    """Cut a picture's NAL units into RTP payloads: whole ones, or fragments FU-A."""
    parts: list[bytes] = []
    for nal in unit:
        if len(nal) <= PACKET:
            parts.append(nal)
            continue
        kind, body = nal[0], nal[1:]
        pieces = [body[at : at + PACKET] for at in range(0, len(body), PACKET)]
        for place, piece in enumerate(pieces):
            flags = (0x80 if place == 0 else 0) | (0x40 if place == len(pieces) - 1 else 0)
            parts.append(bytes([kind & 0x60 | 28, flags | kind & 31]) + piece)
    return [(part, place == len(parts) - 1) for place, part in enumerate(parts)]


def _interleaved(payload: bytes, sequence: int, stamp: int, *, is_last: bool) -> bytes:
    header = bytes([0x80, 96 | (0x80 if is_last else 0)]) + (sequence & 0xFFFF).to_bytes(2, "big")
    packet = header + (stamp & 0xFFFFFFFF).to_bytes(4, "big") + b"\0\0\0\7" + payload
    return b"$\0" + len(packet).to_bytes(2, "big") + packet


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def main() -> None:
    """Be so many cameras at once, for a benchmark (`python -m tests.rtsp VIDEO COUNT FPS`); prints an address a line."""
    video, count, fps = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    units = from_file(video)
    with contextlib.ExitStack() as stack:
        for _ in range(count):
            sys.stdout.write(stack.enter_context(Camera(units, fps=fps)).url + "\n")
        sys.stdout.flush()
        sys.stdin.read()


if __name__ == "__main__":
    main()
