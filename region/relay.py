"""The release relay: a region's checked copy of the cloud's repository, from which its devices update.

A device trusts nothing here, it checks every byte itself; the region checks too, so that a bad repository ends at the relay and
metadata asked for by a thousand devices costs the cloud one request.

Rules, in order:
1. Every `interval_s`, or when told, the cloud's repository is refreshed through the region's own trust client.
2. Metadata is served only after that: each role's checked file under its version, the timestamp last. An unchecked or failed refresh
   changes nothing of what is served; without the cloud the last checked state is served until it expires.
3. A target is fetched when a device first asks for it, once however many ask, checked, and kept under its hash.
4. Targets not asked for lately go when the cache is over its capacity.
5. A new timestamp is told to `on_change`, which announces "refresh now".
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from shared import clock, durable, log
from shared.errors import AccessError, StorageError, TerraceError
from shared.release.fetch import Fetch
from shared.release.trust import LARGEST_ROOT_BYTES, TrustedClient, metadata_version

CHANGED, STALE = "relay_changed", "relay_not_refreshed"
ROLES = ("snapshot", "targets", "manual", "auto", "rollout", "config", "agent")
LOOK_UPS = ("models/any/manual/0", "models/any/auto/0", "rollout/any", "config/any", "agent/any")
"""One path per delegated role: looking them up makes the trust client fetch and check the role's metadata."""
KEPT_VERSIONS = 8
IN_USE_S = 600.0
_METADATA = re.compile(r"(?:([0-9]{1,9})\.)?([a-z]{1,32})\.json")
_TARGET = re.compile(r"(?P<folder>[A-Za-z0-9_.\-/]{1,200}/)?(?P<sha256>[0-9a-f]{64})\.(?P<name>[A-Za-z0-9_.\-]{1,120})")


