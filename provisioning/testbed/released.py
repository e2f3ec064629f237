"""Models as the cloud published them: files of a release in its repository, candidates of a round, sizes. Reads the cloud's folder."""

from __future__ import annotations

from pathlib import Path

from provisioning.testbed.learned import ModelFiles
from shared.errors import StorageError


def student(cloud: Path, release: int) -> ModelFiles:
    """Return the files of a published student.

    Args:
        cloud: the cloud's state folder.
        release: its number.

    Raises:
        StorageError: it is not there.
    """
    folder = cloud / "repository" / "targets" / "models" / "student"
    model = next(folder.glob(f"*/*.{release:06d}.onnx"), None)
    card = next(folder.glob(f"*/*.{release:06d}.card.json"), None)
    if model is None or card is None:
        raise StorageError(f"the cloud has no student {release} in {folder}.")
    return ModelFiles(model=str(model), card=str(card))


def candidate(cloud: Path, number: int) -> ModelFiles:
    """Return the files of a round's candidate, also of one that published nothing.

    Raises:
        StorageError: the round made none.
    """
    folder = cloud / "rounds" / f"{number:06d}"
    found = ModelFiles(model=str(folder / "candidate.onnx"), card=str(folder / "candidate.card.json"))
    if not Path(found.model).exists() or not Path(found.card).exists():
        raise StorageError(f"round {number} left no candidate in {folder}.")
    return found


def delta_bytes(cloud: Path, release: int, base: int) -> int:
    """Return the size of a student's delta from an older release, 0 where there is none."""
    folder = cloud / "repository" / "targets" / "models" / "student"
    return next((path.stat().st_size for path in folder.glob(f"*/*.{release:06d}.from-{base:06d}.delta")), 0)


def size(cloud: Path, release: int) -> int:
    """Return the bytes of a published student as a full file."""
    return Path(student(cloud, release).model).stat().st_size


def expert(models: Path) -> ModelFiles:
    """Return the expert's files in a folder of built models."""
    stem = models / "expert"
    return ModelFiles(model=str(stem / "000001.onnx"), card=str(stem / "000001.card.json"))


def newest(cloud: Path) -> int:
    """Return the number of the newest published student."""
    folder = cloud / "repository" / "targets" / "models" / "student"
    return max(int(path.name.split(".")[-2]) for path in folder.glob("*/*.onnx"))
