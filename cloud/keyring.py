"""The repository's private keys: Ed25519, one PEM file each, 0600, in one folder per place (offline, approver, signer, online).

A folder that is not mounted only matters to the roles whose keys lie in it.
"""

from __future__ import annotations

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from securesystemslib.signer import CryptoSigner

from cloud.roles import Role
from shared import durable
from shared.errors import IdentityError


class Keyring:
    """Keys below one folder.

    Args:
        folder: holds `<place>/<role>-<number>.pem`.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def generate(self, role: Role) -> list[CryptoSigner]:
        """Make a role's keys.

        Raises:
            IdentityError: the role has keys already.
        """
        signers = []
        for number in range(1, role.keys + 1):
            path = self._path(role, number)
            if path.exists():
                raise IdentityError(f"there is a key {path} already.", "Keys are never overwritten; move the folder away to start anew.")
            signer = CryptoSigner.generate_ed25519()
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            durable.write(path, signer.private_bytes, mode=0o600)
            signers.append(signer)
        return signers

    def signers(self, role: Role) -> list[CryptoSigner]:
        """Return as many of a role's signers as its threshold asks for.

        Raises:
            IdentityError: too few keys are here, or a key is readable by others or is no Ed25519 key.
        """
        found = [self._load(path) for number in range(1, role.keys + 1) if (path := self._path(role, number)).exists()]
        if len(found) < role.threshold:
            raise IdentityError(
                f"{role.name} is signed by {role.threshold} keys, {len(found)} are in {self.folder / role.place}.",
                "Mount the folder with its keys, or run this step where they are.",
            )
        return found[: role.threshold]

    def _path(self, role: Role, number: int) -> Path:
        return self.folder / role.place / f"{role.name}-{number}.pem"

    @staticmethod
    def _load(path: Path) -> CryptoSigner:
        try:
            if path.stat().st_mode & 0o077:
                raise IdentityError(f"the key {path} can be read by others.", f"Run: chmod 600 {path}")
            key = load_pem_private_key(path.read_bytes(), password=None)
        except (OSError, ValueError) as error:
            raise IdentityError(f"the key {path} cannot be read: {error}.") from error
        if not isinstance(key, Ed25519PrivateKey):
            raise IdentityError(f"the key {path} is no Ed25519 key.")
        return CryptoSigner(key)
