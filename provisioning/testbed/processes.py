"""Real processes of the testbed: start with a log file, stop within a deadline, measure their memory. Nothing outlives the demo."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Callable
from pathlib import Path

from shared.errors import TerraceError
from shared.lifecycle import die_with_parent

STOP_DEADLINE_S = 15.0


class DaemonFailedError(TerraceError):
    """A daemon or command of the testbed failed; the exit code is its own where it has one.

    Args:
        message: one sentence saying what happened.
        remedy: one sentence saying what to do.
        code: the exit code to pass on.
    """

    def __init__(self, message: str, remedy: str = "", *, code: int = 1) -> None:
        super().__init__(message, remedy)
        self.exit_code = code if code > 0 else 1  # type: ignore[misc]  # the class's default, for this one failure


class Process:
    """One daemon: `terrace <arguments>` with its standard error in a log file.

    Args:
        name: for people.
        arguments: the command line after `terrace`.
        log: the file its output is appended to.
        module: run in place of the `terrace` command, for what belongs to the testbed alone.
    """

    def __init__(self, name: str, arguments: list[str], log: Path, *, module: str = "shared.cli") -> None:
        self.name = name
        self._arguments = arguments
        self._log = log
        self._module = module
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process id, 0 before it started."""
        return self._child.pid if self._child else 0

    def start(self) -> None:
        """Start the process; it dies with this one."""
        with self._log.open("ab") as output:
            self._child = subprocess.Popen(
                [sys.executable, "-m", self._module, *self._arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,  # a Ctrl-C on the terminal is for the demo, which stops them in order
                preexec_fn=die_with_parent,  # noqa: PLW1509 - one prctl call, no locks taken
                env=child_environment(),
            )

    def check(self) -> None:
        """Raise when the process has ended.

        Raises:
            DaemonFailedError: with the last lines of its log.
        """
        if self._child is not None and (code := self._child.poll()) is not None:
            raise DaemonFailedError(f"{self.name} ended with exit code {code}: {self.last_words()}", f"Its log is {self._log}.", code=code)

    def last_words(self) -> str:
        """Return what it said last: its error and remedy where it gave one, else the last line of the log."""
        lines = self._log.read_text(errors="replace").strip().splitlines() if self._log.exists() else []
        errors = [number for number, line in enumerate(lines) if line.startswith("terrace: ")]
        said = lines[errors[-1] :] if errors else lines[-1:]
        return " ".join(line.removeprefix("terrace: ").strip() for line in said)[-500:] or "(no output)"

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        if self._child is not None:
            self._child.send_signal(number)

    def child(self, words: str) -> int:
        """Return the process id of a child of it whose command line has these words, 0 when it has none."""
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and _parent(entry) == self.pid and _command_line(entry, words):
                return int(entry.name)
        return 0

    def kill(self) -> None:
        """End it as a power cut would: SIGKILL, and wait until it is gone."""
        if self._child is not None:
            self._child.kill()
            self._child.wait()

    def stop(self, *, deadline_s: float = STOP_DEADLINE_S) -> bool:
        """Ask it to end, and kill it at the deadline. Returns whether it ended by itself."""
        if self._child is None or self._child.poll() is not None:
            return True
        self._child.send_signal(signal.SIGTERM)
        try:
            self._child.wait(timeout=deadline_s)
        except subprocess.TimeoutExpired:
            self.kill()
            return False
        return True


def child_environment() -> dict[str, str]:
    """Return the environment of child processes: ours, one thread per math library, Flower's telemetry off."""
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    flower = {"FLWR_TELEMETRY_ENABLED": "0", "FLWR_DISABLE_UPDATE_CHECK": "1"}
    return {**os.environ, **threads, **flower, "PYTHONUNBUFFERED": "1"}


def run_command(arguments: list[str], *, timeout_s: float = 120.0) -> str:
    """Run `terrace <arguments>` to its end and return its standard output.

    Raises:
        DaemonFailedError: it failed, with what it said.
    """
    done = subprocess.run(
        [sys.executable, "-m", "shared.cli", *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=timeout_s,
        env=child_environment(),
    )
    if done.returncode:
        words = " ".join(done.stderr.decode(errors="replace").split())[-600:]
        raise DaemonFailedError(f"`terrace {' '.join(arguments)}` failed with exit code {done.returncode}: {words}", code=done.returncode)
    return done.stdout.decode()


def run_streaming(arguments: list[str], say: Callable[[str], None]) -> None:
    """Run `terrace <arguments>` to its end and pass on each line it prints.

    Raises:
        DaemonFailedError: it failed, with its last lines.
    """
    lines: deque[str] = deque(maxlen=8)
    with subprocess.Popen(
        [sys.executable, "-m", "shared.cli", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=die_with_parent,  # noqa: PLW1509 - one prctl call, no locks taken
    ) as child:
        for line in child.stdout or ():
            lines.append(line.rstrip())
            say(line.rstrip())
    if child.returncode:
        raise DaemonFailedError(
            f"`terrace {' '.join(arguments)}` failed with exit code {child.returncode}: {' '.join(lines)}", code=child.returncode
        )


def memory_mb(root_pids: list[int]) -> float:
    """Return the proportional set size, in MB, of these processes and all their descendants."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            children.setdefault(_parent(entry), []).append(int(entry.name))
    total, stack = 0, list(root_pids)
    while stack:
        pid = stack.pop()
        total += _proportional_kb(pid)
        stack.extend(children.get(pid, []))
    return total / 1024


def _parent(entry: Path) -> int:
    try:
        return int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    except (OSError, IndexError, ValueError):
        return -1


def _command_line(entry: Path, words: str) -> bool:
    try:
        return words.encode() in (entry / "cmdline").read_bytes()
    except OSError:
        return False


def _proportional_kb(pid: int) -> int:
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1])
    except (OSError, ValueError):
        return 0
    return 0
