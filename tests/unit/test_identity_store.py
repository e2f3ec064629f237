"""Identity folders: what loads, what is refused and with which remedy, and that a crash leaves no half of one."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509 import load_der_x509_certificate

from provisioning.pki import Authority
from shared import durable
from shared.errors import IdentityError, StorageError
from shared.identity.store import Identity, write_identity

from .pki_fleet import HOSTS, NOW, fleet

DAY = 86_400


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return fleet(tmp_path / "authority")


@pytest.fixture
def folder(authority: Authority, tmp_path: Path) -> Path:
    return authority.issue_device("region-1", "edge-1", destination=tmp_path / "edge")


def test_an_identity_signs_as_itself(folder: Path) -> None:
    identity = Identity.load(folder)
    assert identity.peer.common_name == "edge-1.region-1"
    assert identity.check(NOW) == identity.peer
    assert stat.S_IMODE(identity.key_path.stat().st_mode) == 0o600
    public = load_der_x509_certificate(identity.chain[0]).public_key()
    assert isinstance(public, ec.EllipticCurvePublicKey)
    public.verify(identity.sign(b"open"), b"open", ec.ECDSA(SHA256()))


def test_an_expired_identity_still_loads_but_does_not_pass_the_check(folder: Path) -> None:
    identity = Identity.load(folder)
    with pytest.raises(IdentityError, match="expired") as caught:
        identity.check(NOW + 31 * DAY)
    assert "provision" in caught.value.remedy
    assert caught.value.exit_code == 12


@pytest.mark.parametrize("name", ["certificate.pem", "key.pem", "anchors.json", "root.pub"])
@pytest.mark.parametrize("harm", ["missing", "empty", "junk"])
def test_a_missing_or_damaged_file_is_named(folder: Path, name: str, harm: str) -> None:
    path = folder / name
    if harm == "missing":
        path.unlink()
    else:
        path.write_bytes(b"" if harm == "empty" else b"\x00junk")
    with pytest.raises(IdentityError) as caught:
        Identity.load(folder)
    assert caught.value.remedy


def test_a_key_others_may_read_is_refused(folder: Path) -> None:
    (folder / "key.pem").chmod(0o640)
    with pytest.raises(IdentityError, match="private key") as caught:
        Identity.load(folder)
    assert "chmod 600" in caught.value.remedy


def test_a_key_of_somebody_else_is_refused(authority: Authority, folder: Path, tmp_path: Path) -> None:
    other = authority.issue_device("region-1", "edge-2", destination=tmp_path / "other")
    (folder / "key.pem").write_bytes((other / "key.pem").read_bytes())
    with pytest.raises(IdentityError, match="not the key"):
        Identity.load(folder)


def test_anchors_of_another_fleet_are_refused(folder: Path, tmp_path: Path) -> None:
    other = fleet(tmp_path / "other", "other").folder
    for names in (("anchors.json",), ("anchors.json", "root.pub")):
        for name in names:
            (folder / name).write_bytes((other / name).read_bytes())
        with pytest.raises(IdentityError, match=r"not signed by"):
            Identity.load(folder)


def test_an_identity_is_not_overwritten(authority: Authority, folder: Path) -> None:
    before = (folder / "certificate.pem").read_bytes()
    with pytest.raises(IdentityError, match="already holds"):
        authority.issue_device("region-1", "edge-2", destination=folder)
    assert (folder / "certificate.pem").read_bytes() == before


def test_a_crash_while_writing_leaves_nothing_that_loads_and_can_be_repeated(
    authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    destination, real, written = tmp_path / "edge", Path.replace, []

    def dies_at_the_third(self: Path, target: Path) -> Path:
        written.append(target)
        if len(written) == 3:
            raise KeyboardInterrupt
        return real(self, target)

    monkeypatch.setattr(Path, "replace", dies_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        authority.issue_device("region-1", "edge-1", destination=destination)
    monkeypatch.undo()
    assert not (destination / "certificate.pem").exists()
    with pytest.raises(IdentityError):
        Identity.load(destination)
    assert Identity.load(authority.issue_device("region-1", "edge-1", destination=destination)).peer.name == "edge-1"


def test_a_folder_that_cannot_be_written_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError):
        write_identity(tmp_path / "file" / "below", {"certificate.pem": b"x"})
    with pytest.raises(StorageError):
        durable.write(tmp_path / "file" / "x", b"x", mode=0o600)


def test_revocations_of_a_region_are_read_with_their_signatures(authority: Authority, tmp_path: Path) -> None:
    device = Identity.load(authority.issue_device("region-1", "edge-1", destination=tmp_path / "edge"))
    region = Identity.load(authority.issue_region("region-1", "server", HOSTS, destination=tmp_path / "region"))
    assert not region.revocations().covers(device.peer)
    authority.revoke("edge-1.region-1")
    durable.write(region.crl_path, authority.crl("region-1"), mode=0o600)
    revoked = region.revocations()
    assert revoked.covers(device.peer)
    assert NOW + 29 * DAY < revoked.next_update < NOW + 31 * DAY
    with pytest.raises(IdentityError, match="revoked"):
        revoked.require(device.peer)


def test_a_foreign_or_damaged_revocation_list_is_refused(authority: Authority, tmp_path: Path) -> None:
    region = Identity.load(authority.issue_region("region-1", "server", HOSTS, destination=tmp_path / "region"))
    authority.issue_region_device_ca("region-2")
    for data in (authority.crl("region-2"), b"-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n"):
        durable.write(region.crl_path, data, mode=0o600)
        with pytest.raises(IdentityError, match="revocation list"):
            region.revocations()
