"""The repository's metadata on disk: what is current, and how a change becomes visible in one step.

A change is written in the order target files, role files, snapshot, timestamp, each durably; versioned names are never those a
client is told to read before the timestamp names them. So a client sees the state before or after, and a publisher killed in
between starts again from the timestamp; files of the lost attempt are overwritten by the next one.

One publisher at a time holds the lock file; readers need none.
"""

from __future__ import annotations

import copy
import fcntl
import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, Targets, Timestamp

from cloud.keyring import Keyring
from cloud.roles import SNAPSHOT, TARGETS, TIMESTAMP, Role
from shared import durable
from shared.clock import Clock
from shared.errors import StorageError, TrustError


class MetadataStore:
    """The `metadata/` folder of a repository.

    Args:
        folder: the repository.
        keyring: signs snapshot and timestamp.
        clock: wall time, for expiry dates.
        lifetimes: seconds a role's signature lasts, where another than its default.
    """

    def __init__(self, folder: Path, *, keyring: Keyring, clock: Clock, lifetimes: Mapping[str, float]) -> None:
        self._folder = folder / "metadata"
        self._lock_path = folder / ".lock"
        self._keyring = keyring
        self._clock = clock
        self._lifetimes = dict(lifetimes)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the publisher's lock; another process waits."""
        with self._lock_path.open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def exists(self) -> bool:
        """Return whether the repository has been created and committed."""
        return (self._folder / "timestamp.json").exists()

    def root(self) -> bytes:
        """Return the newest root metadata as signed.

        Raises:
            StorageError: there is none.
        """
        versions = [int(path.name.split(".")[0]) for path in self._folder.glob("*.root.json")]
        if not versions:
            raise StorageError(f"there is no repository in {self._folder.parent}.", "Create it with the ceremony first.")
        return (self._folder / f"{max(versions)}.root.json").read_bytes()

    def timestamp(self) -> Metadata[Timestamp]:
        """Return the current timestamp."""
        return self._read("timestamp.json")

    def snapshot(self) -> Metadata[Snapshot]:
        """Return the snapshot the timestamp names."""
        return self._read(f"{self.timestamp().signed.snapshot_meta.version}.snapshot.json")

    def targets(self, name: str) -> Metadata[Targets]:
        """Return the metadata of a role with targets that the snapshot names.

        Raises:
            StorageError: it cannot be read.
        """
        return self._read(f"{self.snapshot().signed.meta[f'{name}.json'].version}.{name}.json")

    def expires(self, role: Role) -> datetime:
        """Return when a signature made now ends."""
        end = self._clock() + self._lifetimes.get(role.name, role.lifetime_s)
        return datetime.fromtimestamp(int(end), timezone.utc)

    def due(self, role: Role, signed: Any) -> bool:
        """Return whether a signature is in the last half of its life and is to be renewed."""
        half = timedelta(seconds=self._lifetimes.get(role.name, role.lifetime_s) / 2)
        return bool(signed.expires - datetime.fromtimestamp(self._clock(), timezone.utc) < half)

    def next(self, role: Role) -> Targets:
        """Return a copy of a role's current content, one version up and expiring anew, to be changed and signed."""
        signed = copy.deepcopy(self.targets(role.name).signed)
        signed.version += 1
        signed.expires = self.expires(role)
        return signed

    def sign(self, role: Role, signed: Any) -> bytes:
        """Return metadata signed by as many of the role's keys as it needs.

        Raises:
            IdentityError: the keys are not here.
        """
        metadata: Metadata[Any] = Metadata(signed)
        for signer in self._keyring.signers(role):
            metadata.sign(signer, append=True)
        return metadata.to_bytes()

    def commit(self, changed: Mapping[str, bytes]) -> int:
        """Make signed role metadata visible.

        Args:
            changed: by role name, signed metadata one version above the current; empty to renew snapshot and timestamp only.

        Returns:
            The new timestamp's version.

        Raises:
            TrustError: metadata that its role's keys have not signed, or of a wrong version.
            StorageError: the disk refuses; what clients see has not changed.
        """
        snapshot = copy.deepcopy(self.snapshot().signed)
        for name, data in changed.items():
            version = self._verified_version(name, data, snapshot.meta[f"{name}.json"].version)
            snapshot.meta[f"{name}.json"] = _described(version, data)
            durable.write(self._folder / f"{version}.{name}.json", data)
        snapshot.version += 1
        snapshot.expires = self.expires(SNAPSHOT)
        data = self.sign(SNAPSHOT, snapshot)
        durable.write(self._folder / f"{snapshot.version}.snapshot.json", data)
        return self.stamp(_described(snapshot.version, data))

    def stamp(self, snapshot: MetaFile | None = None) -> int:
        """Sign and write a new timestamp, for a new snapshot or for the current one; this is the moment a change becomes visible.

        Returns:
            Its version.
        """
        signed = copy.deepcopy(self.timestamp().signed)
        signed.version += 1
        signed.expires = self.expires(TIMESTAMP)
        signed.snapshot_meta = snapshot or signed.snapshot_meta
        durable.write(self._folder / "timestamp.json", self.sign(TIMESTAMP, signed))
        return int(signed.version)

    def found(self, root: bytes, targets: bytes, delegated: Mapping[str, bytes]) -> None:
        """Write the first version of everything; the timestamp last."""
        durable.write(self._folder / "1.root.json", root)
        meta = {"targets.json": _described(1, targets)}
        durable.write(self._folder / "1.targets.json", targets)
        for name, data in delegated.items():
            durable.write(self._folder / f"1.{name}.json", data)
            meta[f"{name}.json"] = _described(1, data)
        snapshot = self.sign(SNAPSHOT, Snapshot(version=1, expires=self.expires(SNAPSHOT), meta=meta))
        durable.write(self._folder / "1.snapshot.json", snapshot)
        stamp = Timestamp(version=1, expires=self.expires(TIMESTAMP), snapshot_meta=_described(1, snapshot))
        durable.write(self._folder / "timestamp.json", self.sign(TIMESTAMP, stamp))

    def copied(self, folder: Path, *, lifetimes: Mapping[str, float]) -> MetadataStore:
        """Copy what is current, and every root, into a folder named `metadata`, as a store whose new signatures last otherwise."""
        snapshot = self.timestamp().signed.snapshot_meta.version
        named = [f"{file.version}.{name}" for name, file in self.snapshot().signed.meta.items()]
        for name in ("timestamp.json", f"{snapshot}.snapshot.json", *named, *(path.name for path in self._folder.glob("*.root.json"))):
            durable.write(folder / name, (self._folder / name).read_bytes())
        return MetadataStore(folder.parent, keyring=self._keyring, clock=self._clock, lifetimes=lifetimes)

    def ends(self) -> float:
        """Return when the first signature a client has to check ends, Unix seconds."""
        roles = [self.targets(name.removesuffix(".json")) for name in self.snapshot().signed.meta]
        found: list[Metadata[Any]] = [Metadata.from_bytes(self.root()), self.timestamp(), self.snapshot(), *roles]
        return min(float(one.signed.expires.timestamp()) for one in found)

    def add_root(self, root: bytes) -> None:
        """Write a further root; clients find it by its version."""
        durable.write(self._folder / f"{Metadata[Root].from_bytes(root).signed.version}.root.json", root)

    def _verified_version(self, name: str, data: bytes, current: int) -> int:
        delegator: Any = Metadata[Any].from_bytes(self.root()).signed if name == TARGETS.name else self.targets(TARGETS.name).signed
        try:
            metadata: Metadata[Any] = Metadata.from_bytes(data)
            delegator.verify_delegate(name, metadata.signed_bytes, metadata.signatures)
        except (RepositoryError, ValueError) as error:
            raise TrustError(f"the new metadata of {name} is not signed by its keys: {error}.") from error
        if metadata.signed.version != current + 1:
            raise TrustError(f"the new metadata of {name} has version {metadata.signed.version}, {current + 1} was due.")
        return int(metadata.signed.version)

    def _read(self, name: str) -> Metadata[Any]:
        try:
            return Metadata.from_bytes((self._folder / name).read_bytes())
        except (OSError, RepositoryError) as error:
            raise StorageError(f"the repository's {name} cannot be read: {error}.", "Restore the repository from a backup.") from error


def _described(version: int, data: bytes) -> MetaFile:
    return MetaFile(version=version, length=len(data), hashes={"sha256": hashlib.sha256(data).hexdigest()})
