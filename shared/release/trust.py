"""May this machine believe a release? python-tuf's client over our own transport, with floors it cannot forget.

Here: refresh, look-up, resumable download, desired state. Not here: signing (the cloud), what to do with a release (updater).

Rules, in order:
1. The root of trust is handed in at construction; what lies in TUF's own folder is only a cache.
2. Root, timestamp, snapshot and targets are refreshed and checked by TUF: signatures, thresholds, expiry, versions, hashes.
3. Their versions are compared with the floors (see floors); older is refused even where TUF has forgotten.
4. A target is looked up through the delegations; it is downloaded to `.part`, never longer than signed, checked, then moved.
5. A failed refresh leaves nothing usable: until one succeeds every look-up raises. Nothing here touches inference.

Every error is a TrustError (what was served is not what was signed, or has expired), a LinkError (not reachable) or a
StorageError (disk).

Example:
    client = TrustedClient(state / "trust", bootstrap_root=root, fetch=from_https(https.get))
    client.refresh()
    wanted = client.desired("acme").models["student"]
"""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote, unquote

import msgspec
from tuf.api import exceptions
from tuf.api.metadata import Metadata, Root, TargetFile
from tuf.ngclient import FetcherInterface, Updater, UpdaterConfig

from shared import durable
from shared.errors import IdentityError, LinkError, StorageError, TrustError
from shared.release.desired import LARGEST_DESIRED_BYTES, Desired, decode_desired, rollout_path
from shared.release.fetch import Fetch
from shared.release.floors import Floors, decode_floors, encode_floors

LARGEST_ROOT_BYTES = 64 << 10
LARGEST_TARGETS_BYTES = 4 << 20
_ORIGIN = "https://repository/"  # python-tuf wants a URL; only what follows it is ever used


class TargetInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A signed file: its target path, length in bytes, SHA-256 in hex, and what the signer wrote beside it."""

    path: str
    length: int
    sha256: str
    custom: dict[str, Any] = {}

    @property
    def remote(self) -> str:
        """Where it lies in the repository: below `targets/`, its file name prefixed with its hash."""
        folder, slash, name = self.path.rpartition("/")
        return f"targets/{folder}{slash}{self.sha256}.{name}"


class TrustedClient:
    """A view on one repository that only ever shows what its signers signed. Thread-safe.

    Args:
        folder: this machine's trust state: `tuf/` is a cache, `floors.json` beside it is not.
        bootstrap_root: a root metadata file this machine was given when it was provisioned.
        fetch: where bytes come from, e.g. `fetch.from_https(client.get)`.
    """

    def __init__(self, folder: Path, *, bootstrap_root: bytes, fetch: Fetch) -> None:
        self._folder = folder
        self._root = bootstrap_root
        self._fetcher = _Fetcher(fetch)
        self._updater: Updater | None = None
        self._lock = threading.RLock()

    @property
    def bytes_fetched(self) -> int:
        """Bytes taken from the source since construction, metadata and targets."""
        return self._fetcher.bytes_fetched

    def floors(self) -> Floors:
        """Return the lowest versions this machine still believes.

        Raises:
            TrustError: the file is damaged.
            StorageError: it cannot be read.
        """
        try:
            return decode_floors(self._floors_path.read_bytes())
        except FileNotFoundError:
            return Floors()
        except OSError as error:
            raise StorageError(f"{self._floors_path} cannot be read: {error}.") from error

    def refresh(self) -> int:
        """Fetch and check the newest top-level metadata.

        Returns:
            The timestamp's version, which grows with every change of the repository.

        Raises:
            TrustError: forged, expired or older than seen before.
            LinkError: the source cannot be reached.
            StorageError: the disk refuses.
        """
        with self._lock, _translated():
            self._updater = None
            cache = self._folder / "tuf"
            cache.mkdir(parents=True, exist_ok=True)
            updater = Updater(
                str(cache),
                f"{_ORIGIN}metadata/",
                fetcher=self._fetcher,
                config=UpdaterConfig(root_max_length=LARGEST_ROOT_BYTES, targets_max_length=LARGEST_TARGETS_BYTES),
                bootstrap=self._root,
            )
            updater.refresh()
            version = metadata_version((cache / "timestamp.json").read_bytes())
            snapshot = metadata_version((cache / "snapshot.json").read_bytes())
            root = metadata_version((cache / "root.json").read_bytes())
            self._raise_floors(self.floors().raised(root=root, timestamp=version, snapshot=snapshot))
            self._updater = updater
            return version

    def target(self, path: str) -> TargetInfo | None:
        """Return what is signed about a target, or None when nobody who may has signed it.

        Raises:
            TrustError: the delegated metadata is forged or expired, or no refresh has succeeded.
            LinkError: it has to be fetched and cannot.
            StorageError: the disk refuses.
        """
        with self._lock, _translated():
            found = self._checked().get_targetinfo(path)
        return None if found is None else _info(found)

    def require(self, path: str) -> TargetInfo:
        """Return what is signed about a target that must exist.

        Raises:
            TrustError: it is not signed; otherwise as `target`.
        """
        found = self.target(path)
        if found is None:
            raise TrustError(f"nobody who may has signed {path}.", "Has the release been published?")
        return found

    def fetch(self, target_path: str, destination: Path) -> Path:
        """Download a target unless it is there already; an interrupted download goes on where it stopped.

        Args:
            target_path: the target.
            destination: the finished file; it appears only whole and checked.

        Raises:
            TrustError: not signed, or what was served is not what was signed; nothing of it is kept.
            LinkError: the source cannot be reached or stopped early; what has come is kept for the next try.
            StorageError: the disk refuses.
        """
        info = self.require(target_path)
        if _is_whole(destination, info):
            return destination
        part = destination.with_name(f"{destination.name}.{info.sha256[:16]}.part")
        with _translated():
            destination.parent.mkdir(parents=True, exist_ok=True)
            self._download(info, part)
            if not _is_whole(part, info):
                part.unlink()
                raise TrustError(f"what was served as {target_path} is not what was signed.", "Another source may serve the right file.")
        durable.move(part, destination)
        return destination

    def read(self, target_path: str, *, limit_bytes: int) -> bytes:
        """Return a small target's bytes, not kept on disk.

        Raises:
            TrustError: not signed, larger than `limit_bytes`, or not what was signed.
            LinkError: the source cannot be reached.
            StorageError: the disk refuses.
        """
        info = self.require(target_path)
        if info.length > limit_bytes:
            raise TrustError(f"{target_path} has {info.length} bytes, {limit_bytes} are allowed.")
        buffer = io.BytesIO()
        with _translated():
            self._copy(info, buffer, 0)
            _tuf_file(info).verify_length_and_hashes(buffer.getvalue())
        return buffer.getvalue()

    def desired(self, fleet: str) -> Desired:
        """Return a fleet's desired state and raise the floors by it.

        Raises:
            TrustError: not signed, for another fleet, or older than one seen before.
            LinkError: the source cannot be reached.
            StorageError: the disk refuses.
        """
        desired = decode_desired(self.read(rollout_path(fleet), limit_bytes=LARGEST_DESIRED_BYTES))
        if desired.fleet != fleet:
            raise TrustError(f"the desired state of {fleet} is made for the fleet {desired.fleet}.")
        minimum = {family: model.minimum_release for family, model in desired.models.items()}
        with self._lock:
            self._raise_floors(self.floors().raised_by_desired(fleet, desired.version, minimum))
        return desired

    def trusted(self, role: str) -> bytes:
        """Return the checked metadata of a role as it was signed, e.g. `targets`; delegated roles after a look-up that needed them.

        Raises:
            TrustError: no refresh has succeeded.
            StorageError: it has not been needed yet, or cannot be read.
        """
        with self._lock, _translated():
            self._checked()
            return (self._folder / "tuf" / f"{quote(role, '')}.json").read_bytes()

    def roots(self) -> dict[int, bytes]:
        """Return every checked root from the bootstrap root on, by version.

        Raises:
            TrustError: no refresh has succeeded.
            StorageError: they cannot be read.
        """
        with self._lock, _translated():
            self._checked()
            history = self._folder / "tuf" / "root_history"
            return {int(path.name.split(".")[0]): path.read_bytes() for path in history.glob("*.root.json")}

    @property
    def _floors_path(self) -> Path:
        return self._folder / "floors.json"

    def _checked(self) -> Updater:
        if self._updater is None:
            raise TrustError("there is no trusted metadata.", "Refresh first; a refused refresh leaves nothing to use.")
        return self._updater

    def _raise_floors(self, floors: Floors) -> None:
        if floors != self.floors():
            durable.write(self._floors_path, encode_floors(floors), mode=0o600)

    def _download(self, info: TargetInfo, part: Path) -> None:
        with part.open("ab") as file:
            start = file.tell()
            if start < info.length:
                self._copy(info, file, start)

    def _copy(self, info: TargetInfo, sink: BinaryIO, start: int) -> None:
        length = start
        for chunk in self._fetcher.read(info.remote, start):
            length += len(chunk)
            if length > info.length:
                raise exceptions.DownloadLengthMismatchError(f"{info.path} is longer than signed")
            sink.write(chunk)
        if length < info.length:
            raise LinkError(f"{info.path} ended after {length} of {info.length} bytes.", "The download goes on at the next try.")


def load_root(path: Path) -> bytes:
    """Return the root metadata a machine was provisioned with.

    Raises:
        IdentityError: it is missing or is no root metadata.
    """
    try:
        data = path.read_bytes()
        Metadata[Root].from_bytes(data)
    except (OSError, exceptions.RepositoryError) as error:
        raise IdentityError(
            f"the root of trust {path} cannot be used: {error}.", "Copy the repository's root.json there when provisioning."
        ) from error
    return data


def metadata_version(data: bytes) -> int:
    """Return the version of metadata that has been checked already.

    Raises:
        TrustError: it is no metadata.
    """
    with _translated():
        metadata: Metadata[Any] = Metadata.from_bytes(data)
        return int(metadata.signed.version)


class _Fetcher(FetcherInterface):
    """python-tuf's port to the network, over our fetch; counts bytes."""

    def __init__(self, fetch: Fetch) -> None:
        self._source = fetch
        self.bytes_fetched = 0

    def _fetch(self, url: str) -> Iterator[bytes]:
        try:
            yield from self.read(unquote(url.removeprefix(_ORIGIN)), 0)
        except FileNotFoundError as error:
            raise exceptions.DownloadHTTPError(f"{error} is not there", 404) from error

    def read(self, path: str, offset: int) -> Iterator[bytes]:
        for chunk in self._source(path, offset):
            self.bytes_fetched += len(chunk)
            yield chunk


