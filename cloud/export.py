"""Releases for a site without a network: one file to be carried there, which a region checks as it checks what comes over a network.

The file is a plain tar of a TUF repository: `metadata/` as published, but with a snapshot and a timestamp of its own that last up to
`LONGEST_S`, and below `targets/` what the fleet's desired state names. Nothing in it is secret; nothing in it has to be believed.

Rules, in order:
1. The export's snapshot and timestamp are one version above the published ones, and the published ones follow at once: a site that is
   connected again later goes on from there.
2. What is carried is the desired state, both releases of every family it names, and the deltas it names; `everything` carries all.
3. The file appears whole or not at all.
"""

from __future__ import annotations

import tarfile
import tempfile
from pathlib import Path

import msgspec

from cloud.publish import Repository
from cloud.roles import DAY_S
from shared import durable
from shared.errors import InputError, StorageError
from shared.release.desired import Desired, rollout_path

LONGEST_S = 30 * DAY_S


class Exported(msgspec.Struct, frozen=True, kw_only=True):
    """What was written: the timestamp's version, the targets, the file's bytes, and until when a site takes it (Unix seconds)."""

    version: int
    targets: int
    bytes: int
    until: float


def export(repository: Repository, fleet: str, destination: Path, *, lasts_s: float = LONGEST_S, everything: bool = False) -> Exported:
    """Write the file.

    Args:
        repository: what is published.
        fleet: whose desired state.
        destination: the file; one that is there is replaced.
        lasts_s: seconds the site may take it for current, at most LONGEST_S.
        everything: carry every published target.

    Raises:
        InputError: the fleet has no desired state, or it shall last too long.
        IdentityError: the on-line keys are not here.
        StorageError: the disk refuses.
    """
    if not 0 < lasts_s <= LONGEST_S:
        raise InputError(f"an export lasts up to {LONGEST_S / DAY_S:.0f} days.", "Make a new one in time.")
    desired = repository.desired(fleet)
    if desired is None:
        raise InputError(f"the fleet {fleet} has no desired state yet.", "Run: terrace cloud init --models DIR.")
    published = sorted(repository.targets())
    paths = published if everything else [path for path in published if is_named(path, desired)]
    try:
        with tempfile.TemporaryDirectory(prefix=f".{destination.name}-", dir=destination.parent) as name:
            folder = Path(name)
            version, until = repository.copy_metadata(folder / "metadata", lasts_s=lasts_s)
            _pack(folder / "packed", folder / "metadata", {path: repository.file(path) for path in paths})
            durable.move(folder / "packed", destination)
    except OSError as error:
        raise StorageError(f"{destination} cannot be written: {error}.", "Free space, or name another place.") from error
    return Exported(version=version, targets=len(paths), bytes=destination.stat().st_size, until=until)


def is_named(path: str, desired: Desired) -> bool:
    """Return whether a desired state names a target, in itself or as a file of a release (rule 2)."""
    if path == rollout_path(desired.fleet):
        return True
    for family, model in desired.models.items():
        for release, role in ((model.release, model.role), (model.previous, model.previous_role)):
            stem = f"models/{family}/{role}/{release:06d}."
            if release and path.startswith(stem) and (not path.endswith(".delta") or _base(path) in model.deltas):
                return True
    return False


def _base(path: str) -> int:
    """Return the release a delta's path starts from."""
    return int(path.removesuffix(".delta").rpartition("from-")[2])


def _pack(packed: Path, metadata: Path, targets: dict[str, Path]) -> None:
    files = {f"metadata/{path.name}": path for path in sorted(metadata.iterdir())}
    files |= {f"targets/{Path(path).parent}/{file.name}": file for path, file in targets.items()}
    with tarfile.open(packed, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, path in files.items():
            member = tarfile.TarInfo(name)
            member.size = path.stat().st_size
            with path.open("rb") as content:
                archive.addfile(member, content)
