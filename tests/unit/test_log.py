"""Logging never fails its caller: a full disk or a closed pipe costs lines, and the next ones say how many."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from shared.lines import LOST, Lines

LIMIT = 4096


@contextmanager
def no_larger_than(size: int) -> Iterator[None]:
    """Let no file of this process grow, as on a full disk; the test runner writes into one too, so keep it short."""
    before, ignored = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)


def test_what_does_not_fit_is_lost_and_counted_and_the_rest_stays_readable(tmp_path: Path) -> None:
    path = tmp_path / "log"
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    lines = Lines(descriptor)
    with no_larger_than(LIMIT):
        for number in range(200):
            lines.write(json.dumps({"number": number, "words": "x" * 50}) + "\n")
    assert path.stat().st_size == LIMIT  # the last one is torn
    kept = len(path.read_text().splitlines()) - 1
    assert lines.lost == 200 - kept
    lines.write(json.dumps({"number": "after"}) + "\n")  # somebody made space
    os.close(descriptor)
    *_, torn, lost, after = path.read_text().splitlines()
    assert not torn.endswith("}")
    assert json.loads(lost)["event"] == LOST
    assert json.loads(lost)["lost"] == 200 - kept
    assert json.loads(after) == {"number": "after"}


def test_a_process_whose_log_goes_nowhere_goes_on() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    script = "from shared import log; log.configure(); [log.get('x').warning('said', n=n) for n in range(5)]; print('alive')"
    done = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=writing, text=True, timeout=60, check=False)
    os.close(writing)
    assert (done.returncode, done.stdout) == (0, "alive\n")


def test_lines_of_many_threads_stay_whole() -> None:
    script = (
        "import threading; from shared import log; log.configure();"
        "say = lambda n: [log.get('x').warning('said', who=n, words='y' * 300) for _ in range(100)];"
        "all = [threading.Thread(target=say, args=(n,)) for n in range(8)]; [t.start() for t in all]; [t.join() for t in all]"
    )
    done = subprocess.run([sys.executable, "-c", script], stderr=subprocess.PIPE, text=True, timeout=60, check=True)
    assert len([json.loads(line) for line in done.stderr.splitlines()]) == 800
