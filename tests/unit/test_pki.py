"""The fleet's authority: made whole or not at all, records before it issues, revokes for OpenSSL as well as for us."""

from __future__ import annotations

import json
import shutil
import stat
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography import x509
from typer.testing import CliRunner

from provisioning.cli import app
from provisioning.pki import Authority, authority, create_fleet
from shared.errors import IdentityError, StorageError
from shared.identity.store import Identity

from .pki_fleet import HOSTS, NOW, fleet


def test_nobody_else_may_read_the_authority(tmp_path: Path) -> None:
    made = fleet(tmp_path / "a")
    made.issue_region_device_ca("region-1")
    assert stat.S_IMODE(made.folder.stat().st_mode) == 0o700
    keys = list(made.folder.rglob("*.key"))
    assert len(keys) == 5
    assert {stat.S_IMODE(key.stat().st_mode) for key in keys} == {0o600}


def test_a_fleet_is_made_once_and_opened_again(tmp_path: Path) -> None:
    fleet(tmp_path / "a")
    with pytest.raises(IdentityError, match="not empty"):
        create_fleet(tmp_path / "a", "acme")
    assert Authority.open(tmp_path / "a").fleet == "acme"
    with pytest.raises(IdentityError, match="no fleet's authority"):
        Authority.open(tmp_path / "b")


def test_a_ceremony_that_breaks_off_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise StorageError("the disk is full.")

    monkeypatch.setattr(authority, "sign_anchor_list", full)
    with pytest.raises(StorageError):
        fleet(tmp_path / "a")
    assert list(tmp_path.iterdir()) == []


def test_what_was_issued_stands_in_the_ledger(tmp_path: Path) -> None:
    made = fleet(tmp_path / "a")
    made.issue_device("region-1", "edge-1", destination=tmp_path / "e")
    made.issue_region("region-1", "server", HOSTS, destination=tmp_path / "r")
    made.issue_cloud("cloud", HOSTS, destination=tmp_path / "c")
    rows = [(row.name, row.region, row.tier, round((row.not_after - NOW) / 86_400)) for row in made.issued()]
    assert rows == [
        ("devices", "region-1", "authority", 1825),
        ("edge-1", "region-1", "edge", 30),
        ("server", "region-1", "region", 90),
        ("cloud", "cloud", "cloud", 90),
    ]
    serials = {Identity.load(tmp_path / name).peer.serial for name in "erc"}
    assert serials == {int(row.serial, 16) for row in made.issued()[1:]}


def test_two_commands_at_once_make_one_device_authority(tmp_path: Path) -> None:
    made = fleet(tmp_path / "a")
    with ThreadPoolExecutor(8) as pool:
        names = [f"edge-{number}" for number in range(8)]
        folders = list(pool.map(lambda name: made.issue_device("region-1", name, destination=tmp_path / name), names))
    assert sorted(Identity.load(folder).peer.name for folder in folders) == names
    assert [row.tier for row in made.issued()].count("authority") == 1


def test_revoking_by_name_and_by_serial(tmp_path: Path) -> None:
    made = fleet(tmp_path / "a")
    folders = [made.issue_device("region-1", "edge-1", destination=tmp_path / name) for name in ("first", "again")]
    serials = [Identity.load(folder).peer.serial for folder in folders]
    assert {int(row.serial, 16) for row in made.revoke("edge-1.region-1")} == set(serials)
    with pytest.raises(IdentityError, match="no good certificate"):
        made.revoke("edge-1.region-1")
    other = Identity.load(made.issue_device("region-1", "edge-2", destination=tmp_path / "other")).peer
    assert made.revoke(f"{other.serial:X}")[0].name == "edge-2"
    crl = x509.load_pem_x509_crl(made.crl("region-1"))
    assert {entry.serial_number for entry in crl} == {*serials, other.serial}
    numbers = [x509.load_pem_x509_crl(made.crl("region-1")).extensions.get_extension_for_class(x509.CRLNumber).value for _ in "ab"]
    assert numbers[0].crl_number < numbers[1].crl_number


@pytest.mark.skipif(shutil.which("openssl") is None, reason="the program openssl is not installed")
def test_openssl_refuses_a_revoked_device_by_the_same_list(tmp_path: Path) -> None:
    made = fleet(tmp_path / "a")
    good, bad = (made.issue_device("region-1", name, destination=tmp_path / name) for name in ("edge-1", "edge-2"))
    made.revoke("edge-2.region-1")
    (tmp_path / "crl.pem").write_bytes(made.crl("region-1"))
    answers = []
    for folder in (good, bad):
        command = ["openssl", "verify", "-crl_check_all", "-CRLfile", tmp_path / "crl.pem", "-CAfile", tmp_path / "a/anchors/edge.pem"]
        chain = ["-untrusted", folder / "certificate.pem", folder / "certificate.pem"]
        answers.append(subprocess.run([*command, *chain], capture_output=True, text=True, timeout=20))
    assert answers[0].returncode == 0, answers[0].stderr
    assert "certificate revoked" in answers[1].stderr


def test_a_region_gets_what_its_broker_needs(tmp_path: Path) -> None:
    made = fleet(tmp_path / "a")
    region = made.issue_region("region-1", "server", HOSTS, destination=tmp_path / "r")
    assert (region / "devices.crl.pem").read_bytes().count(b"BEGIN X509 CRL") == 2
    assert (region / "devices.pem").read_bytes() == (made.folder / "devices/region-1.pem").read_bytes()


def test_the_command_line_goes_through_a_fleet_s_life(tmp_path: Path) -> None:
    def run(*words: str | Path) -> str:
        done = CliRunner().invoke(app, ["pki", *map(str, words)], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.output

    at = ("--authority", tmp_path / "a")
    run("create", *at, "--fleet", "acme")
    run("region", *at, "--region", "region-1", "--out", tmp_path / "r", "--host", "127.0.0.1", "--host", "localhost")
    run("region", *at, "--region", "region-1", "--name", "intake-0", "--out", tmp_path / "w")
    run("device", *at, "--region", "region-1", "--name", "edge-1", "--out", tmp_path / "e")
    run("cloud", *at, "--out", tmp_path / "c", "--host", "localhost")
    assert "edge-1.region-1" in run("list", *at)
    run("revoke", *at, "edge-1.region-1", "--out", tmp_path / "r")
    listed = {row["name"]: row["revoked_at"] for row in json.loads(run("list", *at, "--json"))}
    assert listed["edge-1"] is not None
    assert listed["server"] is None
    assert Identity.load(tmp_path / "r").revocations().covers(Identity.load(tmp_path / "e").peer)
    run("crl", *at, "--region", "region-1", "--out", tmp_path / "r")
    help_text = CliRunner().invoke(app, ["pki", "--help"]).output
    assert "offline" in help_text
