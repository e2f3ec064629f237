"""The round worker: `python -m cloud.federation --config cloud.toml`, a child of `terrace cloud serve`.

Composition root of this process. It takes rounds from the registry (asked for by an operator, or begun by itself when regions have
gathered enough and the student is one that rounds can teach), runs them to their end, and keeps the repository's signatures fresh.
Killed at any moment, it goes on at the row.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from cloud.blobs import Blobs
from cloud.config import Settings
from cloud.configfile import read
from cloud.federation import flower, participants, seedset
from cloud.federation.releasing import Releasing
from cloud.federation.rounds import Rounds
from cloud.federation.training import Start, Training
from cloud.federation.workshop import Workshop
from cloud.fleet import Fleet
from cloud.mailbox import Mailbox
from cloud.publish import Repository
from cloud.records import Round
from cloud.registry import Registry
from cloud.rollout_book import RolloutBook
from cloud.rollouts import ITSELF, Rollouts
from cloud.tables import open_registry
from shared import clock, log
from shared.audit import AuditLog
from shared.errors import TerraceError

POLL_S = 0.3
REFRESH_S = 3600.0
PREPARE_AGAIN_S = 60.0
WORKER_FAILED, REFRESH_FAILED, NOT_PREPARED = "round_worker_failed", "signatures_not_refreshed", "seed_set_not_prepared"
Pause = Callable[[float], bool]


class RoundWorker:
    """Everything the process is made of.

    Args:
        settings: cloud.toml.
        pause: waits for so many seconds; False when the process is to stop.
    """

    def __init__(self, settings: Settings, pause: Pause) -> None:
        self._settings = settings
        self._pause = pause
        self._is_prepared, self._prepare_at = False, 0.0
        self.database = open_registry(settings)
        self.blobs = Blobs(settings.state / "blobs")
        self._registry = Registry(self.database)
        self._fleet = Fleet(self.database)
        self._repository = Repository(settings.repository_folder, settings.repository.keys)
        mailbox = Mailbox(self.database, self.blobs)
        self._workshop = Workshop(settings)
        self._audit = AuditLog(settings.audit_path)
        rollouts = Rollouts(
            settings,
            book=RolloutBook(self.database),
            fleet=self._fleet,
            repository=self._repository,
            audit=self._audit,
        )
        self._releasing = Releasing(
            settings,
            registry=self._registry,
            fleet=self._fleet,
            mailbox=mailbox,
            repository=self._repository,
            foundry=self._workshop,
            rollouts=rollouts,
            pause=pause,
        )
        self._training = Training(
            registry=self._registry,
            fleet=self._fleet,
            mailbox=mailbox,
            rules=settings.rounds,
            start=self._start,
            judge=self._judge,
            folder=settings.state / "rounds",
            pause=pause,
        )
        self._logger = log.get("rounds")

    def run(self) -> None:
        """Work until the process is to stop."""
        self.database.start()
        self.blobs.start()
        try:
            self._loop(self._rounds())
        except InterruptedError:
            return  # told to stop in the middle of a round, which goes on next time
        finally:
            self.database.stop()

    def _loop(self, rounds: Rounds) -> None:
        refreshed = float("-inf")
        while self._pause(POLL_S):
            if clock.monotonic() - refreshed > REFRESH_S:
                self._refresh()
                refreshed = clock.monotonic()
            self._prepare()
            current = self._registry.open_round()
            if current is not None:
                self._record(rounds.run(current))
            elif (in_need := self._in_need()) and self._releasing.can_teach():
                self._request(f"drift alarm of {', '.join(in_need)}", need=True)
            elif self._is_due() and self._releasing.can_teach():
                self._request("enough new cases")

    def _request(self, reason: str, *, need: bool = False) -> None:
        asked = self._registry.request_round(reason, now=clock.wall(), need=need)
        self._audit.append(ITSELF, "round.requested", f"round {asked.number}", {"reason": reason[:500]})

    def _record(self, ended: Round) -> None:
        published = {step.name: step.result for step in self._registry.steps(ended.number)}.get("publish", {})
        detail = {"reason": ended.reason[:500], "release": published.get("release", 0)}
        self._audit.append(ITSELF, f"round.{ended.state}", f"round {ended.number}", detail)

    def _rounds(self) -> Rounds:
        training, releasing = self._training, self._releasing
        return Rounds(
            self._registry,
            {
                "train": lambda current, results: training.train(current, results, base=releasing.teachable_student()),
                "aggregate": training.aggregate,
                "distil": releasing.distil,
                "quantise": releasing.quantise,
                "evaluate": releasing.evaluate,
                "gate": releasing.gate,
                "publish": releasing.publish,
                "rollout": releasing.rollout,
            },
            close=releasing.close,
            clock=clock.wall,
        )

    def _start(self, release: int) -> Start:
        found = self._releasing.current(release)
        turning = seedset.may_turn(self._settings)
        return Start(release=release, arrays=found.arrays, classes=len(found.card.labels), side=found.card.input.width, turning=turning)

    def _judge(self, region: str, update: flower.Arrays) -> str:
        del region
        return self._workshop.judge(self._releasing.current(self._releasing.desired_student()), update)

    def _in_need(self) -> list[str]:
        rules = self._settings.rounds
        if not rules.automatic_on_alarm:
            return []
        return participants.in_need(
            self._fleet.regions(),
            needed_cases=max(rules.needed_cases, rules.minimum_cases),
            pause_s=rules.alarm_pause_s,
            taught=lambda region, since: self._registry.taught(region, since=since),
            now=clock.wall(),
        )

    def _is_due(self) -> bool:
        rules = self._settings.rounds
        return participants.is_due(
            self._fleet.regions(),
            new_cases=rules.new_cases,
            minimum_regions=rules.minimum_regions,
            minimum_cases=rules.minimum_cases,
            now=clock.wall(),
        )

    def _prepare(self) -> None:
        """Make the seed and replay sets once, where rounds can be made; a failure is told and tried again, less and less often."""
        if self._is_prepared or clock.monotonic() < self._prepare_at:
            return
        if not self._releasing.can_teach():
            self._prepare_at = clock.monotonic() + PREPARE_AGAIN_S
            return
        try:
            seedset.prepare(self._settings, self._repository)
            self._is_prepared = True
        except TerraceError as error:
            self._logger.exception(NOT_PREPARED, error=str(error))
            self._prepare_at = clock.monotonic() + PREPARE_AGAIN_S

    def _refresh(self) -> None:
        try:
            self._repository.refresh_timestamp()
        except TerraceError as error:  # rounds go on; devices keep what they have until this works again
            self._logger.exception(REFRESH_FAILED, error=str(error))


def main(config: Annotated[Path, typer.Option(help="The cloud's configuration file.")]) -> None:
    """Run federated rounds as they are asked for."""
    log.configure()
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    try:
        RoundWorker(read(config), lambda seconds: not stopped.wait(seconds)).run()
    except TerraceError as error:
        log.get("rounds").error(WORKER_FAILED, error=str(error))
        raise typer.Exit(error.exit_code) from None


if __name__ == "__main__":
    typer.run(main)
