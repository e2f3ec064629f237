"""Runs rollouts: looks at what devices say, lets the rules decide, and publishes what follows. One thread of the cloud's daemon.

A row is changed first, then the desired state is published from the row. So whatever dies in between, the next look publishes what
is still pending, and a document that says it already is not published twice. Any process that holds the rollout key may do it.

Rules, in order:
1. Publish what is pending; mark what audit samples say (baselines).
2. For every open rollout: votes and audit samples of its cohort, a judgement, a change, published at once.
3. A look that fails is told and made again.

Not here: the judgement (verdict, agreement), the table (rollout_states), the rows (rollout_book).
"""

from __future__ import annotations

import secrets
import threading

import msgspec

from cloud import agreement, clusters, rollout, verdict
from cloud.agreement import Evidence, Pair, Rule
from cloud.baselines import Baselines
from cloud.clusters import ClusterRule
from cloud.config import RolloutSection, Settings
from cloud.fleet import Fleet
from cloud.publish import Repository
from cloud.rollout_book import RolloutBook
from cloud.rollout_record import Plan, Rollout, audit_of, compared_by, document, identity
from cloud.rollout_states import Event
from cloud.verdict import Quorum
from shared import log
from shared.audit import AuditLog
from shared.clock import Clock, monotonic, wall
from shared.errors import FederationError, InputError, TrustError
from shared.release.card import target_path
from shared.wire.reports import DeviceSummary

FAMILY = "student"
ITSELF = "terrace"
TICK_S, SHARE_OF_TIME = 0.5, 10.0
"""Seconds between looks; with a very large fleet ten times what a look takes."""
MARK_S = 5.0
AWAY_S = 120.0
"""A device that nobody had heard of for so long when the rollout began has no vote until it is heard again."""
CHANGED, PUBLISHED, FAILED = "rollout_changed", "desired_state_published", "rollout_look_failed"


