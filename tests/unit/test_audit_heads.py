"""Signed heads one tier up: whatever is done to a log before the newest of them is found, and nobody else's word counts as one."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner

from cloud import audit_cli, auditheads
from cloud.alerts import alerts_of
from cloud.auditheads import AuditHeads
from cloud.configfile import read
from cloud.database import Database
from cloud.tables import open_registry
from provisioning.pki import Authority
from region.summary import compose
from shared.audit import AuditLog
from shared.audit_cli import app
from shared.errors import IdentityError, InputError, ProtocolError, StorageError, TerraceError
from shared.headsigner import EVERY_S, HeadSigner
from shared.identity.store import Identity
from shared.wire.audithead import believe, from_lines, keep, to_lines
from shared.wire.reports import FleetReport, decode_report, encode_report

from .pki_fleet import anchor_list, fleet, identities

NOW = time.time()


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return fleet(tmp_path_factory.mktemp("pki"))


@pytest.fixture(scope="module")
def machines(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Identity]:
    return identities(tmp_path_factory.mktemp("identities"), authority)


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[AuditHeads]:
    database = Database(tmp_path / "registry.db", [auditheads.SCHEMA])
    database.start()
    yield AuditHeads(database, AuditLog(tmp_path / "cloud.db"))
    database.stop()


def signer(log: AuditLog, identity: Identity, path: Path | None = None) -> HeadSigner:
    return HeadSigner(log, node=identity.peer.common_name, certificate=identity.chain[0], sign=identity.sign, path=path)


def written(path: Path, count: int, who: str = "anna") -> AuditLog:
    log = AuditLog(path, now=lambda: NOW)
    for number in range(count):
        log.append(who, "case.viewed", f"case {number}")
    return log


def sent(heads: HeadSigner, cloud: AuditHeads, identity: Identity) -> None:
    """The head as it goes: through the region's report, to the cloud."""
    report = compose({}, {"audit_head": msgspec.to_builtins(heads.newest)}, now=NOW)
    said = decode_report(encode_report(report))
    assert isinstance(said, FleetReport)
    assert said.audit_head is not None
    cloud.take("region-1", said.audit_head, identity.chain[0], now=NOW)


def test_a_head_is_signed_every_five_minutes_in_which_something_was_written(tmp_path: Path, machines: dict[str, Identity]) -> None:
    log = AuditLog(tmp_path / "audit.db")
    heads = signer(log, machines["region"], tmp_path / "elsewhere" / "heads.jsonl")
    heads.once(at=NOW)
    assert heads.newest is None
    written(tmp_path / "audit.db", 3)
    for step in range(10):
        heads.once(at=NOW + step * EVERY_S / 2)
    log.append("bob", "a", "b")
    heads.once(at=NOW + 5 * EVERY_S)
    kept = from_lines((tmp_path / "elsewhere" / "heads.jsonl").read_bytes())
    assert [one.head.count for one in kept] == [3, 4]
    assert heads.newest == kept[-1].head
    heads.once(at=NOW - 1e6)  # the clock was set back: nothing is new, and it does not wait for a year
    log.append("bob", "a", "b")
    heads.once(at=NOW - 1e6 + EVERY_S)
    assert heads.newest.count == 5


def test_a_head_that_cannot_be_written_is_signed_again(tmp_path: Path, machines: dict[str, Identity]) -> None:
    (tmp_path / "file").write_text("")
    heads = signer(written(tmp_path / "audit.db", 1), machines["region"], tmp_path / "file" / "heads.jsonl")
    for _ in range(2):
        with pytest.raises(StorageError, match="heads"):
            heads.once(at=NOW)
    (tmp_path / "file").unlink()
    heads.once(at=NOW)
    assert from_lines((tmp_path / "file" / "heads.jsonl").read_bytes())[0].head.count == 1