def _info(found: TargetFile) -> TargetInfo:
    custom = found.custom if isinstance(found.custom, dict) else {}
    sha256 = found.hashes.get("sha256")
    if sha256 is None:
        raise TrustError(f"{found.path} is signed without a SHA-256.")
    return TargetInfo(path=found.path, length=found.length, sha256=sha256, custom=custom)


def _tuf_file(info: TargetInfo) -> TargetFile:
    return TargetFile(info.length, {"sha256": info.sha256}, info.path)


def _is_whole(path: Path, info: TargetInfo) -> bool:
    try:
        with path.open("rb") as file:
            _tuf_file(info).verify_length_and_hashes(file)
    except (FileNotFoundError, exceptions.LengthOrHashMismatchError):
        return False
    return True


@contextmanager
def _translated() -> Iterator[None]:
    """Turn python-tuf's and the system's exceptions into ours."""
    try:
        yield
    except exceptions.ExpiredMetadataError as error:
        remedy = "Updates wait; is the cloud's publisher running, and this machine's clock right?"
        raise TrustError(f"the repository's metadata has expired: {error}.", remedy) from error
    except (exceptions.RepositoryError, exceptions.DownloadLengthMismatchError) as error:
        raise TrustError(f"the repository is not what its signers signed: {error}.") from error
    except exceptions.DownloadError as error:
        raise LinkError(f"the repository cannot be reached: {error.__cause__ or error}.") from error
    except FileNotFoundError as error:
        raise LinkError(f"the repository has no {error}.", "It is asked again later.") from error
    except OSError as error:
        raise StorageError(f"the trust store cannot be used: {error}.") from error
