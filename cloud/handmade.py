"""A release that a person made: checked, signed by the approver's key as `manual`, recorded with who added it.

No gate stands in its way but these checks: whoever holds the approver's key is believed. What it does in the field is judged by the
rollout, and by the devices.

Rules, in order:
1. The model file holds nothing that a device would refuse to load, and the card names its family and hash.
2. Its labels are those of the family's releases before it: another meaning of an answer needs another fleet.
3. A number is used once. Without one the card's own is taken; 0 takes the next free one and writes it into the card.
4. Its fp32 weights, where given, are kept for later rounds; without them no round can start from it.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from cloud.config import Settings
from cloud.publish import Published, Repository
from cloud.records import Release
from cloud.registry import Registry
from cloud.rules import check_number
from shared import durable
from shared.audit import AuditLog
from shared.clock import wall
from shared.engines.admission import admit
from shared.errors import InputError
from shared.release.card import Card, decode_card, encode_card, sha256, target_path

MANUAL = "manual"


def add(
    settings: Settings,
    repository: Repository,
    registry: Registry,
    audit: AuditLog,
    *,
    model: str,
    onnx: Path,
    card: Path,
    weights: Path | None = None,
    number: int | None = None,
    who: str,
) -> Published:
    """Publish a release with deltas from the ones before it; the same files again change nothing.

    Args:
        settings: cloud.toml.
        repository: where it is published.
        registry: where its lineage is recorded.
        audit: where it is written down who added it.
        model: the family.
        onnx: the model file.
        card: its card.
        weights: its fp32 weights as .npz.
        number: its release number, 0 for the next free one, None for the card's.
        who: the person.

    Raises:
        InputError: a file cannot be read.
        EngineError: the model holds what devices refuse.
        TrustError: the card does not fit the model, or the number is used.
        IdentityError: the approver's key is not here.
        StorageError: the disk refuses.
    """
    content = _read(onnx)
    admit(content)
    known = repository.releases(model)
    described = decode_card(_read(card))
    release = described.release if number is None else number or max(known, default=0) + 1
    check_number(model, MANUAL, release, known)
    described = msgspec.structs.replace(described, release=release, onnx_sha256=described.onnx_sha256 or sha256(content))
    _check_labels(repository, model, described)
    bases = sorted(base for base in known if base < release)[-settings.rollout.delta_bases :]
    published = repository.add_release(model, MANUAL, release, onnx, encode_card(described), bases)
    if weights is not None:
        durable.write(settings.models / model / f"{release:06d}.npz", _read(weights), mode=0o600)
    lineage = {"by_hand": who, "recipe": described.lineage.recipe}
    registry.add_release(
        Release(model=model, release=release, role=MANUAL, parent=described.lineage.parent, round=0, lineage=lineage, created_at=wall())
    )
    audit.append(who, "release.add", f"{model} {release}", {"role": MANUAL, "sha256": published.sha256, "bytes": published.full_bytes})
    return published


def _check_labels(repository: Repository, model: str, card: Card) -> None:
    known = repository.releases(model)
    for release in [number for number in known if number != card.release][-1:]:
        before = decode_card(repository.content(target_path(model, known[release], release, "card.json")))
        if before.labels != card.labels:
            raise InputError(
                f"its labels are {', '.join(card.labels)}; those of {model} {release} are {', '.join(before.labels)}.",
                "Train it on the same classes, in the same order.",
            )


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error}.") from error