def test_the_cloud_keeps_heads_of_the_region_that_calls_and_no_others(
    tmp_path: Path, cloud: AuditHeads, machines: dict[str, Identity], authority: Authority
) -> None:
    log = written(tmp_path / "audit.db", 3)
    heads = signer(log, machines["region"])
    heads.once(at=NOW)
    sent(heads, cloud, machines["region"])
    sent(heads, cloud, machines["region"])
    head = heads.newest
    assert head is not None
    for forged in (
        msgspec.structs.replace(head, count=9),
        msgspec.structs.replace(head, count=9, hash="0" * 64),
        msgspec.structs.replace(head, count=9, node="server.region-2"),
    ):
        cloud.take("region-1", forged, machines["region"].chain[0], now=NOW)
    cloud.take("region-1", msgspec.structs.replace(head, count=9), machines["worker"].chain[0], now=NOW)
    (kept,) = cloud.heads("region-1")
    assert (believe(kept, anchor_list(authority)), cloud.breaks()) == (head, [])


def test_a_log_that_goes_back_is_a_break_until_an_operator_accepts_it(
    tmp_path: Path, cloud: AuditHeads, machines: dict[str, Identity]
) -> None:
    heads = signer(written(tmp_path / "audit.db", 5), machines["region"])
    heads.once(at=NOW)
    sent(heads, cloud, machines["region"])
    for name, count in (("cut", 4), ("other", 5)):
        again = signer(written(tmp_path / f"{name}.db", count, "eve"), machines["region"])
        again.once(at=NOW)
        sent(again, cloud, machines["region"])
        sent(again, cloud, machines["region"])
    (found,) = cloud.breaks()
    assert (found.region, found.kept, found.said) == ("region-1", 5, 4)
    (alert,) = alerts_of(regions=[], devices=[], rollouts=[], rounds=[], certificates={}, now=NOW, breaks=[found])
    assert (alert.id, alert.severity.value) == ("audit-broken/region-1", "critical")
    assert [entry.action for entry in AuditLog(tmp_path / "cloud.db").entries()] == ["region.audit_broken"]
    assert [one.head.count for one in cloud.heads("region-1")] == [5]
    assert cloud.accept("region-1")
    assert (cloud.breaks(), cloud.heads("region-1"), cloud.accept("region-1")) == ([], [], False)


def test_only_a_machine_of_this_fleet_signs_a_head_that_counts(tmp_path: Path, machines: dict[str, Identity], authority: Authority) -> None:
    head = written(tmp_path / "audit.db", 2).head()
    heads = signer(AuditLog(tmp_path / "audit.db"), machines["region"])
    heads.once(at=NOW)
    assert heads.newest is not None
    assert heads.newest.head == head
    kept, anchors = keep(heads.newest, machines["region"].chain[0]), anchor_list(authority)
    assert believe(kept, anchors).count == 2
    stranger = identities(tmp_path / "strangers", fleet(tmp_path / "other"))["region"]
    theirs = signer(AuditLog(tmp_path / "audit.db"), stranger)
    theirs.once(at=NOW)
    assert theirs.newest is not None
    late = signer(AuditLog(tmp_path / "audit.db"), machines["region"])
    late.once(at=NOW + 400 * 86400)
    assert late.newest is not None
    for one in (
        keep(theirs.newest, stranger.chain[0]),
        keep(late.newest, machines["region"].chain[0]),  # its certificate had ended
        msgspec.structs.replace(kept, certificate=keep(theirs.newest, stranger.chain[0]).certificate),
        msgspec.structs.replace(kept, head=msgspec.structs.replace(kept.head, count=1)),
        msgspec.structs.replace(kept, certificate="not base64!"),
    ):
        with pytest.raises(IdentityError):
            believe(one, anchors)


@pytest.mark.parametrize(
    ("statements", "words"),
    [
        (("UPDATE entry SET who = 'eve' WHERE number = 3",), "entry 3 is not what was written"),
        (("DELETE FROM entry WHERE number = 4",), "entry 4 is missing"),
        (("DELETE FROM entry WHERE number > 6", "UPDATE head SET count = 6, hash = (SELECT hash FROM entry WHERE number = 6)"), "cut off"),
        (("rewrite",), "rewritten"),
    ],
)
def test_verify_finds_what_was_changed_left_out_or_cut_off(
    tmp_path: Path, machines: dict[str, Identity], statements: tuple[str, ...], words: str
) -> None:
    path, heads_file = tmp_path / "audit.db", tmp_path / "heads.jsonl"
    log = written(path, 4)
    heads = signer(log, machines["region"], heads_file)
    heads.once(at=NOW)
    for number in range(4):
        log.append("bob", "case.viewed", f"case {number}")
    heads.once(at=NOW + EVERY_S)
    arguments = ["verify", str(path), "--heads", str(heads_file), "--identity", str(machines["cloud"].folder)]
    run = CliRunner()
    said = json.loads(run.invoke(app, [*arguments, "--json"]).output)
    assert (said["entries"], said["anchored"], said["anchored_at"], said["heads"]) == (8, True, 8, 2)
    if statements == ("rewrite",):
        path.unlink()
        written(path, 9, "eve")
    else:
        with sqlite3.connect(path) as file:
            for statement in statements:
                file.execute(statement)
        file.close()
    found = run.invoke(app, arguments).exception
    assert isinstance(found, ProtocolError)
    assert found.exit_code == 18
    assert words in str(found)


