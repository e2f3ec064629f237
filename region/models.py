"""The region's own models: the expert that answers and the replay set training mixes in, brought by the same releases as the devices'.

Rules, in order:
1. What the desired state wants of a family is fetched, checked and put under `<family>/<release>/`; then `<family>/current` points
   at it in one step. A power cut leaves the one before.
2. Nothing below the family's minimum release, and nothing older is kept but the one before.
3. Whoever uses a family is told through `on_change`, also once at the start when a file is there already.

Not here: running the expert, training.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from shared import durable, log
from shared.errors import StorageError, TrustError
from shared.release.blobs import hash_file
from shared.release.card import Card, decode_card
from shared.release.desired import Desired, Wanted, rollout_path, wanted
from shared.release.trust import TrustedClient

INSTALLED = "region_model_installed"
MODEL = {"onnx": "model.onnx", "card.json": "card.json"}
REPLAY = {"npz": "replay.npz"}


class _Installed(msgspec.Struct, frozen=True, kw_only=True):
    """What a family's pointer says: a release and the SHA-256 of its files by name."""

    release: int
    files: dict[str, str]


class RegionModels:
    """Keeps the families of a region at the desired release. Thread-safe.

    Args:
        folder: where families lie.
        client: the region's trust client; refreshed by the relay.
        fleet: the fleet.
        name: the region's name in the order of a rollout.
        families: which to keep; `replay` is a data set, all others are models with a card.
        on_change: called with the family after a release was installed.
    """

    def __init__(
        self,
        folder: Path,
        *,
        client: TrustedClient,
        fleet: str,
        name: str,
        families: Sequence[str] = ("expert", "replay"),
        on_change: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._folder = folder
        self._client = client
        self._fleet = fleet
        self._name = name
        self._families = tuple(families)
        self._on_change = on_change
        self._lock = threading.Lock()
        self._followed = ""

    def start(self) -> None:
        """Tell `on_change` of every family that is here already."""
        for family in self._families:
            if self._installed(family) is not None:
                self._on_change(family)

    def stop(self) -> None:
        """Leave everything as it is."""

    def current(self, family: str) -> tuple[Path, Card] | None:
        """Return a family's model file and card, None before the first.

        Raises:
            TrustError: the card cannot be read.
        """
        folder = self._whole(family)
        if folder is None:
            return None
        return folder / "model.onnx", decode_card((folder / "card.json").read_bytes())

    def replay(self) -> Path | None:
        """Return the replay set, None before the first."""
        folder = self._whole("replay")
        return None if folder is None else folder / "replay.npz"

    def release(self, family: str) -> int:
        """Return the installed release of a family, 0 before the first."""
        installed = self._installed(family)
        return installed.release if installed else 0

    def sync(self) -> None:
        """Follow the desired state; call it after every successful refresh, it costs nothing when nothing has changed.

        Raises:
            TrustError: what was served is not what was signed.
            LinkError: the cloud cannot be reached.
            StorageError: the disk refuses.
        """
        changed = []
        with self._lock:
            info = self._client.target(rollout_path(self._fleet))
            if info is None or info.sha256 == self._followed:
                return
            desired = self._client.desired(self._fleet)
            for family in self._families:
                if self._follow(family, desired):
                    changed.append(family)
            self._followed = info.sha256
        for family in changed:
            self._on_change(family)

    def _follow(self, family: str, desired: Desired) -> bool:
        model = desired.models.get(family)
        choice = wanted(model, self._name) if model else None
        if choice is None or (choice.release == self.release(family) and self._whole(family) is not None):
            return False
        if choice.release < self._client.floors().minimum.get(family, 0):
            raise TrustError(f"release {choice.release} of {family} is below the lowest this region may run.")
        self._install(family, choice)
        return True

    def _install(self, family: str, choice: Wanted) -> None:
        before = self.release(family)
        folder = self._folder / family / f"{choice.release:06d}"
        hashes = {}
        for suffix, name in _files(family).items():
            info = self._client.require(choice.path(family, suffix))
            self._client.fetch(info.path, folder / name)
            hashes[name] = info.sha256
        durable.write(self._folder / family / "current", msgspec.json.encode(_Installed(release=choice.release, files=hashes)))
        log.get("models").info(INSTALLED, family=family, release=choice.release, before=before)
        for old in folder.parent.iterdir():
            if old.is_dir() and old.name not in {folder.name, f"{before:06d}"}:
                shutil.rmtree(old, ignore_errors=True)

    def _installed(self, family: str) -> _Installed | None:
        try:
            return msgspec.json.decode((self._folder / family / "current").read_bytes(), type=_Installed)
        except (FileNotFoundError, msgspec.MsgspecError):
            return None
        except OSError as error:
            raise StorageError(f"the region's {family} cannot be read: {error}.") from error

    def _whole(self, family: str) -> Path | None:
        """Return the folder of a family whose files are what was installed; a damaged one counts as missing and is fetched again."""
        installed = self._installed(family)
        if installed is None:
            return None
        folder = self._folder / family / f"{installed.release:06d}"
        try:
            is_whole = all(hash_file(folder / name) == digest for name, digest in installed.files.items())
        except OSError:
            return None
        return folder if is_whole else None


def _files(family: str) -> dict[str, str]:
    return REPLAY if family == "replay" else MODEL
