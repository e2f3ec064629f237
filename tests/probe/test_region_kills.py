"""Kill -9 a real region process (and with it its broker) while a device keeps sending: nothing receipted is lost, nothing stored twice."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge.uplink import Uplink, UplinkSettings
from region.recount import recount
from shared.errors import LinkError
from shared.identity.store import Identity
from shared.link.spool import Spool
from shared.status import read_status
from shared.wire.messages import Answer, StreamCounts, Telemetry, encode
from tests.unit.region_parts import a_case
from tests.unit.test_region_main import Site
from tests.waiting import until

CASES, KILLS = 160, 2


def telemetry() -> Telemetry:
    counts = StreamCounts(stream="line", frames=0, dropped=0, kept=0, deferred=0, audited=0)
    return Telemetry(at=time.time(), floor=0, release=1, update_state="idle", streams=(counts,), spool_cases=0, spool_bytes=0)


class Daemon:
    """`terrace region serve` as a process."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._command = [sys.executable, "-c", "from region.cli import app; app()", "serve", "--config", str(site.config)]
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with (self._site.folder / "region.log").open("ab") as log:
            environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
            self.process = subprocess.Popen(self._command, stdout=log, stderr=log, env=environment)

    def is_up(self) -> bool:
        try:
            return bool(read_status(self._site.settings.status_path))
        except LinkError:
            return False

    def kill(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> int:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(15)


@pytest.fixture
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    daemon = Daemon(Site(tmp_path_factory.mktemp("k")))
    daemon.start()
    yield daemon
    if daemon.process is not None and daemon.process.poll() is None:
        daemon.kill()


def test_kill_9_of_the_region_loses_nothing_and_doubles_nothing(daemon: Daemon, tmp_path: Path) -> None:
    site, chance = daemon._site, random.Random(7)
    site.authority.issue_device("region-1", "edge-1", destination=site.folder / "edge-1")
    spool = Spool(tmp_path / "spool.db", tmp_path / "spool.key", 64 << 20)
    spool.start()
    heard: set[int] = set()

    def answered(answer: Answer) -> None:
        heard.add(answer.sequence)

    uplink = Uplink(
        settings=UplinkSettings(host="localhost", port=site.ports[0]), identity=Identity.load(site.folder / "edge-1"), spool=spool,
        state=tmp_path, telemetry=telemetry, on_answer=answered,
    )  # fmt: skip
    uplink.start()
    kills = sorted(chance.sample(range(20, CASES - 20), KILLS))
    for number in range(CASES):
        uplink.offer(encode(a_case(number)), is_audit=number % 5 == 0, value=1.0)
        if number in kills:
            until(daemon.is_up, within_s=20)
            time.sleep(chance.random() * 0.2)  # the kill comes at a random moment, that is the test
            daemon.kill()
            daemon.start()
    until(lambda: not spool.waiting(), within_s=40)
    until(lambda: recount(site.settings.vault_path).cases_answered == CASES, within_s=30)
    uplink.stop()
    spool.stop()
    assert daemon.stop() == 0
    counted = recount(site.settings.vault_path)
    assert (counted.cases_stored, counted.cases_doubled, counted.digests_conflicting) == (CASES, 0, 0)
    assert heard  # live answers went on between the kills
