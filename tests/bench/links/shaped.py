"""A shaped link between two network namespaces: `device` on one side, `region` on the other, our emulator between them.

Rules, in order:
1. It needs root, iproute2, /dev/net/tun and a C compiler, and says which of them is missing (`missing`).
2. The emulator is compiled at every start into a temporary folder; nothing of it stays.
3. Congestion control is set on the route and locked, so that no program can choose another; `congestion_in_use` reads it back from the
   sockets that are open.
4. Whatever was started inside ends before the namespaces do.

Example:
    with ShapedLink(Lane(rate_mbit=100, delay_ms=10)) as link:
        link.start("region", [sys.executable, "-m", "http.server"])
        link.cut(True)
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Literal

import msgspec

from shared.errors import DependencyError
from shared.lifecycle import die_with_parent
from tests.bench.links.compiling import compiled

Side = Literal["device", "region"]
SIDES: tuple[Side, Side] = ("device", "region")
ADDRESSES: dict[Side, str] = {"device": "10.0.0.1", "region": "10.0.0.2"}
ROOT = Path(__file__).resolve().parents[3]


class Lane(msgspec.Struct, frozen=True, kw_only=True):
    """One direction. `queue_ms` is how much the bottleneck's queue holds, in time at its rate; shares are 0 to 1."""

    rate_mbit: float
    delay_ms: float
    queue_ms: float = 100.0
    loss: float = 0.0
    reorder: float = 0.0
    reorder_ms: float = 0.0

    def command(self, number: int) -> str:
        """Return the emulator's command that sets lane `number` to this."""
        rate = self.rate_mbit * 1e6 / 8
        queue = max(64 << 10, int(rate * self.queue_ms / 1e3))
        words = (rate, self.delay_ms * 1e3, queue, self.loss * 1e6, self.reorder * 1e6, self.reorder_ms * 1e3)
        return f"lane {number} " + " ".join(str(int(word)) for word in words)


def missing() -> str:
    """Return what this machine lacks for a shaped link, as a sentence; empty when it has everything."""
    if os.geteuid() != 0:
        return "a shaped link needs root: it makes network namespaces."
    for program, package in (("ip", "iproute2"), ("ss", "iproute2"), ("cc", "gcc libc6-dev")):
        if shutil.which(program) is None:
            return f"a shaped link needs the program {program}. Type: sudo apt-get install -y {package}"
    if not Path("/dev/net/tun").exists():
        return "a shaped link needs /dev/net/tun, which this kernel or container does not offer."
    with tempfile.TemporaryDirectory() as folder:
        try:
            compiled("emulator", Path(folder))
        except DependencyError as error:
            return str(error)
    space = f"terrace-{secrets.token_hex(3)}"
    tried = subprocess.run(["ip", "netns", "add", space], capture_output=True, text=True)
    subprocess.run(["ip", "netns", "del", space], capture_output=True)
    return "" if tried.returncode == 0 else f"a shaped link needs network namespaces, and here there are none: {tried.stderr.strip()}"