class Rollouts:
    """A part: begins rollouts, takes people's acts, and looks after those that are open.

    Args:
        settings: cloud.toml.
        book: the rows.
        fleet: the devices as last reported.
        repository: where the desired state is published.
        audit: keeps every change and who made it.
        clock: wall time.
    """

    def __init__(
        self, settings: Settings, *, book: RolloutBook, fleet: Fleet, repository: Repository, audit: AuditLog, clock: Clock = wall
    ) -> None:
        self._fleet_name = settings.fleet
        self._rules: RolloutSection = settings.rollout
        self._book = book
        self._baselines = Baselines(book.database, most=settings.rollout.baseline_audits)
        self._fleet = fleet
        self._repository = repository
        self._clock = clock
        self._audit = audit
        self._marked_at = float("-inf")
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="rollouts", daemon=True)
        self._logger = log.get("rollouts")

    def start(self) -> None:
        """Look after rollouts from now on."""
        self._thread.start()

    def stop(self) -> None:
        """End after the look in hand."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join(timeout=30)

    def begin(self, release: int, *, who: str, origin: str = "", reason: str = "", model: str = FAMILY, role: str = "") -> Rollout:
        """Begin to roll a published release out; an open rollout of the family ends in its favour.

        Args:
            release: its number.
            who: who asked for it.
            origin: what asked for it; the same origin asking again gets the same rollout.
            reason: why, for people.
            model: the family; only students answer for themselves.
            role: who must have signed it, where that matters.

        Raises:
            InputError: the release is not published, or the family is not one that devices judge.
            FederationError: every device is meant to run it already, or there is no desired state yet.
            StorageError: the disk refuses.
        """
        if origin and (known := self._book.of(model, release, origin)) is not None:
            self._settle_later()
            return known
        role = self._role(model, release, role)
        desired = self._repository.desired(self._fleet_name)
        if desired is None or model not in desired.models:
            raise FederationError(f"the fleet has no {model} yet.", "Run: terrace cloud init --models DIR.")
        previous, previous_role = rollout.proven(desired.models[model])
        if previous == release:
            raise FederationError(f"every device is meant to run {model} {release} already.")
        salt = secrets.token_hex(16)
        quorum = {"minimum_devices": self._rules.minimum_devices, "minimum_regions": self._rules.minimum_regions}
        devices = [name for name, _ in self._devices(self._clock())]
        share = rollout.opening_share(devices, salt, self._rules.canary_share, **quorum)
        plan = Plan(
            model=model, release=release, role=role, previous=previous, previous_role=previous_role, salt=salt, share=share,
            origin=origin, reason=reason or f"{model} {release} is tried before all devices get it",
        )  # fmt: skip
        begun = self._book.begin(plan, who=who, now=self._clock())
        self._settle_later()
        self._tell("rollout.begin", begun, who)
        return begun

    def act(self, number: int, event: Event, *, who: str, reason: str = "") -> Rollout:
        """Let a person promote, pause, resume or abort a rollout.

        Raises:
            FederationError: there is no such rollout, or it cannot be done to it now.
        """
        current = self._book.rollout(number)
        share = None
        if event is Event.PROMOTE:
            if current.share >= 1.0:
                raise FederationError(f"rollout {number} has reached every device already.")
            share = self._wider(current)
        words = reason or f"{event.value} by {who}"
        changed = self._book.change(number, event, reason=words, who=who, now=self._clock(), share=share)
        self._settle_later()
        self._tell(f"rollout.{event.value}", changed, who)
        return changed

    def look(self) -> None:
        """Publish what is pending, judge every open rollout, publish what follows."""
        self.settle()
        self._mark()
        for current in self._book.open():
            if current.published == current.revision:
                self._judge(current)
        self.settle()

    def settle(self) -> None:
        """Publish what devices have not been told yet.

        Raises:
            StorageError: the disk refuses.
            TrustError: another process has published meanwhile, or the way back is barred by a raised minimum; it stays pending.
            IdentityError: the rollout key is not here.
        """
        for current in self._book.pending():
            before = self._repository.desired(self._fleet_name)
            if before is None:
                return
            after = document(before, current, self._deltas(current))
            if after.models[current.model] != before.models[current.model]:
                self._repository.set_desired(after)
                self._logger.info(PUBLISHED, version=after.version, model=current.model, release=after.models[current.model].release)
            self._book.mark_published(current)

    def _judge(self, current: Rollout) -> None:
        voters = self._cohort(current)
        votes = {name: verdict.vote_of(device, current.release) for name, device in voters}
        evidence = self._evidence(voters, current)
        words = {name: vote.value for name, vote in votes.items()}
        if (words, evidence) != (current.votes, current.evidence):
            self._book.note(current.id, evidence, words)
        now = self._clock()
        judgement = verdict.judge(
            current.state,
            current.share,
            votes,
            evidence,
            is_young=now - current.stage_at < self._rules.least_stage_s,
            is_over=now - current.stage_at > self._rules.deadline_s,
            quorum=self._quorum(),
            excluded=self._rules.excluded_loss,
        )
        if judgement.event is not None:
            share = self._wider(current) if judgement.event is Event.WIDEN else None
            changed = self._book.change(
                current.id, judgement.event, reason=judgement.reason, who=ITSELF, now=now, share=share, revision=current.revision
            )
            if changed.revision != current.revision:
                self.settle()
                self._tell(f"rollout.{judgement.event.value}", changed, ITSELF)

    def _mark(self) -> None:
        if self._clock() - self._marked_at < MARK_S:
            return
        self._marked_at = self._clock()
        for region, device in self._fleet.devices():
            self._baselines.note(identity(region, device.name), device.audits)

    def _pair(self, name: str, device: DeviceSummary, current: Rollout) -> Pair:
        before = self._baselines.recent(name, audit_of(device, current.previous))
        after = audit_of(device, current.release)
        return Pair(
            before=before.audited,
            before_agreed=before.agreed,
            after=after.audited if after else 0,
            after_agreed=after.agreed if after else 0,
        )

    def _evidence(self, voters: list[tuple[str, DeviceSummary]], current: Rollout) -> Evidence:
        """Return what the cohort's audit samples say, and what those devices say that ran both releases on them."""
        rules = self._rules
        found = agreement.weigh([self._pair(name, device, current) for name, device in voters], self._rule())
        asked = ClusterRule(
            tolerated=rules.tolerated_mean_loss, excluded=rules.excluded_mean_loss, false_stop=rules.false_stop, missed=rules.missed
        )
        compared = [compared_by(device, current.release) for _, device in voters]
        return msgspec.structs.replace(found, clusters=clusters.weigh(compared, asked, current.evidence.clusters))

    def _run(self) -> None:
        told, took = "", 0.0
        while not self._stopped.wait(max(TICK_S, SHARE_OF_TIME * took)):
            began = monotonic()
            try:
                self.look()
                told = ""
            except Exception as error:
                if str(error) != told:  # once, not at every look
                    self._logger.exception(FAILED, reason=str(error))
                told = str(error)
            took = monotonic() - began

    def _settle_later(self) -> None:
        """Publish now where that is possible; the daemon's next look does it otherwise."""
        try:
            self.settle()
        except TrustError as error:
            self._logger.info(FAILED, reason=str(error))

    def _devices(self, since: float) -> list[tuple[str, DeviceSummary]]:
        """Return the devices that were there shortly before `since` or have been heard after it."""
        named = [(identity(region, device.name), device) for region, device in self._fleet.devices()]
        return [(name, device) for name, device in named if device.seen_at >= since - AWAY_S]

    def _cohort(self, current: Rollout) -> list[tuple[str, DeviceSummary]]:
        devices = dict(self._devices(current.started_at))
        return [(name, devices[name]) for name in rollout.cohort(list(devices), current.salt, current.share)]

    def _wider(self, current: Rollout) -> float:
        devices = [name for name, _ in self._devices(current.started_at)]
        return rollout.wider_share(devices, current.salt, current.share)

    def _role(self, model: str, release: int, wanted: str) -> str:
        if model != FAMILY:
            raise InputError(f"{model} is not rolled out in steps: no device could judge it.", "See: terrace cloud release rollout.")
        role = self._repository.releases(model).get(release)
        if role is None or wanted not in ("", role):
            raise InputError(
                f"there is no {wanted or 'published'} release {release} of {model}.",
                "`terrace cloud release list` shows what is published.",
            )
        return role

    def _deltas(self, current: Rollout) -> tuple[int, ...]:
        names = self._repository.targets()
        paths = {
            base: target_path(current.model, current.role, current.release, f"from-{base:06d}.delta") for base in range(1, current.release)
        }
        return tuple(base for base, path in paths.items() if path in names)

    def _quorum(self) -> Quorum:
        rules = self._rules
        return Quorum(
            minimum_devices=rules.minimum_devices,
            minimum_regions=rules.minimum_regions,
            largest_failed_share=rules.largest_failed_share,
            ask_when_small=rules.ask_when_small,
        )

    def _rule(self) -> Rule:
        rules = self._rules
        return Rule(
            tolerated=rules.tolerated_loss,
            excluded=rules.excluded_loss,
            false_stop=rules.false_stop,
            missed=rules.missed,
            together=rules.audits_together,
        )

    def _tell(self, action: str, current: Rollout, who: str) -> None:
        detail = {"release": current.release, "state": current.state.value, "share": round(current.share, 6), "reason": current.reason}
        self._logger.info(CHANGED, rollout=current.id, who=who, **detail)
        self._audit.append(who, action, f"rollout {current.id}", {**detail, "reason": current.reason[:500]})
