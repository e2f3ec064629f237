"""The ceremony: the offline steps that make a repository and change who may sign.

Root and top-level targets are signed by 2 of 3 offline keys; after the ceremony their folder is taken away. Everything later
(releases, rollouts, renewals) works without it, until these signatures are near their end.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import DelegatedRole, Delegations, Metadata, Root, Targets

from cloud.keyring import Keyring
from cloud.metadata import MetadataStore
from cloud.roles import DELEGATED, ROLES, ROOT, TARGETS, TOP_LEVEL
from shared import durable
from shared.clock import Clock, wall
from shared.errors import ConfigurationError, TrustError

SIGNERS_ROOT = "signer/root.json"
"""Below the keys: the root the signing process trusts, handed over here and nowhere else."""


def found(folder: Path, keys: Path, *, clock: Clock = wall, lifetimes: Mapping[str, float] | None = None) -> None:
    """Make all keys and a repository without targets.

    Args:
        folder: the repository; must not hold one yet.
        keys: where the key folders `offline`, `approver`, `signer`, `online` are made.
        clock: wall time.
        lifetimes: seconds a role's signature lasts, where another than its default.

    Raises:
        ConfigurationError: there is a repository already.
        IdentityError: there are keys already.
        StorageError: the disk refuses.
    """
    keyring = Keyring(keys)
    store = MetadataStore(folder, keyring=keyring, clock=clock, lifetimes=lifetimes or {})
    if store.exists():
        raise ConfigurationError(f"there is a repository in {folder} already.", "Open it, or choose another folder.")
    folder.mkdir(parents=True, exist_ok=True)
    signers = {name: keyring.generate(role) for name, role in ROLES.items()}
    root = Root(version=1, expires=store.expires(ROOT), consistent_snapshot=True)
    for role in TOP_LEVEL:
        _admit(root, role.name, signers[role.name], role.threshold)
    targets = Targets(version=1, expires=store.expires(TARGETS), delegations=_delegations(signers))
    empty = {role.name: store.sign(role, Targets(version=1, expires=store.expires(role))) for role in DELEGATED}
    signed_root = store.sign(ROOT, root)
    durable.write(keys / SIGNERS_ROOT, signed_root, mode=0o600)
    store.found(signed_root, store.sign(TARGETS, targets), empty)


def replace_keys(folder: Path, keys: Path, name: str, *, clock: Clock = wall) -> None:
    """Replace the keys of an on-line top-level role (snapshot or timestamp) by new ones and sign a new root.

    Clients follow: the new root is signed by the old root's keys. The old key files are renamed to `*.revoked`.

    Raises:
        TrustError: `name` is not one of these roles.
        IdentityError: the offline keys are not here.
    """
    role = ROLES.get(name)
    if role not in TOP_LEVEL or role.place != "online":
        raise TrustError(f"{name} is not replaced by this step.", "It replaces snapshot or timestamp keys.")
    keyring = Keyring(keys)
    store = MetadataStore(folder, keyring=keyring, clock=clock, lifetimes={})
    with store.locked():
        root = copy.deepcopy(Metadata[Root].from_bytes(store.root()).signed)
        for keyid in list(root.roles[name].keyids):
            root.revoke_key(keyid, name)
        for path in (keys / role.place).glob(f"{name}-*.pem"):
            path.rename(path.with_suffix(".revoked"))
        _admit(root, name, keyring.generate(role), role.threshold)
        root.version += 1
        root.expires = store.expires(ROOT)
        store.add_root(store.sign(ROOT, root))
        store.commit({})


def renew(folder: Path, keys: Path, *, clock: Clock = wall) -> None:
    """Sign root and top-level targets anew, before their year ends.

    Raises:
        IdentityError: the offline keys are not here.
    """
    store = MetadataStore(folder, keyring=Keyring(keys), clock=clock, lifetimes={})
    with store.locked():
        root = copy.deepcopy(Metadata[Root].from_bytes(store.root()).signed)
        root.version += 1
        root.expires = store.expires(ROOT)
        store.add_root(store.sign(ROOT, root))
        store.commit({TARGETS.name: store.sign(TARGETS, store.next(TARGETS))})


def _admit(root: Root, name: str, signers: list[CryptoSigner], threshold: int) -> None:
    for signer in signers:
        root.add_key(signer.public_key, name)
    root.roles[name].threshold = threshold


def _delegations(signers: Mapping[str, list[CryptoSigner]]) -> Delegations:
    keys: dict[str, Any] = {}
    roles: dict[str, DelegatedRole] = {}
    for role in DELEGATED:
        public = [signer.public_key for signer in signers[role.name]]
        keys.update({key.keyid: key for key in public})
        roles[role.name] = DelegatedRole(
            role.name, [key.keyid for key in public], role.threshold, terminating=True, paths=list(role.patterns)
        )
    return Delegations(keys, roles)
