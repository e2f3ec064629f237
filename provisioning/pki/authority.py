"""The fleet's authority: a folder (mode 0700) that belongs on an offline machine or an encrypted stick, never on a server.

    root.key, root.pub          Ed25519; signs the anchor list and nothing else
    anchors.json                the signed anchor list
    anchors/<tier>.key, .pem    one self-signed anchor per tier
    devices/<region>.key, .pem  one device authority per region, under the edge anchor
    ledger.db                   what was issued and revoked

A new fleet is built in a folder beside and renamed, so it exists whole or not at all. Issuing is: row in the ledger, then the
identity folder with the certificate last. What a certificate says is decided in shared/identity/issue.py.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat, load_pem_private_key

from provisioning.pki.ledger import Issued, Ledger
from shared import clock, durable
from shared.errors import IdentityError, StorageError
from shared.identity import issue, names, store
from shared.identity.anchors import AnchorList, sign_anchor_list, verify_anchor_list

LEDGER = "ledger.db"


def create_fleet(folder: Path, fleet: str, *, now: clock.Clock = clock.wall) -> Authority:
    """Make the authority of a new fleet: root, one anchor per tier, signed anchor list.

    Args:
        folder: must not exist yet, or be empty.
        fleet: the fleet's name.
        now: the clock certificates are dated by.

    Raises:
        IdentityError: the name cannot be used, or the folder holds something.
        StorageError: the folder cannot be written.
    """
    names.check_label(fleet, "fleet")
    if folder.exists() and any(folder.iterdir()):
        raise IdentityError(f"{folder} is not empty.", "A fleet's authority is made once; give a new folder.")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        building = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))  # mode 0700
    except OSError as error:
        raise StorageError(f"{folder} cannot be made: {error}.") from error
    try:
        _ceremony(building, fleet, now())
        building.replace(folder)
    except OSError as error:
        raise StorageError(f"{folder} cannot be made: {error}.") from error
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return Authority.open(folder, now=now)


class Authority:
    """Issues and revokes certificates of one fleet; get one from `create_fleet` or `Authority.open`.

    Attributes:
        folder: where the keys are.
        fleet: the fleet's name.
    """

    def __init__(self, folder: Path, fleet: str, *, now: clock.Clock = clock.wall) -> None:
        self.folder = folder
        self.fleet = fleet
        self._now = now
        self._ledger = Ledger(folder / LEDGER)

    @classmethod
    def open(cls, folder: Path, *, now: clock.Clock = clock.wall) -> Authority:
        """Return the authority in `folder`.

        Raises:
            IdentityError: there is none, or its anchor list is damaged.
        """
        try:
            anchors = verify_anchor_list((folder / store.ANCHORS).read_bytes(), (folder / store.ROOT).read_bytes())
        except OSError as error:
            raise IdentityError(f"{folder} is no fleet's authority: {error}.", "Make one with `terrace provision pki create`.") from error
        return cls(folder, anchors.fleet, now=now)

    def issue_region_device_ca(self, region: str) -> Path:
        """Make the region's device authority where it is missing; returns the path of its certificate.

        Raises:
            IdentityError: the region's name cannot be used.
            StorageError: the authority's folder cannot be used.
        """
        names.check_label(region, "region")
        path = self.folder / "devices" / f"{region}.pem"
        record = issue.Machine(name="devices", region=region, tier="authority", fleet=self.fleet)
        with self._ledger.writing() as ledger:
            if not path.exists():
                key = issue.new_key()
                made = issue.device_authority(region, self.fleet, key.public_key(), self._authority("anchors/edge"), now=self._now())
                path.parent.mkdir(mode=0o700, exist_ok=True)
                durable.write(path.with_suffix(".key"), _private_pem(key), mode=0o600)
                durable.write(path, made.public_bytes(Encoding.PEM), mode=0o644)
            # also for one that exists: a crash may have come between its file and its row
            Ledger.add(ledger, _row(self._authority(f"devices/{region}").certificate, record, "edge"))
        return path

    def issue_region(self, region: str, name: str, hosts: Sequence[str], *, destination: Path) -> Path:
        """Issue the identity of one of a region's own machines.

        Args:
            region: the region's name.
            name: the machine's name: `server`, or `intake-0` for a worker.
            hosts: DNS names and IP addresses it serves under; empty for a worker, which is a client only.
            destination: the identity folder to write.

        Returns:
            The identity folder; it also holds the device authority's certificate and the revocation lists.

        Raises:
            IdentityError: a name cannot be used, or the destination already holds an identity.
            StorageError: something cannot be written.
        """
        devices = self.issue_region_device_ca(region).read_bytes()
        record = issue.Machine(name=name, region=region, tier="region", fleet=self.fleet, hosts=tuple(hosts))
        return self._issue(record, "anchors/region", destination, {store.DEVICES: devices, store.DEVICES_CRL: self.crl(region)})

    def issue_device(self, region: str, name: str, *, destination: Path) -> Path:
        """Issue a device's identity (30 days) and return its folder.

        Raises:
            IdentityError: a name cannot be used, or the destination already holds an identity.
            StorageError: something cannot be written.
        """
        self.issue_region_device_ca(region)
        record = issue.Machine(name=name, region=region, tier="edge", fleet=self.fleet)
        return self._issue(record, f"devices/{region}", destination, {})

    def issue_cloud(self, name: str, hosts: Sequence[str], *, destination: Path) -> Path:
        """Issue the identity of one of the cloud's machines and return its folder.

        Raises:
            IdentityError: a name cannot be used, or the destination already holds an identity.
            StorageError: something cannot be written.
        """
        record = issue.Machine(name=name, region="cloud", tier="cloud", fleet=self.fleet, hosts=tuple(hosts))
        return self._issue(record, "anchors/cloud", destination, {})

    def crl(self, region: str) -> bytes:
        """Return new revocation lists of the region's device authority and of the edge anchor, as PEM (mosquitto's `crlfile`).

        Raises:
            IdentityError: the region has no device authority.
            StorageError: the authority's folder cannot be used.
        """
        now = self._now()
        parts = []
        with self._ledger.writing() as ledger:
            for issuer, files in ((f"devices/{region}", f"devices/{region}"), ("edge", "anchors/edge")):
                revoked = Ledger.revoked(ledger, issuer, after=now)
                made = issue.revocation_list(self._authority(files), revoked, Ledger.next_number(ledger, issuer), now=now)
                parts.append(made.public_bytes(Encoding.PEM))
        return b"".join(parts)

    def revoke(self, machine: str) -> list[Issued]:
        """Revoke a certificate by serial number, or every good certificate of a common name.

        Args:
            machine: a serial number (hexadecimal) or a common name such as `edge-1.region-1`.

        Returns:
            What was revoked; hand out `crl(region)` of each region named there.

        Raises:
            IdentityError: nothing good goes by that name.
        """
        now = self._now()
        found = [
            row for row in self._ledger.rows() if row.revoked_at is None and machine.lower() in {row.serial, f"{row.name}.{row.region}"}
        ]
        if not found:
            raise IdentityError(f"no good certificate is known as {machine}.", "See `terrace provision pki list`.")
        with self._ledger.writing() as ledger:
            return [row for row in found if Ledger.revoke(ledger, row.serial, now)]

    def issued(self) -> list[Issued]:
        """Return every certificate the authority has issued, oldest first.

        Raises:
            StorageError: the ledger is damaged.
        """
        return self._ledger.rows()

    def _issue(self, record: issue.Machine, issuer: str, destination: Path, more: dict[str, bytes]) -> Path:
        if (destination / store.CERTIFICATE).exists():
            raise IdentityError(f"{destination} already holds an identity.", "Give another folder, or remove this one first.")
        above, key = self._authority(issuer), issue.new_key()
        certificate = issue.machine(record, key.public_key(), above, now=self._now())
        chain = [certificate, *([above.certificate] if issuer.startswith("devices/") else [])]
        with self._ledger.writing() as ledger:
            Ledger.add(ledger, _row(certificate, record, issuer.removeprefix("anchors/")))
        files = {
            store.CERTIFICATE: b"".join(each.public_bytes(Encoding.PEM) for each in chain),
            store.KEY: _private_pem(key),
            store.ANCHORS: (self.folder / store.ANCHORS).read_bytes(),
            store.ROOT: (self.folder / store.ROOT).read_bytes(),
            **more,
        }
        return store.write_identity(destination, files)

    def _authority(self, name: str) -> issue.Authority:
        path = self.folder / f"{name}.pem"
        try:
            certificate = x509.load_pem_x509_certificate(path.read_bytes())
            key = load_pem_private_key(path.with_suffix(".key").read_bytes(), password=None)
        except (OSError, ValueError) as error:
            raise IdentityError(f"the authority {path} cannot be used: {error}.", "Is the region's name right?") from error
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise IdentityError(f"the key beside {path} is no P-256 key.", "Restore the folder from your backup.")
        return issue.Authority(certificate=certificate, key=key)


def _ceremony(folder: Path, fleet: str, now: float) -> None:
    root = Ed25519PrivateKey.generate()
    anchors: dict[str, str] = {}
    (folder / "anchors").mkdir(mode=0o700)
    for tier in names.TIERS:
        key = issue.new_key()
        pem = issue.anchor(tier, fleet, key, now=now).public_bytes(Encoding.PEM)
        durable.write(folder / "anchors" / f"{tier}.key", _private_pem(key), mode=0o600)
        durable.write(folder / "anchors" / f"{tier}.pem", pem, mode=0o644)
        anchors[tier] = pem.decode()
    durable.write(folder / "root.key", _private_pem(root), mode=0o600)
    durable.write(folder / store.ROOT, root.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo), mode=0o644)
    durable.write(folder / store.ANCHORS, sign_anchor_list(AnchorList(serial=1, fleet=fleet, anchors=anchors), root), mode=0o644)


def _row(certificate: x509.Certificate, record: issue.Machine, issuer: str) -> Issued:
    return Issued(
        serial=f"{certificate.serial_number:x}",
        issuer=issuer,
        tier=record.tier,
        region=record.region,
        name=record.name,
        issued_at=certificate.not_valid_before_utc.timestamp() + issue.EARLIER_S,
        not_after=certificate.not_valid_after_utc.timestamp(),
    )


def _private_pem(key: ec.EllipticCurvePrivateKey | Ed25519PrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