class Relay:
    """Keeps and serves the copy. Safe to call from any thread.

    Args:
        folder: the cache.
        client: the region's trust client over the cloud's repository.
        fetch: the cloud's repository itself, for roots older than the region's own.
        on_change: called with the timestamp's version when devices have something new to ask for.
        on_refresh: called after every successful refresh, e.g. to bring the region's own models up to date.
        interval_s: seconds between refreshes.
        capacity_bytes: what targets may take on disk.
    """

    def __init__(
        self,
        folder: Path,
        *,
        client: TrustedClient,
        fetch: Fetch,
        on_change: Callable[[int], None],
        on_refresh: Callable[[], None] = lambda: None,
        interval_s: float = 30.0,
        capacity_bytes: int = 2 << 30,
    ) -> None:
        self._metadata = folder / "metadata"
        self._targets = folder / "targets"
        self._client = client
        self._fetch = fetch
        self._on_change = on_change
        self._on_refresh = on_refresh
        self._interval_s = interval_s
        self._capacity_bytes = capacity_bytes
        self._flights: dict[str, threading.Lock] = {}
        self._guard = threading.Lock()
        self._refreshing = threading.Lock()
        self._wake = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="relay", daemon=True)
        self.problem = ""

    def start(self) -> None:
        """Begin to refresh."""
        self._thread.start()

    def stop(self) -> None:
        """End after the refresh in hand."""
        self._stopping = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(timeout=30)

    def ask(self) -> None:
        """Refresh soon; returns at once."""
        self._wake.set()

    def version(self) -> int:
        """Return the version of the timestamp that is served, 0 before the first."""
        return max((int(path.name.split(".")[0]) for path in self._metadata.glob("*.timestamp.json")), default=0)

    def refresh(self) -> bool:
        """Refresh once; False when the cloud cannot be reached or believed, with the reason in `problem`."""
        with self._refreshing:
            try:
                changed = self._refresh()
                if changed:
                    log.get("relay").info(CHANGED, version=changed)
                    self._on_change(changed)  # devices hear of it whether or not the region can follow itself
                self._on_refresh()
            except TerraceError as error:
                self.problem = str(error)
                log.get("relay").warning(STALE, reason=self.problem)
                return False
        self.problem = ""
        return True

    def metadata(self, name: str) -> Path:
        """Return the file of a metadata name as TUF clients ask for it: `timestamp.json`, `7.snapshot.json`, `2.root.json`.

        Raises:
            AccessError: there is no such metadata.
            LinkError: an old root has to come from the cloud, which cannot be reached.
        """
        parsed = _METADATA.fullmatch(name)
        if parsed is None:
            raise AccessError(f"{name[:80]!r} names no metadata.")
        if name == "timestamp.json":
            name = f"{self.version()}.timestamp.json"
        path = self._metadata / name
        if not path.is_file() and parsed[2] == "root" and parsed[1]:
            self._fetch_old_root(int(parsed[1]), path)
        if not path.is_file():
            raise AccessError(f"there is no {name} here.")
        return path

    def target(self, path: str) -> Path:
        """Return the file of a hash-prefixed target path, fetched and checked if it is not here yet.

        Raises:
            AccessError: nothing of that name and hash is signed.
            LinkError: the cloud cannot be reached.
            TrustError: the cloud served something else than was signed.
            StorageError: the disk refuses.
        """
        parsed = _TARGET.fullmatch(path)
        if parsed is None:
            raise AccessError(f"{path[:80]!r} names no target.")
        sha256 = parsed["sha256"]
        cached = self._targets / sha256
        with self._flight(sha256):
            if not cached.is_file():
                self._fetch_target(f"{parsed['folder'] or ''}{parsed['name']}", sha256, cached)
            cached.touch()
        return cached

    def _run(self) -> None:
        while not self._stopping:
            self._wake.clear()
            self.refresh()
            self._wake.wait(self._interval_s)

    def _refresh(self) -> int:
        """Return the new timestamp's version, 0 when it is the one that is served."""
        before = self.version()
        version = self._client.refresh()
        if version == before:
            return 0
        for path in LOOK_UPS:
            self._client.target(path)
        for number, root in self._client.roots().items():
            self._keep(f"{number}.root.json", root)
        for role in ROLES:
            data = self._client.trusted(role)
            self._keep(f"{metadata_version(data)}.{role}.json", data)
            self._forget_old(role)
        durable.write(self._metadata / f"{version}.timestamp.json", self._client.trusted("timestamp"))
        self._forget_old("timestamp")
        return version

    def _keep(self, name: str, data: bytes) -> None:
        path = self._metadata / name
        if not path.is_file() or path.read_bytes() != data:
            durable.write(path, data)

    def _forget_old(self, role: str) -> None:
        files = sorted(self._metadata.glob(f"*.{role}.json"), key=lambda path: int(path.name.split(".")[0]))
        for path in files[:-KEPT_VERSIONS]:
            path.unlink(missing_ok=True)

    def _fetch_old_root(self, version: int, path: Path) -> None:
        """Fetch a root from before the region's own; a newer one would have come with a refresh."""
        known = [int(found.name.split(".")[0]) for found in self._metadata.glob("*.root.json")]
        if not known or version > min(known):
            return
        parts, length = [], 0
        try:
            for chunk in self._fetch(f"metadata/{version}.root.json", 0):
                parts.append(chunk)
                length += len(chunk)
                if length > LARGEST_ROOT_BYTES:
                    return
        except FileNotFoundError:
            return
        durable.write(path, b"".join(parts))

    def _fetch_target(self, path: str, sha256: str, destination: Path) -> None:
        info = self._client.target(path)
        if info is None or info.sha256 != sha256:
            raise AccessError(f"no {path} with that hash is signed.")
        self._client.fetch(path, destination)
        self._make_room(destination)

    def _make_room(self, newest: Path) -> None:
        try:
            found = sorted(((path.stat().st_mtime, path.stat().st_size, path) for path in self._targets.iterdir()), reverse=True)
            kept = 0
            for used_at, size, path in found:
                kept += size
                if kept > self._capacity_bytes and path != newest and clock.wall() - used_at > IN_USE_S:
                    path.unlink()
        except OSError as error:
            raise StorageError(f"the relay's cache {self._targets} cannot be tidied: {error}.") from error

    @contextmanager
    def _flight(self, name: str) -> Iterator[None]:
        with self._guard:
            lock = self._flights.setdefault(name, threading.Lock())
        with lock:
            yield
        with self._guard:
            if not lock.locked():
                self._flights.pop(name, None)
