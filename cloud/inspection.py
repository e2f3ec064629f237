"""Looking at a repository as a stranger would: everything it serves, checked from a root of trust.

Used by `terrace cloud release verify`; it needs no keys and changes nothing.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import msgspec

from cloud.publish import Repository
from shared.errors import TrustError
from shared.release import delta
from shared.release.card import decode_card, sha256
from shared.release.desired import Desired
from shared.release.fetch import from_folder
from shared.release.trust import TrustedClient


class Findings(msgspec.Struct, frozen=True, kw_only=True):
    """What was checked: the timestamp's version, files, models with their cards, deltas rebuilt, and the desired state."""

    version: int
    files: int
    models: int
    deltas: int
    desired: Desired | None


def verify(repository: Repository, fleet: str, *, root: bytes) -> Findings:
    """Check a repository from `root`: signatures, hashes, cards, and that every delta rebuilds its release.

    Raises:
        TrustError: something served is not what its signers signed, or does not fit.
        LinkError: a file is missing.
        StorageError: the disk refuses.
    """
    with tempfile.TemporaryDirectory(prefix="terrace-verify-") as name:
        folder = Path(name)
        client = TrustedClient(folder / "trust", bootstrap_root=root, fetch=from_folder(repository.folder))
        version = client.refresh()
        paths = sorted(repository.targets())
        for path in paths:
            client.fetch(path, folder / "file").unlink()
        models = [path for path in paths if path.endswith(".onnx")]
        for path in models:
            _check_model(client, path)
        deltas = [path for path in paths if path.endswith(".delta")]
        for path in deltas:
            _check_delta(client, repository, path)
        desired = client.desired(fleet) if repository.desired(fleet) is not None else None
    return Findings(version=version, files=len(paths), models=len(models), deltas=len(deltas), desired=desired)


def _check_model(client: TrustedClient, path: str) -> None:
    card = client.require(path.removesuffix("onnx") + "card.json")
    described = decode_card(client.read(card.path, limit_bytes=card.length))
    if described.onnx_sha256 != client.require(path).sha256:
        raise TrustError(f"{card.path} does not describe {path}.")


def _check_delta(client: TrustedClient, repository: Repository, path: str) -> None:
    info = client.require(path)
    result = client.require(str(info.custom["result"]))
    model, base = path.split("/")[1], int(info.custom["base"])
    old = client.require(f"models/{model}/{repository.releases(model)[base]}/{base:06d}.onnx")
    rebuilt = delta.apply(
        client.read(old.path, limit_bytes=old.length),
        client.read(path, limit_bytes=info.length),
        expect_sha256=result.sha256,
        limit_bytes=result.length,
    )
    if sha256(rebuilt) != result.sha256:
        raise TrustError(f"{path} does not rebuild {result.path}.")
