"""`terrace cloud init`: the release ceremony, the first releases, the desired state, and the first admin token.

Every part may be done again: what is there already stays, so an interrupted init is finished by the next one.
"""

from __future__ import annotations

import secrets
import shutil
from pathlib import Path

import msgspec

from cloud.config import Settings
from cloud.imports import Imports, Model, find
from cloud.main import token_path
from cloud.publish import Repository
from cloud.records import Release
from cloud.registry import Registry
from cloud.tables import open_registry
from shared import durable
from shared.access import TokenStore
from shared.clock import wall
from shared.errors import StorageError
from shared.release.card import target_path
from shared.release.desired import Desired, DesiredModel
from shared.roles import Role

REPLAY_RELEASE = 1
ADMIN_DAYS = 90


class Initialised(msgspec.Struct, frozen=True, kw_only=True):
    """What init did. `token` is the first admin token, empty when there were tokens already; it is shown once and nowhere kept."""

    fleet: str
    repository: str
    releases: dict[str, int]
    desired_version: int
    token: str


def initialise(settings: Settings, models: Path, *, data: str = "") -> Initialised:
    """Make the cloud ready to serve.

    Args:
        settings: cloud.toml.
        models: folder of built models, or the release of a user's own model (see cloud.imports).
        data: the data set they were built from, where the expert's card does not say it (a folder of one's own).

    Raises:
        InputError: the folder lacks something.
        TrustError: another file is published under the same release number.
        StorageError: the disk refuses.
    """
    found = find(models)
    repository = Repository(settings.repository_folder, settings.repository.keys)
    if not repository.exists():
        repository = Repository.create(settings.repository_folder, settings.repository.keys)
    for model in found.models:
        repository.add_release(model.family, "manual", model.release, model.onnx, model.card_bytes)
    if found.replay is not None:
        repository.add_file(target_path("replay", "manual", REPLAY_RELEASE, "npz"), found.replay)
    _copy(settings, found)
    durable.write(settings.models / "data", (data or found.data).encode())
    _record(settings, found.models)
    desired = _desire(settings, repository, found)
    return Initialised(
        fleet=settings.fleet,
        repository=str(settings.repository_folder),
        releases=_releases(found),
        desired_version=desired.version,
        token=_first_token(settings),
    )


def _releases(found: Imports) -> dict[str, int]:
    models = {model.family: model.release for model in found.models}
    return models if found.replay is None else {**models, "replay": REPLAY_RELEASE}


def _copy(settings: Settings, found: Imports) -> None:
    student = settings.models / "student" / f"{found.student.release:06d}.npz"
    pairs = (
        (found.weights, student),
        *((model.onnx, settings.models / "expert" / f"{model.release:06d}.onnx") for model in found.models if model.family == "expert"),
        (found.seed, settings.models / "seed.npz"),
        (found.calibration, settings.models / "calibration.npz"),
    )
    try:
        for source, destination in pairs:
            if source is None:
                continue
            destination.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            partial = destination.with_suffix(".part")
            shutil.copyfile(source, partial)
            partial.replace(destination)
    except OSError as error:
        raise StorageError(f"the models cannot be copied to {settings.models}: {error}.", "Free space on its disk.") from error


def _record(settings: Settings, models: list[Model]) -> None:
    database = open_registry(settings)
    database.start()
    try:
        registry = Registry(database)
        for model in models:
            lineage = {"imported": True, "recipe": model.card.lineage.recipe}
            registry.add_release(
                Release(
                    model=model.family,
                    release=model.release,
                    role="manual",
                    parent=model.card.lineage.parent,
                    round=0,
                    lineage=lineage,
                    created_at=wall(),
                )
            )
    finally:
        database.stop()


def _desire(settings: Settings, repository: Repository, found: Imports) -> Desired:
    before = repository.desired(settings.fleet)
    if before is not None:
        return before
    models = {family: DesiredModel(release=number, cohort_salt=secrets.token_hex(16)) for family, number in _releases(found).items()}
    desired = Desired(version=1, fleet=settings.fleet, models=models)
    repository.set_desired(desired)
    return desired


def _first_token(settings: Settings) -> str:
    store = TokenStore(token_path(settings))
    if store.tokens():
        return ""
    return store.create(Role.ADMIN, "first admin", lifetime_s=ADMIN_DAYS * 86400.0)
