"""The round worker as a supervised child: started again with growing pauses when it ends, and dead when the daemon dies.

The thread that starts the child lives as long as the child, because the kernel's death signal follows the thread.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

from shared import log
from shared.lifecycle import die_with_parent

STARTED, ENDED = "worker_started", "worker_ended"
FIRST_PAUSE_S, LONGEST_PAUSE_S, HEALTHY_S, GRACE_S = 0.5, 30.0, 60.0, 10.0


class Worker:
    """A part: `python -m cloud.federation`.

    Args:
        config: the cloud.toml it reads.
    """

    def __init__(self, config: Path) -> None:
        self._config = config
        self._logger = log.get("worker")
        self._stopping = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._supervise, name="worker", daemon=True)
        self.restarts = 0

    @property
    def pid(self) -> int:
        """The running child's process id, or 0."""
        process = self._process
        return process.pid if process is not None and process.poll() is None else 0

    def start(self) -> None:
        """Start the child and watch it."""
        self._thread.start()

    def stop(self) -> None:
        """End the child: SIGTERM, then SIGKILL after the grace period."""
        self._stopping.set()
        process = self._process
        if process is not None and process.poll() is None:
            process.terminate()
            try:
                process.wait(GRACE_S)
            except subprocess.TimeoutExpired:
                process.kill()
        self._thread.join(GRACE_S)

    def _supervise(self) -> None:
        pause = FIRST_PAUSE_S
        while not self._stopping.is_set():
            began = time.monotonic()
            code = self._run()
            if self._stopping.is_set():
                return
            pause = FIRST_PAUSE_S if time.monotonic() - began > HEALTHY_S else pause
            self._logger.error(ENDED, code=code, again_in_s=pause)
            self.restarts += 1
            self._stopping.wait(pause)
            pause = min(pause * 2, LONGEST_PAUSE_S)

    def _run(self) -> int:
        command = [sys.executable, "-m", "cloud.federation", "--config", str(self._config)]
        environment = {**os.environ, "FLWR_TELEMETRY_ENABLED": "0", "FLWR_DISABLE_UPDATE_CHECK": "1"}
        self._process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            preexec_fn=die_with_parent,  # noqa: PLW1509 - must run in the child, between fork and exec
        )
        self._logger.info(STARTED, pid=self._process.pid)
        if self._stopping.is_set():
            self._process.terminate()
        return self._process.wait()
