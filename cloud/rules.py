"""What may be published: the publisher's checks, each on what it is given. Pure.

Rules, in order:
1. A release is signed as manual or auto, and its number belongs to one role for ever.
2. Its card names its own family, number and model file.
3. What is published never changes, but for desired states and configuration, which have versions of their own.
4. A desired state goes forward, names only what is published, and never lowers a minimum release.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from tuf.api.metadata import TargetFile, Targets

from shared.errors import TrustError
from shared.release.card import decode_card, sha256, target_path
from shared.release.desired import ROLES, Desired, DesiredModel


def check_number(model: str, role: str, release: int, published: Mapping[int, str]) -> None:
    """Check rule 1.

    Raises:
        TrustError: no such role signs releases, or another has signed this number.
    """
    if role not in ROLES:
        raise TrustError(f"releases are signed as {' or '.join(ROLES)}, not {role!r}.")
    if published.get(release, role) != role:
        raise TrustError(f"release {release} of {model} is published by another role.", "Use the next release number.")


def check_card(data: bytes, model: str, release: int, content: bytes) -> None:
    """Check rule 2 of a card and its model file.

    Raises:
        TrustError: they do not belong together.
    """
    card = decode_card(data)
    if (card.model, card.release) != (model, release):
        raise TrustError(f"the card is of {card.model} {card.release}, not of {model} {release}.")
    if card.onnx_sha256 != sha256(content):
        raise TrustError(f"the card of {model} {release} does not name the hash of its model file.", "Fill onnx_sha256 when exporting.")


def added(signed: Targets, path: str, content: bytes, custom: dict[str, Any] | None, *, replace: bool) -> TargetFile | None:
    """Return a target as it is to be added, or None where it is published already (rule 3).

    Args:
        signed: what the role has published.
        path: the target path.
        content: its bytes.
        custom: what is signed beside it.
        replace: whether other content may take the place of what is there.

    Raises:
        TrustError: other content stands there and must not change.
    """
    present = signed.targets.get(path)
    if present is not None and present.hashes["sha256"] == sha256(content):
        return None
    if present is not None and not replace:
        raise TrustError(f"{path} is published with other content; what is published never changes.", "Use the next release number.")
    file = TargetFile.from_data(path, content, ["sha256"])
    if custom:
        file.unrecognized_fields["custom"] = custom
    return file


def check_desired(desired: Desired, current: Desired | None, published: Collection[str]) -> None:
    """Check rule 4.

    Args:
        desired: the new document.
        current: the one it follows, None for the first.
        published: every published target path.

    Raises:
        TrustError: the rule is broken.
    """
    if current is not None and desired.version <= current.version:
        raise TrustError(f"the desired state of {desired.fleet} has version {current.version}; {desired.version} is not newer.")
    for family, model in desired.models.items():
        missing = [path for path in _named(family, model, published) if path not in published]
        if missing:
            raise TrustError(f"the desired state names {missing[0]}, which is not published.")
        before = current.models.get(family) if current else None
        if before is not None and model.minimum_release < before.minimum_release:
            raise TrustError(f"the minimum release of {family} is {before.minimum_release} and is never lowered.")


def _named(family: str, model: DesiredModel, published: Collection[str]) -> list[str]:
    paths = [target_path(family, model.role, model.release, f"from-{base:06d}.delta") for base in model.deltas]
    for role, release in ((model.role, model.release), (model.previous_role, model.previous)):
        files = [target_path(family, role, release, suffix) for suffix in ("onnx", "npz")]
        if release and not any(path in published for path in files):
            paths.append(files[0])
    return paths
