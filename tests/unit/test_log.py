"""Logging never fails its caller: a full disk or a closed pipe costs lines, and the next ones say how many."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.lines import LOST, Lines

LIMIT = 4096


@pytest.fixture
def full(tmp_path: Path) -> Iterator[tuple[Lines, Path]]:
    """A file that may not grow beyond LIMIT bytes, as on a full disk."""
    path, before = tmp_path / "log", resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT, before[1]))
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    yield Lines(descriptor), path
    os.close(descriptor)
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, ignored)


def test_what_does_not_fit_is_lost_and_counted_and_the_rest_stays_readable(full: tuple[Lines, Path]) -> None:
    lines, path = full
    for number in range(200):
        assert lines.write(json.dumps({"number": number, "words": "x" * 50}) + "\n")
    assert path.stat().st_size == LIMIT  # the last one is torn
    kept = len(path.read_text().splitlines()) - 1
    assert lines.lost == 200 - kept
    os.truncate(path, 100)  # somebody made space
    lines.write(json.dumps({"number": "after"}) + "\n")
    *_, lost, after = path.read_text().splitlines()
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
