"""The steps `train` and `aggregate`: Flower's FedAvg over our Grid, from choosing who takes part to the checkpoint."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from flwr.app import ConfigRecord

from cloud.config import RoundsSection
from cloud.federation import flower, participants
from cloud.federation.aggregation import Judge, StreamingFedAvg
from cloud.federation.grid import MailboxGrid
from cloud.federation.rounds import Result, Results
from cloud.fleet import Fleet
from cloud.mailbox import Mailbox
from cloud.records import Round
from cloud.registry import Registry
from shared import durable
from shared.clock import Clock
from shared.errors import FederationError
from shared.release.card import sha256

POLL_S = 0.25
Pause = Callable[[float], bool]


class Start(msgspec.Struct, frozen=True, kw_only=True):
    """What a round begins with: the current student's release, its weights, how many classes it tells apart and its input's side.

    `turning` says whether a picture may be turned and put upside down without changing its class.
    """

    release: int
    arrays: dict[str, Any]
    classes: int
    side: int
    turning: bool = True


class Training:
    """Trains in the regions and adds up.

    Args:
        registry: where the choice of participants is kept.
        fleet: who there is.
        mailbox: how tasks travel.
        rules: quorum, deadline, minimums, and what regions are asked to do.
        start: gives what a round begins with.
        judge: looks alone at updates unlike the others.
        folder: where checkpoints lie, one sub-folder per round.
        clock: wall time.
        pause: waits for so many seconds; False when the process is to stop.
    """

    def __init__(
        self,
        *,
        registry: Registry,
        fleet: Fleet,
        mailbox: Mailbox,
        rules: RoundsSection,
        start: Callable[[int], Start],
        judge: Judge | None,
        folder: Path,
        clock: Clock = time.time,
        pause: Pause,
    ) -> None:
        self._registry = registry
        self._fleet = fleet
        self._mailbox = mailbox
        self._rules = rules
        self._start = start
        self._judge = judge
        self._folder = folder
        self._clock = clock
        self._pause = pause

    def train(self, current: Round, results: Results, *, base: int) -> Result:
        """Choose the participants once and for all, post their tasks, wait for quorum or deadline.

        Args:
            current: the round.
            results: of earlier steps: none.
            base: the current student's release.

        Raises:
            FederationError: too few regions, or too few replies by the deadline.
        """
        del results
        step = self._registry.begin_step(current.number, "train", now=self._clock())
        plan = dict(step.result) or self._plan(current, base)
        strategy, grid, start = self._prepare(current, plan)
        grid.push_messages(strategy.configure_train(1, flower.record_of(start.arrays), self._wishes(start), grid))
        grid.wait()
        return plan

    def aggregate(self, current: Round, results: Results) -> Result:
        """Check and add up the updates, and write the checkpoint.

        Raises:
            FederationError: fewer valid updates than the quorum.
        """
        strategy, grid, start = self._prepare(current, results["train"])
        found = strategy.start(
            grid=grid, initial_arrays=flower.record_of(start.arrays), num_rounds=1, train_config=self._wishes(start)
        ).arrays
        data = pack({name: array.numpy() for name, array in found.items()})
        durable.write(self.checkpoint(current), data, mode=0o600)
        contributions = [msgspec.to_builtins(item) for item in strategy.contributions]
        return {"sha256": sha256(data), "contributions": contributions, "base": start.release}

    def checkpoint(self, current: Round) -> Path:
        """Return where a round's aggregated weights lie."""
        return self._folder / f"{current.number:06d}" / "aggregate.npz"

    def _plan(self, current: Round, base: int) -> Result:
        choice = self._participants(current)
        plan = {
            "base": base,
            "participants": {str(region.node): region.name for region in choice.regions},
            "reason": choice.reason,
            "quorum": choice.quorum,
            "in_need": [region.name for region in choice.regions if region.is_in_need],
            "cases": {region.name: region.cases_train for region in choice.regions},
            "deadline": self._clock() + self._rules.deadline_s,
        }
        self._registry.note_step(current.number, "train", plan)
        return plan

    def _participants(self, current: Round) -> participants.Choice:
        rules = participants.Rules(
            minimum_regions=self._rules.minimum_regions,
            minimum_cases=self._rules.minimum_cases,
            named=current.regions,
            by_need=self._rules.by_need,
            only_need=current.need,
        )
        began = self._clock()
        patience_s = min(self._rules.deadline_s, participants.RECENT_S)
        while True:
            now = self._clock()
            found = participants.choose(self._fleet.regions(), rules, waited_s=now - began, now=now)
            if found is not None:
                return found
            if now - began > patience_s:
                raise FederationError(
                    f"round {current.number} has no quorum: " + participants.shortage(self._fleet.regions(), rules, now=now),
                    "Wait for more cases, or lower rounds.minimum_regions or rounds.minimum_cases.",
                )
            if not self._pause(POLL_S):
                raise InterruptedError("the worker is to stop")

    def _prepare(self, current: Round, plan: Mapping[str, Any]) -> tuple[StreamingFedAvg, MailboxGrid, Start]:
        start = self._start(int(plan["base"]))
        names = {int(node): name for node, name in plan["participants"].items()}
        quorum = int(plan.get("quorum", self._rules.minimum_regions))  # a round begun by an earlier version has none
        grid = MailboxGrid(
            self._mailbox,
            round_number=current.number,
            nodes=names,
            begun_at=current.created_at,
            deadline=float(plan["deadline"]),
            quorum=quorum,
            limit_bytes=limit_of(start.arrays),
            clock=self._clock,
            pause=self._pause,
        )
        strategy = StreamingFedAvg(
            start.arrays,
            names=names,
            quorum=quorum,
            minimum_cases=self._rules.minimum_cases,
            minimum_steps=self._rules.minimum_steps,
            judge=self._judge,
        )
        return strategy, grid, start

    def _wishes(self, start: Start) -> ConfigRecord:
        rules = self._rules
        return ConfigRecord(
            {
                "classes": start.classes,
                "side": start.side,
                "turning": start.turning,
                "steps": rules.steps,
                "batch": rules.batch,
                "seed": rules.seed,
                "minimum-cases": rules.minimum_cases,
                "replay-share": rules.replay_share,
                "device-share": rules.device_share,
            }
        )


def limit_of(arrays: Mapping[str, Any]) -> int:
    """Return how many bytes an update of this model may weigh: its arrays, their headers and names, and Flower's envelope."""
    return sum(int(value.nbytes) + 1024 + 4 * len(name) for name, value in arrays.items()) + (64 << 10)


def pack(arrays: Mapping[str, Any]) -> bytes:
    """Return arrays as .npz bytes that depend on the arrays alone."""
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def unpack(path: Path) -> dict[str, Any]:
    """Read arrays that `pack` wrote.

    Raises:
        FederationError: the file is missing or damaged.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (OSError, ValueError) as error:
        raise FederationError(f"the weights {path} cannot be read: {error}.", "Start a new round.") from error
