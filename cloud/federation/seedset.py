"""The cloud's labelled pictures, made when they are first needed: the seed set, and the replay release regions mix into training.

They are not shipped, because they can be drawn (or cut from the user's data) again: by `terrace provision data`, in a process of its
own, since tiers do not import one another. Done in the round worker, so that the daemon serves releases meanwhile.

Rules, in order:
1. What `terrace cloud init` imported, or cloud.toml names, is used as it is.
2. Else the data set whose name init noted is prepared: its seed split, at most SEED_UNITS units.
3. Without a replay release one is made of the seed set with the expert's answers, published, and named in the desired state.
"""

from __future__ import annotations

import secrets
import subprocess
import sys
import tempfile
from pathlib import Path

from cloud import rollout
from cloud.config import Settings
from cloud.foundry.plans import plan_for
from cloud.foundry.replay import write_replay
from cloud.publish import Repository
from shared import log
from shared.errors import FederationError, InputError
from shared.release.card import target_path

SEED_UNITS = 60
REPLAY, RELEASE = "replay", 1
DRAWN, PUBLISHED = "seed_set_prepared", "replay_set_published"
TIMEOUT_S = 900.0


def prepare(settings: Settings, repository: Repository) -> None:
    """Make sure that there is a seed set and a replay release.

    Raises:
        InputError: the data set cannot be prepared.
        FederationError: there is no expert to answer the replay set.
        StorageError: the disk refuses.
    """
    seed = settings.foundry.seed_set or settings.models / "seed.npz"
    if not seed.exists():
        draw(name_of(settings), seed)
        log.get("seed").info(DRAWN, data=name_of(settings))
    if not repository.releases(REPLAY):
        _publish(settings, repository, seed)
    desired = repository.desired(settings.fleet)
    if desired is not None and REPLAY not in desired.models:
        named = rollout.follow(desired, fleet=desired.fleet, family=REPLAY, release=RELEASE, role="manual", salt=secrets.token_hex(16))
        repository.set_desired(named)
        log.get("seed").info(PUBLISHED, release=RELEASE)


def name_of(settings: Settings) -> str:
    """Return the data set the fleet's models were built from, as init noted it.

    Raises:
        InputError: init noted none.
    """
    path = settings.models / "data"
    if not path.exists():
        raise InputError("it is not known which data the models were built from.", "Set foundry.seed_set in cloud.toml.")
    return path.read_text(encoding="utf-8").strip()


def may_turn(settings: Settings) -> bool:
    """Say whether pictures of the fleet's data set keep their class when they are turned or put upside down."""
    return plan_for(name_of(settings)).turning if (settings.models / "data").exists() else False


def draw(data: str, destination: Path) -> None:
    """Prepare the seed split of a data set.

    Raises:
        InputError: it cannot be prepared, and why.
    """
    destination.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=destination.parent) as folder:
        command = [sys.executable, "-m", "shared.cli", "provision", "data", "--data", data, "--split", "seed"]
        command += ["--seed-boards", str(SEED_UNITS), "--streams", "1", "--frames", "1", "--out", folder]
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S)
        if done.returncode:
            lines = done.stderr.strip().removeprefix("terrace: ").splitlines()
            raise InputError(lines[0] if lines else f"`terrace provision data` ended with {done.returncode}.", " ".join(lines[1:]))
        (Path(folder) / "seed.npz").replace(destination)


def _publish(settings: Settings, repository: Repository, seed: Path) -> None:
    experts = sorted((settings.models / "expert").glob("*.onnx"))
    if not experts:
        raise FederationError("there is no expert to answer the replay set.", "Import one: terrace cloud init --models DIR.")
    made = settings.models / "replay.npz"
    if not made.exists():
        partial = made.with_name("replay.part.npz")
        write_replay(seed, experts[-1], partial)
        partial.replace(made)
    repository.add_file(target_path(REPLAY, "manual", RELEASE, "npz"), made)
