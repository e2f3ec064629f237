"""A supervised child process: started, watched, restarted with growing pauses, stopped gently, and dead when we die.

Rules, in order:
1. The thread that starts the child lives as long as the child: the kernel's death signal follows the thread.
2. A child that ends by itself is started again after 0.2 s, doubling to 10 s; one that lived 30 s starts the count anew.
3. `stop()` sends SIGTERM, and SIGKILL after the grace period. Output goes to a log file; the one of the life before is kept as `.1`.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from shared import log
from shared.lifecycle import die_with_parent

FIRST_PAUSE_S, LONGEST_PAUSE_S, HEALTHY_S, GRACE_S = 0.2, 10.0, 30.0, 5.0
CHILD_STARTED, CHILD_ENDED, CHILD_KILLED = "child_started", "child_ended", "child_killed"


class Child:
    """One supervised program.

    Args:
        name: for logs.
        command: the program and its arguments.
        log_path: where its output goes.
        environment: its whole environment; None takes ours.
    """

    def __init__(self, name: str, command: Sequence[str], *, log_path: Path, environment: Mapping[str, str] | None = None) -> None:
        self.name = name
        self.restarts = 0
        self._command = list(command)
        self._log_path = log_path
        self._environment = environment
        self._logger = log.get(name)
        self._process: subprocess.Popen[bytes] | None = None
        self._stopping = threading.Event()
        self._launched = threading.Event()
        self._failure: OSError | None = None
        self._thread: threading.Thread | None = None

    @property
    def pid(self) -> int | None:
        """The running child's process id, or None between two lives."""
        process = self._process
        return process.pid if process is not None and process.poll() is None else None

    def start(self) -> None:
        """Start the child and its supervision.

        Raises:
            OSError: the program cannot be executed.
        """
        self._stopping.clear()
        self._launched.clear()
        self._failure = None
        self._thread = threading.Thread(target=self._supervise, name=f"{self.name}-supervisor", daemon=True)
        self._thread.start()
        self._launched.wait()
        if self._failure is not None:
            raise self._failure

    def stop(self) -> None:
        """End the child and return when it is gone."""
        self._stopping.set()
        self.signal(signal.SIGTERM)
        if self._thread is not None:
            self._thread.join(GRACE_S)
            if self._thread.is_alive():
                self._logger.warning(CHILD_KILLED, after_s=GRACE_S)
                self.signal(signal.SIGKILL)
                self._thread.join(GRACE_S)
            self._thread = None

    def signal(self, number: int) -> bool:
        """Send the running child a signal; returns False when none runs."""
        process = self._process
        if process is None or process.poll() is not None:
            return False
        process.send_signal(number)
        return True

    def last_words(self, *, limit_bytes: int = 2000) -> str:
        """Return the end of what the child wrote in this life."""
        try:
            with self._log_path.open("rb") as file:
                file.seek(0, os.SEEK_END)
                file.seek(max(0, file.tell() - limit_bytes))
                return file.read().decode(errors="replace").strip()
        except OSError:
            return ""

    def _supervise(self) -> None:
        pause = FIRST_PAUSE_S
        while not self._stopping.is_set():
            born = time.monotonic()
            try:
                self._launch()
            except OSError as error:
                self._failure = error
            if not self._launched.is_set():
                self._launched.set()
                if self._failure is not None:
                    return
            code = self._process.wait() if self._process is not None else None
            if self._stopping.is_set():
                return
            pause = FIRST_PAUSE_S if time.monotonic() - born > HEALTHY_S else pause
            self._logger.warning(CHILD_ENDED, code=code, again_in_s=pause, said=self.last_words(limit_bytes=500))
            self.restarts += 1
            self._stopping.wait(pause)
            pause = min(2 * pause, LONGEST_PAUSE_S)

    def _launch(self) -> None:
        self._log_path.parent.mkdir(parents=True, exist_ok=True)
        if self._log_path.exists():
            self._log_path.replace(self._log_path.with_name(f"{self._log_path.name}.1"))
        with self._log_path.open("wb") as output:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=None if self._environment is None else dict(self._environment),
                preexec_fn=die_with_parent,  # noqa: PLW1509 - the death signal must be asked for in the child itself
            )
        self._logger.info(CHILD_STARTED, pid=self._process.pid)
        if self._stopping.is_set():  # stop() came between the check and the start
            self._process.terminate()