def test_what_is_no_file_of_heads_of_one_node_is_refused(tmp_path: Path, machines: dict[str, Identity]) -> None:
    path, heads_file, run = tmp_path / "audit.db", tmp_path / "heads.jsonl", CliRunner()
    log = written(path, 2)
    arguments = ["verify", str(path), "--heads", str(heads_file), "--identity", str(machines["cloud"].folder)]
    assert "unanchored" in run.invoke(app, ["verify", str(path)]).output
    assert isinstance(run.invoke(app, arguments[:-2]).exception, InputError)
    assert isinstance(run.invoke(app, arguments).exception, InputError)
    for data in (b"", b"no heads\n"):
        heads_file.write_bytes(data)
        assert isinstance(run.invoke(app, arguments).exception, TerraceError)
    heads_file.unlink()
    for name in ("region", "worker"):
        signer(log, machines[name], heads_file).once(at=NOW)
    assert "region-1" in str(run.invoke(app, arguments).exception)
    whole = from_lines(heads_file.read_bytes())
    heads_file.write_bytes(to_lines(whole[:1]) + b'{"head":{"node":')  # a crash while the last line was written
    assert run.invoke(app, arguments).exit_code == 0
    log.append("anna", "a", "b")
    signer(log, machines["region"], heads_file).once(at=NOW)
    assert [one.head.count for one in from_lines(heads_file.read_bytes())] == [2, 3]


def test_an_operator_carries_the_heads_from_the_cloud_to_the_region_s_log(tmp_path: Path, machines: dict[str, Identity]) -> None:
    config = tmp_path / "cloud.toml"
    config.write_text(
        'fleet = "acme"\nstate = "state"\nidentity.folder = "i"\nregions.port = 1\npeople.port = 2\nrepository.keys = "keys"\n'
    )
    settings, run, path = read(config), CliRunner(), tmp_path / "audit.db"
    database = open_registry(settings)
    database.start()
    heads = signer(written(path, 3), machines["region"])
    heads.once(at=NOW)
    kept = AuditHeads(database, AuditLog(settings.audit_path))
    sent(heads, kept, machines["region"])
    out = tmp_path / "heads.jsonl"
    assert run.invoke(audit_cli.app, ["heads", "region-1", "--config", str(config), "--out", str(out)]).exit_code == 0
    assert run.invoke(audit_cli.app, ["heads", "region-1", "--config", str(config)]).output == out.read_text()
    said = run.invoke(app, ["verify", str(path), "--heads", str(out), "--identity", str(machines["region"].folder)])
    assert said.output.startswith("3 entries, whole, anchored at 3.")
    assert isinstance(run.invoke(audit_cli.app, ["heads", "region-2", "--config", str(config)]).exception, InputError)
    assert isinstance(run.invoke(audit_cli.app, ["accept", "region-1", "--config", str(config)]).exception, InputError)
    cut = signer(written(tmp_path / "cut.db", 2), machines["region"])
    cut.once(at=NOW)
    sent(cut, kept, machines["region"])
    database.stop()
    assert json.loads(run.invoke(audit_cli.app, ["breaks", "--config", str(config), "--json"]).output)[0]["said"] == 2
    assert "region-1" in run.invoke(audit_cli.app, ["breaks", "--config", str(config)]).output
    assert run.invoke(audit_cli.app, ["accept", "region-1", "--config", str(config)]).exit_code == 0
    assert "No region" in run.invoke(audit_cli.app, ["breaks", "--config", str(config)]).output
    assert [entry.action for entry in AuditLog(settings.audit_path).entries()] == ["region.audit_accepted", "region.audit_broken"]
