"""A machine's identity on disk: one folder, read as a whole, written so that a crash leaves no half of one.

certificate.pem   the machine's certificate, then the authorities up to (not including) the anchor; written last
key.pem           its private key, P-256, mode 0600; nobody else may read it
anchors.json      the anchor list, signed by the fleet's root
root.pub          the root's public key (PEM)
devices.pem       regions only: the certificate of the region's device authority
devices.crl.pem   regions only: what that authority and the edge anchor revoked (mosquitto's `crlfile`)
"""

from __future__ import annotations

import stat
from collections.abc import Mapping
from pathlib import Path

from shared import durable
from shared.errors import IdentityError, StorageError
from shared.identity.credentials import ANCHORS, CERTIFICATE, FILES, KEY, ROOT, Credentials, read_certificates, read_credentials
from shared.identity.crl import Revocations, read_crls

__all__ = ["ANCHORS", "CERTIFICATE", "DEVICES", "DEVICES_CRL", "KEY", "ROOT", "Identity", "write_identity"]

DEVICES, DEVICES_CRL = "devices.pem", "devices.crl.pem"


class Identity(Credentials, frozen=True, kw_only=True):
    """A machine's credentials and the folder they are in.

    Attributes:
        folder: where the files are.
    """

    folder: Path

    @classmethod
    def load(cls, folder: Path) -> Identity:
        """Read an identity folder.

        Raises:
            IdentityError: a file is missing, damaged, readable by others, foreign, or does not belong to the rest.
        """
        files = {name: _read(folder / name) for name in FILES}
        if (folder / KEY).stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise IdentityError(f"others than its owner may read the private key {folder / KEY}.", f"Type: chmod 600 {folder / KEY}")
        read = read_credentials(files, where=str(folder))
        return cls(folder=folder, peer=read.peer, chain=read.chain, anchors=read.anchors, key=read.key)

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

    def revocations(self, pem: bytes | None = None) -> Revocations:
        """Read the devices' revocation lists (regions only).

        Args:
            pem: their content, when it has been read already.

        Raises:
            IdentityError: they are missing, damaged, or not signed by this region's device authority and the edge anchor.
        """
        path = self.folder / DEVICES
        authorities = [*read_certificates(_read(path), str(path)), self.anchors.certificate("edge")]
        return read_crls(self.revocation_lists() if pem is None else pem, authorities)

    def revocation_lists(self) -> bytes:
        """Read the file of the devices' revocation lists (regions only), unchecked.

        Raises:
            IdentityError: it is missing.
        """
        return _read(self.crl_path)


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
        durable.write(folder / name, files[name], mode=0o600 if name == KEY else 0o644)
    return folder


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise IdentityError(
            f"the identity file {path} cannot be read: {error.strerror}.", "Issue the identity with `terrace provision pki`."
        ) from error
