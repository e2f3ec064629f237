"""Who signs what: the table of the repository's roles, from which the ceremony, the publisher and the documentation are made.

Offline keys are used in ceremonies only. The approver's key signs what a person has released; the signer's key lives in a process
of its own; on-line keys belong to the publisher.
"""

from __future__ import annotations

import msgspec
from tuf.api.metadata import DelegatedRole

from shared.errors import TrustError

DAY_S = 86_400


class Role(msgspec.Struct, frozen=True, kw_only=True):
    """A role: its TUF name, the target paths it may sign, how many of its keys must sign, where they lie and how long a signature lasts."""

    name: str
    keys: int
    threshold: int
    place: str
    lifetime_s: float
    patterns: tuple[str, ...] = ()


ROOT = Role(name="root", keys=3, threshold=2, place="offline", lifetime_s=365 * DAY_S)
TARGETS = Role(name="targets", keys=3, threshold=2, place="offline", lifetime_s=365 * DAY_S)
SNAPSHOT = Role(name="snapshot", keys=1, threshold=1, place="online", lifetime_s=14 * DAY_S)
TIMESTAMP = Role(name="timestamp", keys=1, threshold=1, place="online", lifetime_s=3 * DAY_S)
MANUAL = Role(name="manual", keys=1, threshold=1, place="approver", lifetime_s=365 * DAY_S, patterns=("models/*/manual/*",))
AUTO = Role(name="auto", keys=1, threshold=1, place="signer", lifetime_s=90 * DAY_S, patterns=("models/*/auto/*",))
ROLLOUT = Role(name="rollout", keys=1, threshold=1, place="online", lifetime_s=30 * DAY_S, patterns=("rollout/*",))
CONFIG = Role(name="config", keys=1, threshold=1, place="online", lifetime_s=30 * DAY_S, patterns=("config/*",))
AGENT = Role(name="agent", keys=3, threshold=2, place="offline", lifetime_s=365 * DAY_S, patterns=("agent/*",))

TOP_LEVEL = (ROOT, TARGETS, SNAPSHOT, TIMESTAMP)
DELEGATED = (MANUAL, AUTO, ROLLOUT, CONFIG, AGENT)
ROLES = {role.name: role for role in (*TOP_LEVEL, *DELEGATED)}


def role_of(path: str) -> Role:
    """Return the role that signs a target path.

    Raises:
        TrustError: no role may sign it.
    """
    for role in DELEGATED:
        if DelegatedRole(role.name, [], 1, terminating=True, paths=list(role.patterns)).is_delegated_path(path):
            return role
    raise TrustError(f"no role may sign {path!r}.", "Target paths are models/<family>/manual|auto/…, rollout/…, config/… and agent/….")
