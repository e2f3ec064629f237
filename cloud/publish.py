"""The publisher: puts releases, files and desired states into the repository.

Here: what may be added and how it becomes visible in one step. Not here: keys and first metadata (ceremony), the rules an automatic
release must meet (signer), who may run what (rollout).

A release is two files, `000002.onnx` and its `card.json`, and deltas from earlier releases where they are smaller. Adding one signs
only its role, snapshot and timestamp. A release's number is used once: the same files again change nothing, others are refused.

Example:
    repository = Repository.create(state / "repository", keys)
    repository.add_release("student", "manual", 1, Path("model.onnx"), card)
    repository.set_desired(Desired(version=1, fleet="acme", models={"student": DesiredModel(release=1)}))
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from tuf.api.metadata import TargetFile

from cloud import ceremony, rules
from cloud.keyring import Keyring
from cloud.metadata import MetadataStore
from cloud.roles import AUTO, CONFIG, MANUAL, ROLLOUT, SNAPSHOT, TIMESTAMP, Role, role_of
from cloud.signing import SignRequest, sign_in_process
from shared import durable
from shared.clock import Clock, wall
from shared.errors import InputError, StorageError, TrustError
from shared.release import delta
from shared.release.card import target_path
from shared.release.desired import ROLES, Desired, decode_desired, encode_desired, rollout_path

Sign = Callable[[SignRequest], bytes]


class Published(msgspec.Struct, frozen=True, kw_only=True):
    """What a release weighs: bytes of the full model, and of the delta by base release (only where smaller)."""

    model: str
    role: str
    release: int
    sha256: str
    full_bytes: int
    delta_bytes: dict[int, int]


class Repository:
    """A TUF repository on disk: `metadata/` and `targets/` are what clients read.

    Args:
        folder: the repository.
        keys: the folder of key folders; those of offline roles may be missing.
        sign_auto: signs automatic releases; by default a process of its own (cloud.signer).
        clock: wall time.
        lifetimes: seconds a role's signature lasts, where another than its default.
    """

    def __init__(
        self,
        folder: Path,
        keys: Path,
        *,
        sign_auto: Sign = sign_in_process,
        clock: Clock = wall,
        lifetimes: Mapping[str, float] | None = None,
    ) -> None:
        self.folder = folder
        self._keys = keys
        self._sign_auto = sign_auto
        self._store = MetadataStore(folder, keyring=Keyring(keys), clock=clock, lifetimes=lifetimes or {})

    @classmethod
    def create(cls, folder: Path, keys: Path, *, clock: Clock = wall, lifetimes: Mapping[str, float] | None = None) -> Repository:
        """Hold the ceremony and return the new repository.

        Raises:
            ConfigurationError: there is one already.
            IdentityError: there are keys already.
        """
        ceremony.found(folder, keys, clock=clock, lifetimes=lifetimes)
        return cls(folder, keys, clock=clock, lifetimes=lifetimes)

    def exists(self) -> bool:
        """Return whether there is a repository."""
        return self._store.exists()

    def root(self) -> bytes:
        """Return the newest root metadata: what machines are provisioned with.

        Raises:
            StorageError: there is no repository.
        """
        return self._store.root()

    def version(self) -> int:
        """Return the timestamp's version, which grows with every change."""
        return int(self._store.timestamp().signed.version)

    def add_release(
        self, model: str, role: str, release: int, onnx: Path, card: bytes, deltas_from: Sequence[int] = (), *, gates: bytes = b""
    ) -> Published:
        """Add a release with its deltas.

        Args:
            model: the family.
            role: `manual` or `auto`.
            release: its number, from 1.
            onnx: the model.
            card: the card; its family, number and `onnx_sha256` must fit.
            deltas_from: earlier releases of the family to make deltas from.
            gates: for `auto`, the gates' evidence (see cloud.evidence), checked by the signing process.

        Raises:
            InputError: the model cannot be read, or a base does not exist.
            TrustError: the card does not fit, the number is used, or the signing process refused.
            IdentityError: the role's keys are not here.
            StorageError: the disk refuses; nothing has become visible.
        """
        content = _read(onnx)
        rules.check_card(card, model, release, content)
        files = {target_path(model, role, release, "onnx"): content, target_path(model, role, release, "card.json"): card}
        custom: dict[str, dict[str, Any]] = {}
        with self._store.locked():
            rules.check_number(model, role, release, self.releases(model))
            deltas = self._deltas(model, role, release, content, deltas_from)
            for base, data in deltas.items():
                path = target_path(model, role, release, f"from-{base:06d}.delta")
                files[path] = data
                custom[path] = {"base": base, "result": target_path(model, role, release, "onnx"), "result_sha256": _sha256(content)}
            self._publish(MANUAL if role == MANUAL.name else AUTO, files, custom, gates=gates)
        sizes = {base: len(data) for base, data in deltas.items()}
        return Published(model=model, role=role, release=release, sha256=_sha256(content), full_bytes=len(content), delta_bytes=sizes)

    def add_file(self, path: str, content: bytes | Path) -> None:
        """Add any other target, signed by the role that may: `models/replay/manual/000001.npz`, `config/…`, `agent/…`.

        Raises:
            InputError: the file cannot be read.
            TrustError: no role may sign that path, automatic releases among them, or other content stands there.
            IdentityError: the role's keys are not here.
            StorageError: the disk refuses.
        """
        role = role_of(path)
        if role in (AUTO, ROLLOUT):
            raise TrustError(f"{path} is not added as a plain file.", "Use add_release or set_desired.")
        with self._store.locked():
            self._publish(role, {path: _read(content) if isinstance(content, Path) else content}, {}, replace=role is CONFIG)

    def set_desired(self, desired: Desired) -> None:
        """Publish a fleet's desired state.

        Raises:
            TrustError: its version does not grow, a minimum is lowered, or it names a release or delta that is not published.
            IdentityError: the rollout key is not here.
            StorageError: the disk refuses.
        """
        data = encode_desired(desired)
        with self._store.locked():
            rules.check_desired(desired, self.desired(desired.fleet), self.targets())
            self._publish(ROLLOUT, {rollout_path(desired.fleet): data}, {}, replace=True)

    def desired(self, fleet: str) -> Desired | None:
        """Return a fleet's current desired state, or None before the first.

        Raises:
            StorageError: it cannot be read.
        """
        path = rollout_path(fleet)
        found = self._store.targets(ROLLOUT.name).signed.targets.get(path)
        return None if found is None else decode_desired(self._content(found))

    def releases(self, model: str) -> dict[int, str]:
        """Return the published releases of a family and the role each was signed by."""
        found: dict[int, str] = {}
        for role in ROLES:
            for path in self._store.targets(role).signed.targets:
                folder, _, name = path.rpartition("/")
                if folder == f"models/{model}/{role}" and name.endswith((".onnx", ".npz")):
                    found[int(name.split(".")[0])] = role
        return dict(sorted(found.items()))

    def targets(self) -> dict[str, int]:
        """Return every published target path and its length in bytes."""
        names = [name.removesuffix(".json") for name in self._store.snapshot().signed.meta]
        return {path: file.length for name in names for path, file in self._store.targets(name).signed.targets.items()}

    def content(self, path: str) -> bytes:
        """Return a published target's bytes, checked against its hash.

        Raises:
            TrustError: not published.
            StorageError: the file is missing or damaged.
        """
        found = self._store.targets(role_of(path).name).signed.targets.get(path)
        if found is None:
            raise TrustError(f"{path} is not published.")
        return self._content(found)

    def file(self, path: str) -> Path:
        """Return where a published target's bytes lie.

        Raises:
            TrustError: not published.
        """
        found = self._store.targets(role_of(path).name).signed.targets.get(path)
        if found is None:
            raise TrustError(f"{path} is not published.")
        return self._file(found)

    def copy_metadata(self, folder: Path, *, lasts_s: float) -> tuple[int, float]:
        """Copy what is current, with a snapshot and a timestamp of its own, one version up; the published ones follow (see export).

        Returns:
            The copy's timestamp's version, and when the first of its signatures ends (Unix seconds).

        Raises:
            IdentityError: the on-line keys are not here.
            StorageError: the disk refuses.
        """
        with self._store.locked():
            copied = self._store.copied(folder, lifetimes={TIMESTAMP.name: lasts_s, SNAPSHOT.name: lasts_s})
            version = copied.commit({})
            self._store.commit({})
            return version, copied.ends()

    def refresh_timestamp(self) -> int:
        """Renew what the publisher may: the timestamp always, on-line roles in the last half of their life. Call it every hour.

        Returns:
            The timestamp's version.

        Raises:
            IdentityError: an on-line key is not here.
            StorageError: the disk refuses.
        """
        with self._store.locked():
            changed = {
                role.name: self._store.sign(role, self._store.next(role))
                for role in (ROLLOUT, CONFIG)
                if self._store.due(role, self._store.targets(role.name).signed)
            }
            if self._store.due(AUTO, self._store.targets(AUTO.name).signed):
                self._stamp_if_due()  # the signing process refuses an expired repository
                changed[AUTO.name] = self._sign_auto(SignRequest(repository=self.folder, keys=self._keys))
            if changed or self._store.due(SNAPSHOT, self._store.snapshot().signed):
                return self._store.commit(changed)
            return self._store.stamp()

    def _publish(
        self, role: Role, files: Mapping[str, bytes], custom: Mapping[str, dict[str, Any]], *, replace: bool = False, gates: bytes = b""
    ) -> None:
        signed = self._store.next(role)
        added = [
            file
            for path, content in files.items()
            if (file := rules.added(signed, path, content, custom.get(path), replace=replace)) is not None
        ]
        if not added:
            return  # all of it is there already: a redo after a kill
        for file in added:
            durable.write(self._file(file), files[file.path])
            signed.targets[file.path] = file
        if role is AUTO:
            self._stamp_if_due()
            names = tuple((file.path, file.hashes["sha256"]) for file in added)
            self._store.commit({role.name: self._sign_auto(SignRequest(repository=self.folder, keys=self._keys, files=names, gates=gates))})
        else:
            self._store.commit({role.name: self._store.sign(role, signed)})

    def _stamp_if_due(self) -> None:
        if self._store.due(SNAPSHOT, self._store.snapshot().signed):
            self._store.commit({})
        elif self._store.due(TIMESTAMP, self._store.timestamp().signed):
            self._store.stamp()

    def _deltas(self, model: str, role: str, release: int, content: bytes, bases: Sequence[int]) -> dict[int, bytes]:
        known = self.releases(model)
        deltas = {}
        for base in sorted({base for base in bases if base != release}):
            if base not in known:
                raise InputError(f"there is no release {base} of {model} to make a delta from.")
            existing = self._store.targets(role).signed.targets.get(target_path(model, role, release, f"from-{base:06d}.delta"))
            old = self.content(target_path(model, known[base], base, "onnx"))
            data = delta.make(old, content) if existing is None else self._content(existing)
            if len(data) < len(content):
                deltas[base] = data
        return deltas

    def _file(self, file: TargetFile) -> Path:
        return self.folder / "targets" / file.get_prefixed_paths()[0]

    def _content(self, file: TargetFile) -> bytes:
        try:
            data = self._file(file).read_bytes()
        except OSError as error:
            raise StorageError(f"the published file of {file.path} cannot be read: {error}.", "Restore it from a backup.") from error
        if _sha256(data) != file.hashes["sha256"]:
            raise StorageError(f"the published file of {file.path} is damaged.", "Restore it from a backup.")
        return data


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error}.") from error


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
