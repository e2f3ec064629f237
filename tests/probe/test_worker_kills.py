"""Kill -9 intake worker processes, and take them away and add them, while real devices send: nothing is lost, nothing stored twice."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from edge.uplink import Uplink, UplinkSettings
from region.recount import recount
from region.workerlist import write_workers
from shared.identity.store import Identity
from shared.link.spool import Spool
from shared.wire import topics
from shared.wire.messages import encode
from tests.unit.region_parts import a_case
from tests.unit.test_region_main import Site
from tests.waiting import until

from .test_region_kills import telemetry

DEVICES, CASES, ACTS = 6, 60, 8


@pytest.fixture
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    site = Site(tmp_path_factory.mktemp("w"))
    site.authority.issue_region("region-1", "intake-2", [], destination=site.folder / "workers" / "intake-2")
    write_workers(site.settings.workers_path, ["intake-1", "intake-2"])
    site.start()
    yield site
    site.stop()


class Sender:
    """A device's spool and uplink."""

    def __init__(self, site: Site, name: str, folder: Path) -> None:
        folder.mkdir()
        self.site, self.name, self.folder = site, name, folder
        self.answered: set[int] = set()
        site.authority.issue_device("region-1", name, destination=site.folder / name)
        self.spool = Spool(folder / "spool.db", folder / "spool.key", 64 << 20)
        self.uplink = Uplink(
            settings=UplinkSettings(host="localhost", port=site.ports[0]), identity=Identity.load(site.folder / name), spool=self.spool,
            state=folder, telemetry=telemetry, on_answer=lambda answer: self.answered.add(answer.sequence),
        )  # fmt: skip

    def __enter__(self) -> Sender:
        self.spool.start()
        self.uplink.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.uplink.stop()
        self.spool.stop()


def processes(site: Site) -> dict[str, int]:
    return {one["name"]: one["process"] for one in site.status()["workers"] if one["process"]}


@pytest.mark.slow
def test_workers_killed_removed_and_added_lose_nothing_and_double_nothing(site: Site, tmp_path: Path) -> None:
    chance = random.Random(3)
    with ExitStack() as stack:
        senders = [stack.enter_context(Sender(site, f"edge-{number}", tmp_path / f"{number}")) for number in range(DEVICES)]
        until(lambda: sorted(len(one["shards"]) for one in site.status()["workers"]) == [21, 21, 22], within_s=60)
        served = {one["name"]: one["shards"] for one in site.status()["workers"]}
        owners = {next(name for name, shards in served.items() if topics.shard_of(f"{one.name}.region-1") in shards) for one in senders}
        assert len(owners) >= 2
        acts = sorted(chance.sample(range(CASES), ACTS))
        for number in range(CASES):
            for sender in senders:
                sender.uplink.offer(encode(a_case(number)), is_audit=number % 5 == 0, value=1.0)
            if number not in acts:
                continue
            if acts.index(number) % 4 == 3:
                write_workers(site.settings.workers_path, ["intake-1"] if acts.index(number) == 3 else ["intake-1", "intake-2"])
            until(lambda: processes(site), within_s=20)
            os.kill(chance.choice(list(processes(site).values())), signal.SIGKILL)
        until(lambda: not any(sender.spool.waiting() for sender in senders), within_s=60)
        until(lambda: recount(site.settings.vault_path).cases_answered == DEVICES * CASES, within_s=60)
        assert all(sender.answered for sender in senders)
    assert sum(one["restarts"] for one in site.status()["workers"]) >= 1
    site.stop()
    counted = recount(site.settings.vault_path)
    assert (counted.cases_stored, counted.cases_doubled, counted.digests_conflicting) == (DEVICES * CASES, 0, 0)
