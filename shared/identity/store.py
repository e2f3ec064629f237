"""A machine's identity on disk: one folder, read as a whole, written so that a crash leaves no half of one.

    certificate.pem   the machine's certificate, then the authorities up to (not including) the anchor; written last
    key.pem           its private key, P-256, mode 0600; nobody else may read it
    anchors.json      the anchor list, signed by the fleet's root
    root.pub          the root's public key (PEM)
    devices.pem       regions only: the certificate of the region's device authority
    devices.crl.pem   regions only: what that authority and the edge anchor revoked (mosquitto's `crlfile`)

Loading checks everything except the time, so that a machine with a wrong clock still starts and serves; `Identity.check` adds the time.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from shared.errors import IdentityError, StorageError
from shared.identity.anchors import AnchorList, verify_anchor_list
from shared.identity.chain import peer_of, verify_chain
from shared.identity.crl import Revocations, read_crls
from shared.identity.names import Peer

CERTIFICATE, KEY, ANCHORS, ROOT = "certificate.pem", "key.pem", "anchors.json", "root.pub"
DEVICES, DEVICES_CRL = "devices.pem", "devices.crl.pem"


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """Who this machine is, and whom it trusts.

    Attributes:
        folder: where the files are.
        peer: this machine, as others see it.
        chain: certificates as DER, leaf first, without the anchor.
        anchors: the verified anchor list.
        key: the private key; use `sign`.
    """

    folder: Path
    peer: Peer
    chain: tuple[bytes, ...]
    anchors: AnchorList
    key: ec.EllipticCurvePrivateKey

    @classmethod
    def load(cls, folder: Path) -> Identity:
        """Read an identity folder.

        Raises:
            IdentityError: a file is missing, damaged, readable by others, foreign, or does not belong to the rest.
        """
        anchors = verify_anchor_list(_read(folder / ANCHORS), _read(folder / ROOT))
        key = _read_key(folder / KEY)
        leaf, *above = _read_certificates(folder / CERTIFICATE)
        chain = tuple(certificate.public_bytes(Encoding.DER) for certificate in (leaf, *above))
        if leaf.public_key() != key.public_key():
            raise IdentityError(f"the key in {folder} is not the key of its certificate.", "Issue the identity anew.")
        tier = peer_of(chain[0]).tier
        peer = verify_chain(chain, anchors=anchors, tier=tier, now=leaf.not_valid_before_utc.timestamp())
        return cls(folder=folder, peer=peer, chain=chain, anchors=anchors, key=key)

    @property
    def certificate_path(self) -> Path:
        """Return the path of the certificate chain (PEM)."""
        return self.folder / CERTIFICATE

    @property
    def key_path(self) -> Path:
        """Return the path of the private key (PEM)."""
        return self.folder / KEY

    @property
    def crl_path(self) -> Path:
        """Return the path of the devices' revocation lists (regions only)."""
        return self.folder / DEVICES_CRL

    def sign(self, data: bytes) -> bytes:
        """Return an ECDSA signature (P-256, SHA-256, DER) over `data`."""
        return self.key.sign(data, ec.ECDSA(SHA256()))

    def check(self, now: float) -> Peer:
        """Return this machine's peer if its own certificate is valid now.

        Raises:
            IdentityError: it is expired or not yet valid.
        """
        return verify_chain(self.chain, anchors=self.anchors, tier=self.peer.tier, now=now)

    def revocations(self) -> Revocations:
        """Read the devices' revocation lists (regions only).

        Raises:
            IdentityError: they are missing, damaged, or not signed by this region's device authority and the edge anchor.
        """
        authorities = [*_read_certificates(self.folder / DEVICES), self.anchors.certificate("edge")]
        return read_crls(_read(self.crl_path), authorities)


def write_identity(folder: Path, files: Mapping[str, bytes]) -> Path:
    """Write an identity folder; the certificate comes last, so that a crash leaves nothing that loads.

    Args:
        folder: made with mode 0700 where it is missing.
        files: file name to content; must name the certificate.

    Returns:
        The folder.

    Raises:
        IdentityError: the folder already holds a certificate.
        StorageError: it cannot be written.
    """
    if (folder / CERTIFICATE).exists():
        raise IdentityError(f"{folder} already holds an identity.", "Give another folder, or remove this one first.")
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"the folder {folder} cannot be made: {error}.") from error
    for name in sorted(files, key=lambda name: name == CERTIFICATE):
        write_file(folder / name, files[name], mode=0o600 if name == KEY else 0o644)
    return folder


def write_file(path: Path, data: bytes, *, mode: int = 0o600) -> None:
    """Write a file whole or not at all: temporary file, fsync, rename, fsync of the folder.

    Raises:
        StorageError: it cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, mode)
            file.write(data)
            file.flush()
            os.fsync(descriptor)
        temporary.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise StorageError(f"{path} cannot be written: {error}.", "Free space on its disk, or correct its folder's permissions.") from error


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise IdentityError(
            f"the identity file {path} cannot be read: {error.strerror}.", "Issue the identity with `terrace provision pki`."
        ) from error


def _read_key(path: Path) -> ec.EllipticCurvePrivateKey:
    data = _read(path)
    if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise IdentityError(f"others than its owner may read the private key {path}.", f"Type: chmod 600 {path}")
    try:
        key = load_pem_private_key(data, password=None)
    except (ValueError, TypeError) as error:
        raise IdentityError(f"the private key {path} is damaged: {error}.", "Issue the identity anew.") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise IdentityError(f"the private key {path} is not on the curve P-256.", "Issue the identity anew.")
    return key


def _read_certificates(path: Path) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(_read(path))
    except ValueError as error:
        raise IdentityError(f"the certificate file {path} is damaged: {error}.", "Issue the identity anew.") from error
