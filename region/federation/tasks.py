"""What a task means here: the region's limits applied, its vault and replay set used, its engine run."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from region import evaluation, tally, training
from region.agreement import Agreement
from region.config import RegionSettings
from region.jobs import Arrays, Job, Outcome, Wish
from region.labels import PERSON
from region.tally import HeldOut
from region.vault import Vault
from shared.clock import monotonic
from shared.errors import FederationError
from shared.release.card import Card, decode_card
from shared.wire.reports import Blob, EvaluateTask, EvaluationReply, SliceCounts

TIMEOUT_S = 3600.0
REPLAY_WAIT_S = 90.0
"""How long a training waits for the replay release to arrive."""
MOST_CASES = 4096
"""Cases of each kind an evaluation takes at most, the newest."""


class Tasks:
    """Does trainings and evaluations.

    Args:
        settings: region.toml; its training section limits what the cloud asks for.
        vault: open, read only.
        pause: waits for so many seconds; False when the process is to stop.
    """

    def __init__(self, settings: RegionSettings, vault: Vault, *, pause: Callable[[float], bool]) -> None:
        self._settings = settings
        self._vault = vault
        self._pause = pause

    def train(self, arrays: Arrays, wish: Wish) -> Outcome:
        """Train from `arrays` on this region's cases, in a child process.

        Raises:
            FederationError: training is switched off here, or cannot be done.
        """
        limits = self._settings.training
        if not limits.enabled:
            raise FederationError(f"{self._settings.name} does not take part: training.enabled is false.")
        bounded = msgspec.structs.replace(
            wish,
            steps=min(wish.steps, limits.steps),
            batch=min(wish.batch, limits.batch),
            minimum_cases=max(wish.minimum_cases, limits.minimum_cases),
        )
        self._await_replay(bounded)
        newest = self._vault.database.rows("SELECT coalesce(max(id), 0) FROM cases")[0][0]
        watch = Agreement(self._vault.database).watch()
        job = Job(
            vault=self._settings.vault_path,
            replay=replay_path(self._settings.state),
            wish=bounded,
            learning_rate=limits.learning_rate,
            threads=limits.threads,
            nice=limits.nice,
            last_case=newest,
            since=watch.since if watch.alarm else 0.0,
        )
        return training.train(self._settings.state / "training", arrays, job, timeout_s=TIMEOUT_S)

    def _await_replay(self, wish: Wish) -> None:
        """Give the replay release time to arrive: it is fetched by the daemon, beside this process."""
        deadline = monotonic() + REPLAY_WAIT_S
        while wish.replay_share > 0 and replay_path(self._settings.state) is None and monotonic() < deadline:
            if not self._pause(0.5):
                raise FederationError("the region is being stopped.")

    def evaluate(self, task: EvaluateTask, folder: Path) -> EvaluationReply:
        """Count how candidate and current student do on the held-out audit cases, and on the cases people labelled.

        No case of the first kind gives counts of zero, none of the second gives no counts.

        Raises:
            TrustError: a card cannot be read.
            EngineError: a model cannot be run.
        """
        card, current = _card(folder, task.candidate_card), _card(folder, task.current_card)
        models = [(folder / task.candidate.name, card), (folder / task.current.name, current)]
        drawn = evaluation.held_out(self._vault.cases(split="evaluation", answered=True, limit=MOST_CASES), card)
        frozen = list(self._vault.human_cases(limit=MOST_CASES))
        human = evaluation.judged(((case, label) for case, label, _ in frozen), card)
        candidate, before = self._counts(models, drawn, task)
        human_candidate, human_current = self._counts(models, human, task) if len(human.truth) else (None, None)
        return EvaluationReply(
            task=task.task,
            edges=task.edges,
            candidate=candidate,
            current=before,
            human_candidate=human_candidate,
            human_current=human_current,
            human_generated=sum(source != PERSON for _, _, source in frozen),
        )

    def _counts(self, models: Sequence[tuple[Path, Card]], cases: HeldOut, task: EvaluateTask) -> list[SliceCounts]:
        counts = []
        for path, card in models:
            predicted, scores = evaluation.run(path, card, cases, threads=self._settings.training.threads)
            counts.append(tally.count(predicted, scores, cases, classes=len(models[0][1].labels), edges=task.edges))
        return counts


def replay_path(state: Path) -> Path | None:
    """Return the replay release that region.models has installed, or None before the first."""
    folder = state / "models" / "replay"
    try:
        release = int(json.loads((folder / "current").read_bytes())["release"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    path = folder / f"{release:06d}" / "replay.npz"
    return path if path.exists() else None


def _card(folder: Path, blob: Blob) -> Card:
    return decode_card((folder / blob.name).read_bytes())