class ShapedLink:
    """Two namespaces and the link between them.

    Args:
        up: from the device to the region.
        down: the other way; None: as `up`.
        congestion: TCP congestion control of both sides, one the kernel has.
        capture: a file for all packets that enter the link, in pcap format.
    """

    def __init__(self, up: Lane, down: Lane | None = None, *, congestion: str = "bbr", capture: Path | None = None) -> None:
        self.congestion = congestion
        self._lanes = (up, down or up)
        self._capture = capture
        token = secrets.token_hex(3)
        self.spaces: dict[Side, str] = {side: f"terrace-{token}-{side}" for side in SIDES}
        self._emulator: subprocess.Popen[str] | None = None
        self._started: list[subprocess.Popen[Any]] = []

    def __enter__(self) -> ShapedLink:
        """Make the namespaces and the link.

        Raises:
            DependencyError: something is missing on this machine.
        """
        if problem := missing():
            raise DependencyError(problem)
        try:
            self._make()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """End everything that was started inside, the link and the namespaces."""
        for process in reversed(self._started):
            if process.poll() is None:
                process.kill()
            process.wait()
        if self._emulator is not None:
            self._emulator.kill()
            self._emulator.wait()
            for pipe in (self._emulator.stdin, self._emulator.stdout):
                if pipe is not None:
                    with contextlib.suppress(BrokenPipeError):
                        pipe.close()
        for space in self.spaces.values():
            subprocess.run(["ip", "netns", "del", space], capture_output=True)

    def start(self, side: Side, command: Sequence[str], *, log: Path | None = None, **more: Any) -> subprocess.Popen[bytes]:
        """Start a program on one side; it ends with the link at the latest. Its standard error goes to `log`, or to ours."""
        stderr: IO[bytes] | None = log.open("ab") if log is not None else None
        more["env"] = {**more.get("env", os.environ), "PYTHONPATH": str(ROOT)}
        process: subprocess.Popen[bytes] = subprocess.Popen(
            ["ip", "netns", "exec", self.spaces[side], *command],
            stderr=stderr or sys.stderr,
            preexec_fn=die_with_parent,  # noqa: PLW1509 - one prctl call, no locks taken
            **more,
        )
        if stderr is not None:
            stderr.close()
        self._started.append(process)
        return process

    def shape(self, up: Lane, down: Lane | None = None) -> None:
        """Change both lanes from now on."""
        self._lanes = (up, down or up)
        for number, lane in enumerate(self._lanes):
            self._ask(lane.command(number))

    def cut(self, is_cut: bool) -> None:
        """Let nothing pass any more, or let it pass again."""
        self._ask(f"cut {int(is_cut)}")

    def stats(self) -> dict[str, int]:
        """Return what each lane has carried: packets, bytes, dropped (queue full), lost, late (reordered); up and down."""
        names = [f"{way}_{name}" for way in ("up", "down") for name in ("packets", "bytes", "dropped", "lost", "late")]
        return dict(zip(names, map(int, self._ask("stats").split()), strict=True))

    def congestion_in_use(self) -> set[str]:
        """Return the congestion controls of all TCP sockets that are connected over the link now, on both sides."""
        found: set[str] = set()
        for space in self.spaces.values():
            command = ["ip", "netns", "exec", space, "ss", "-tinHO", "dst", "10.0.0.0/30"]
            for line in subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines():
                found |= {word for word in line.split() if word in {"bbr", "cubic", "reno", "dctcp", "vegas"}}
        return found

    def _make(self) -> None:
        for space in self.spaces.values():
            _run("ip", "netns", "add", space)
        with tempfile.TemporaryDirectory() as folder:
            capture = "" if self._capture is None else str(self._capture)
            command = [str(compiled("emulator", Path(folder))), *self.spaces.values(), capture]
            self._emulator = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                bufsize=1,
                preexec_fn=die_with_parent,  # noqa: PLW1509 - one prctl call, no locks taken
            )
            self._hear("ready")
        for side in SIDES:
            inside = ("ip", "-n", self.spaces[side])
            _run(*inside, "link", "set", "lo", "up")
            _run(*inside, "address", "add", f"{ADDRESSES[side]}/30", "dev", "shaped")
            _run(*inside, "link", "set", "shaped", "mtu", "1500", "txqueuelen", "1000", "up")
            _run(*inside, "route", "replace", "10.0.0.0/30", "dev", "shaped", "congctl", "lock", self.congestion)
        self.shape(*self._lanes)

    def _ask(self, line: str) -> str:
        assert self._emulator is not None
        assert self._emulator.stdin is not None
        self._emulator.stdin.write(line + "\n")
        return self._hear()

    def _hear(self, expected: str = "") -> str:
        assert self._emulator is not None
        assert self._emulator.stdout is not None
        said = self._emulator.stdout.readline().strip()
        if not said or said == "unknown" or (expected and said != expected):
            raise DependencyError(f"the link emulator does not work here: {said or 'it ended'}.")
        return said


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise DependencyError(f"{' '.join(command)} failed: {done.stderr.strip()}.")
