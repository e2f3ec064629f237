"""Intake workers as processes beside the daemon: added, removed and killed while devices send; nothing is lost or doubled."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from region import cli, pool
from region.database import Database
from region.recount import recount
from shared.errors import ConfigurationError, IdentityError
from shared.wire import topics
from tests.waiting import until

from .region_parts import a_case
from .test_region_main import Online, Site, command

DEVICES = [f"edge-{number}" for number in range(6)]


@pytest.fixture
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    site = Site(tmp_path_factory.mktemp("r"))
    yield site
    site.stop()


def worker(*arguments: str, site: Site) -> str:
    result = CliRunner().invoke(cli.app, ["worker", *arguments, "--config", str(site.config)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def workers(site: Site) -> dict[str, dict[str, Any]]:
    return {one["name"]: one for one in site.status()["workers"]}


def send(online: Online, *sequences: int) -> None:
    """Send cases until each has its receipt, as a device does."""

    def again() -> bool:
        for sequence in set(sequences) - online.receipted():
            online.publish(*online.device.case(sequence, a_case(sequence)))
        return set(sequences) <= online.receipted()

    until(again, within_s=20, every_s=0.3)


@pytest.mark.slow
def test_workers_come_and_go_while_devices_send(site: Site) -> None:
    site.start()
    assert workers(site)["intake-0"]["shards"] == list(range(64))
    fleet = [site.device(name).open() for name in DEVICES]
    for online in fleet:
        send(online, 1)
    assert "serves" in worker("add", "intake-1", site=site)
    until(lambda: {len(one["shards"]) for one in workers(site).values()} == {32})
    served = workers(site)["intake-1"]["shards"]
    assert {topics.shard_of(online.device.name) in served for online in fleet} == {True, False}
    for online in fleet:
        send(online, 2, 3)  # in the epoch of before, wherever its shard is now
    assert all(online.answers().keys() >= {1} for online in fleet)
    until(lambda: site.status()["cases_answered"] == 3 * len(fleet))
    until(lambda: all(online.answers().keys() == {1, 2, 3} for online in fleet))
    assert "removed" in worker("remove", "intake-1", site=site)
    until(lambda: workers(site)["intake-0"]["shards"] == list(range(64)))
    for online in fleet:
        send(online, 4)
        online.close()
    status = site.status()
    assert (status["cases_stored"], list(workers(site))) == (4 * len(fleet), ["intake-0"])
    assert status["dropped"].get("epoch_used", 0) == 0
    assert set(status["devices"]) == {online.device.name for online in fleet}
    site.stop()
    counted = recount(site.settings.vault_path)
    assert (counted.cases_stored, counted.cases_doubled, counted.digests_conflicting) == (4 * len(fleet), 0, 0)


def test_the_shards_of_a_killed_worker_are_taken_over_and_given_back(site: Site) -> None:
    site.start()
    worker("add", "intake-1", site=site)
    until(lambda: len(workers(site)["intake-1"]["shards"]) == 32)
    shards = workers(site)["intake-1"]["shards"]
    online = next(one for one in (site.device(name) for name in DEVICES) if topics.shard_of(one.device.name) in shards).open()
    send(online, 1)
    until(lambda: online.answers() == {1: 1})
    first = workers(site)["intake-1"]["process"]
    os.kill(first, signal.SIGKILL)
    send(online, 2)
    until(lambda: workers(site)["intake-1"]["restarts"] == 1 and len(workers(site)["intake-1"]["shards"]) == 32, within_s=20)
    assert workers(site)["intake-1"]["process"] != first
    send(online, 3)  # its epoch came out of the vault twice
    until(lambda: online.answers().keys() >= {2, 3})
    online.close()
    assert site.status()["cases_stored"] == 3


def test_what_a_worker_hears_the_daemon_says(site: Site) -> None:
    site.start()
    worker("add", "intake-1", site=site)
    until(lambda: len(workers(site)["intake-1"]["shards"]) == 32)
    shards = workers(site)["intake-1"]["shards"]
    online = next(one for one in (site.device(name) for name in DEVICES) if topics.shard_of(one.device.name) in shards).open()
    online.publish(online.device.telemetry())
    online.publish((topics.up(online.device.name, "case"), b"rubbish"))
    until(lambda: site.status()["dropped"] == {"header": 1})
    found = site.status()["devices"][online.device.name]
    assert found["connected_recently"]
    assert found["telemetry"]["release"] == 1
    assert site.status()["messages"] >= 3
    command("revoke", online.device.name, "--config", str(site.config), "--json")
    until(lambda: _dropped_as_revoked(site, online))
    online.close()


def _dropped_as_revoked(site: Site, online: Online) -> bool:
    """The broker denies it too; what it lets through until its reload is dropped by the worker."""
    online.publish(*online.device.case(9))
    return site.status()["cases_stored"] == 0


def test_what_cannot_be_added_or_removed_is_said(site: Site) -> None:
    with pytest.raises(IdentityError, match="no identity of intake-7"):
        worker("add", "intake-7", site=site)
    with pytest.raises(ConfigurationError, match="daemon's own"):
        worker("add", "intake-0", site=site)
    with pytest.raises(ConfigurationError, match="there are none"):
        worker("remove", "intake-1", site=site)
    assert "next start" in worker("add", "intake-1", site=site)
    site.start()
    until(lambda: workers(site)["intake-1"]["state"] == "serving")


def test_a_worker_whose_identity_is_gone_is_down_and_says_why(site: Site) -> None:
    site.start()
    worker("add", "intake-1", site=site)
    (site.settings.identity.workers / "intake-1" / "key.pem").unlink()
    os.kill(workers(site)["intake-1"]["process"], signal.SIGKILL)
    until(lambda: "key.pem" in workers(site)["intake-1"].get("said", ""))
    until(lambda: workers(site)["intake-0"]["shards"] == list(range(64)))
    assert "key.pem" in worker("list", site=site)


@pytest.mark.slow
def test_a_worker_that_hangs_is_killed_and_its_shards_are_taken_over(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "SILENT_S", 3.0)
    site.start()
    worker("add", "intake-1", site=site)
    until(lambda: len(workers(site)["intake-1"]["shards"]) == 32)
    first = workers(site)["intake-1"]["process"]
    os.kill(first, signal.SIGSTOP)
    until(lambda: workers(site)["intake-1"]["restarts"] == 1, within_s=20)
    until(lambda: workers(site)["intake-1"]["process"] not in {None, first})


def test_two_writers_of_one_vault_take_turns(tmp_path: Path) -> None:
    """Another process's transaction is waited for; a second one in the same moment is not refused."""
    one, two = Database(tmp_path / "x.db", "CREATE TABLE IF NOT EXISTS t (n)"), Database(tmp_path / "x.db", "")
    one.start(), two.start()
    entered, done = threading.Event(), threading.Event()

    def hold() -> None:
        with one.transaction() as connection:
            connection.execute("INSERT INTO t VALUES (1)")
            entered.set()
            done.wait(5)

    thread = threading.Thread(target=hold)
    thread.start()
    assert entered.wait(5)
    threading.Timer(0.2, done.set).start()  # longer than SQLite is told to wait
    with two.transaction() as connection:
        assert connection.execute("SELECT n FROM t").fetchall() == [(1,)]
    thread.join()
    one.stop(), two.stop()
