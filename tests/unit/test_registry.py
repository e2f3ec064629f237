"""Rounds, steps, releases and the fleet survive their process; nothing is done twice."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from cloud import fleet as fleets
from cloud import registry as registries
from cloud.config import Settings
from cloud.configfile import read
from cloud.database import Database
from cloud.fleet import Fleet
from cloud.registry import Registry, Release
from shared.errors import ConfigurationError, FederationError, ProtocolError, StorageError
from shared.wire.reports import DeviceSummary, FleetReport, decode_report, encode_report

TEXT = """
fleet = "demo"
state = "state"
[identity]
folder = "identity"
[regions]
port = 0
[people]
port = 0
[repository]
keys = "keys"
"""


def open_database(path: Path) -> Database:
    database = Database(path, [registries.SCHEMA, fleets.SCHEMA])
    database.start()
    return database


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = open_database(tmp_path / "registry.db")
    yield database
    database.stop()


def test_only_one_round_is_open_at_a_time(database: Database) -> None:
    registry = Registry(database)
    first = registry.request_round("anna", now=1.0)
    with pytest.raises(FederationError, match="round 1 is still open"):
        registry.request_round("bert", now=2.0)
    registry.end(first.number, "failed", "no quorum", now=3.0)
    assert registry.request_round("bert", now=4.0).number == 2
    assert registry.round(1).reason == "no quorum"
    registry.end(1, "done", "", now=5.0)
    assert registry.round(1).state == "failed"


def test_a_registry_of_before_there_were_wishes_is_read(tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    with contextlib.closing(sqlite3.connect(path)) as old:
        old.executescript(
            "CREATE TABLE rounds (number INTEGER PRIMARY KEY AUTOINCREMENT, state TEXT NOT NULL, reason TEXT NOT NULL DEFAULT '',"
            "requested_by TEXT NOT NULL, created_at REAL NOT NULL, finished_at REAL);"
            "INSERT INTO rounds (state, requested_by, created_at) VALUES ('done', 'anna', 1.0);"
        )
    database = open_database(path)
    registry = Registry(database)
    assert (registry.round(1).publish, registry.round(1).regions) == (True, ())
    assert registry.request_round("bert", now=2.0, regions=["region-1"], publish=False).regions == ("region-1",)
    assert registry.open_round() == registry.round(2)
    database.stop()


def test_which_rounds_were_for_a_region_in_need(database: Database) -> None:
    registry = Registry(database)

    def a_round(now: float, participants: dict[str, str] | None, *, need: bool = False, publish: bool = True) -> int:
        number = registry.request_round("test", now=now, need=need, publish=publish).number
        registry.begin_step(number, "train", now=now)
        if participants is not None:
            registry.note_step(number, "train", {"participants": participants})
        registry.end(number, "failed", "", now=now + 1)
        return number

    a_round(1.0, {"1": "region-1"})
    mine = a_round(10.0, {"1": "region-1"})
    a_round(20.0, {"2": "region-2"}, need=True)
    a_round(30.0, {"1": "region-1"}, publish=False)
    unsettled = a_round(40.0, None, need=True)
    assert [item.number for item in registry.taught("region-1", since=5.0)] == [unsettled, mine]


def test_steps_are_rows_that_survive_the_process(tmp_path: Path) -> None:
    database = open_database(tmp_path / "r.db")
    registry = Registry(database)
    registry.request_round("anna", now=1.0)
    registry.begin_step(1, "train", now=1.0)
    registry.finish_step(1, "train", {"updates": 2}, now=2.0)
    registry.begin_step(1, "aggregate", now=3.0)
    database.stop()
    again = open_database(tmp_path / "r.db")
    registry = Registry(again)
    assert registry.begin_step(1, "train", now=9.0).result == {"updates": 2}
    assert registry.begin_step(1, "aggregate", now=9.0).started_at == 3.0
    assert [(step.name, step.state) for step in registry.steps(1)] == [("train", "done"), ("aggregate", "running")]
    again.stop()


def test_a_release_is_recorded_once(database: Database) -> None:
    registry = Registry(database)
    release = Release(model="student", release=2, role="auto", parent=1, round=1, lineage={"recipe": "x"}, created_at=1.0)
    registry.add_release(release)
    registry.add_release(release)
    assert registry.releases("student") == [release]
    assert registry.releases("expert") == []


def test_node_ids_belong_to_names_and_stay(database: Database) -> None:
    fleet = Fleet(database)
    assert [fleet.seen(name, now=1.0) for name in ("region-2", "region-1", "region-2")] == [1, 2, 1]
    device = DeviceSummary(name="edge-1", seen_at=1.0, release=3)
    report = FleetReport(at=1.0, cases_stored=9, cases_answered=9, cases_train=7, cases_evaluation=2, devices=(device,))
    fleet.report("region-1", report, now=2.0)
    fleet.learned({"region-1": 5})
    region = fleet.regions()[1]
    assert (region.name, region.cases_train, region.cases_new) == ("region-1", 7, 2)
    assert fleet.summary()["devices"][0]["release"] == 3


def test_a_report_cannot_carry_anything_it_does_not_name() -> None:
    report = encode_report(FleetReport(at=1.0, cases_stored=0, cases_answered=0, cases_train=0, cases_evaluation=0))
    assert decode_report(report)
    with pytest.raises(ProtocolError, match="unknown field"):
        decode_report(report[:-1] + b',"picture":"abc"}')
    with pytest.raises(ProtocolError, match="no report"):
        decode_report(b'{"kind":"picture","data":"abc"}')
    with pytest.raises(ProtocolError, match="length"):
        decode_report(b'{"kind":"failed","task":"t","reason":"' + b"x" * 2000 + b'"}')


def test_a_damaged_registry_is_named(tmp_path: Path) -> None:
    (tmp_path / "r.db").write_bytes(b"not a database" * 100)
    with pytest.raises(StorageError, match=r"r\.db"):
        open_database(tmp_path / "r.db")


def test_the_configuration_names_what_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "cloud.toml"
    path.write_text(TEXT)
    settings = read(path)
    assert isinstance(settings, Settings)
    assert settings.state == tmp_path / "state"
    assert settings.repository_folder == tmp_path / "state" / "repository"
    path.write_text(TEXT + "[rounds]\ndevice_share = 2.0\n")
    with pytest.raises(ConfigurationError, match=r"rounds\.device_share"):
        read(path)
    path.write_text(TEXT + "[rounds]\nquorom = 2\n")
    with pytest.raises(ConfigurationError, match="quorom"):
        read(path)
