"""Releases that came on a carried file (see the cloud's export), for a region that cannot reach the cloud.

Rules, in order:
1. The file is a tar of plain files below `metadata/` and `targets/` with names a repository has; anything else, more than `MOST_FILES` of
   them, or more than `LARGEST_BYTES`, is refused before it is unpacked.
2. It is checked as the cloud's repository is: from the region's own root and with what the region has seen already, so neither older nor
   other releases come this way. Every target in it must be one that is signed.
3. Only then it takes the place of what was carried before, whole. The relay asks it where the cloud cannot be reached.
4. What the cloud has overtaken since goes: it would only be refused as old.
"""

from __future__ import annotations

import re
import shutil
import tarfile
import tempfile
from pathlib import Path

import msgspec

from shared.errors import InputError, StorageError, TrustError
from shared.release.fetch import from_folder
from shared.release.trust import TrustedClient, metadata_version

MOST_FILES, LARGEST_BYTES = 20_000, 16 << 30
REMEDY = "Make it with: terrace cloud release export."
_METADATA = re.compile(r"metadata/(?:[0-9]{1,9}\.)?[a-z]{1,32}\.json")
_TARGET = re.compile(r"targets/(?P<folder>(?:[A-Za-z0-9_\-]{1,64}/){0,4})(?P<sha256>[0-9a-f]{64})\.(?P<name>[A-Za-z0-9_.\-]{1,120})")


class Carried(msgspec.Struct, frozen=True, kw_only=True):
    """What a carried file held: the timestamp's version, the fleet's desired state's version, and the targets."""

    version: int
    desired: int
    targets: int


def take(file: Path, state: Path, *, root: bytes, fleet: str) -> Carried:
    """Check a carried file and put it where the relay finds it.

    Args:
        file: as the cloud's export wrote it.
        state: the region's state folder.
        root: the root of trust this region was provisioned with.
        fleet: whose desired state it must have.

    Raises:
        InputError: it cannot be read, or is no such file.
        TrustError: it is forged, expired, damaged, older than what was seen here, or for another fleet.
        StorageError: the disk refuses.
    """
    try:
        with tempfile.TemporaryDirectory(prefix=".carried-", dir=state) as name:
            work = Path(name)
            _unpack(file, work / "repository")
            found = _check(work, state / "trust", root, fleet)
            _replace(work / "repository", folder_of(state))
    except OSError as error:
        raise StorageError(f"{file} cannot be taken into {state}: {error}.", "Free space, or correct the folder's permissions.") from error
    return found


def folder_of(state: Path) -> Path:
    """Return where the repository that was carried lies."""
    return state / "carried"


def forget_overtaken(state: Path, version: int) -> bool:
    """Remove what was carried where the cloud has served a later timestamp; returns whether it did (rule 4)."""
    folder = folder_of(state)
    try:
        carried = metadata_version((folder / "metadata" / "timestamp.json").read_bytes())
    except (OSError, TrustError):
        return False
    if carried >= version:
        return False
    shutil.rmtree(folder, ignore_errors=True)
    return True


def _unpack(file: Path, folder: Path) -> None:
    try:
        with tarfile.open(file, mode="r:") as archive:
            total = 0
            for count, member in enumerate(archive):
                total += member.size
                if count >= MOST_FILES or total > LARGEST_BYTES:
                    raise InputError(f"{file} holds more than a site's releases.", REMEDY)
                if not member.isreg() or not (_METADATA.fullmatch(member.name) or _TARGET.fullmatch(member.name)):
                    raise InputError(f"{file} holds {member.name[:120]!r}, which no repository has.", REMEDY)
                _write(archive, member, folder / member.name)
    except tarfile.TarError as error:
        raise InputError(f"{file} is no file of carried releases: {error}.", REMEDY) from error
    except FileNotFoundError as error:
        raise InputError(f"there is no file {file}.") from error


def _write(archive: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> None:
    content = archive.extractfile(member)
    if content is None:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("xb") as out:
        shutil.copyfileobj(content, out, 1 << 20)


def _check(work: Path, trust: Path, root: bytes, fleet: str) -> Carried:
    """Check an unpacked repository with a copy of the region's trust state, which stays as it is (rule 2)."""
    if trust.is_dir():
        shutil.copytree(trust, work / "trust")
    repository = work / "repository"
    client = TrustedClient(work / "trust", bootstrap_root=root, fetch=from_folder(repository))
    version = client.refresh()
    desired = client.desired(fleet)
    targets = [path.relative_to(repository).as_posix() for path in repository.glob("targets/**/*") if path.is_file()]
    for name in targets:
        parsed = _TARGET.fullmatch(name)
        path = f"{parsed['folder']}{parsed['name']}" if parsed else name
        info = client.target(path)
        if parsed is None or info is None or info.sha256 != parsed["sha256"]:
            raise TrustError(f"nobody who may has signed {path} as it is carried.", "Make the file anew where the cloud is.")
        client.fetch(path, work / "checked").unlink()
    return Carried(version=version, desired=desired.version, targets=len(targets))


def _replace(repository: Path, folder: Path) -> None:
    before = repository.with_name("before")
    if folder.exists():
        folder.rename(before)
    repository.rename(folder)
