"""A cloud with rollouts and four devices that follow what it desires."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cloud.config import Settings
from cloud.configfile import read
from cloud.fleet import Fleet
from cloud.publish import Repository
from cloud.rollout_book import RolloutBook
from cloud.rollout_record import Rollout
from cloud.rollout_states import State
from cloud.rollouts import Rollouts
from cloud.tables import open_registry
from shared.audit import AuditLog
from shared.release.desired import DesiredModel, wanted
from shared.wire.reports import DeviceSummary, FleetReport, ReleaseAudit, ReleasePair
from tests.unit import releases

NOW = 1_800_000_000.0
SMALL = {"minimum_devices": 1, "minimum_regions": 1, "excluded_loss": 0.3, "deadline_s": 60.0}
DEVICES = [f"edge-{number}.region-{region}" for region in (1, 2) for number in (1, 2)]


class World:
    """The cloud's files, and devices that do what the desired state says and report it.

    `share` is how often a release agrees with the expert, `lost` on which share of the samples only the release before it
    agrees (no entry: they are not compared).
    """

    def __init__(self, root: Path, *, devices: Sequence[str] = DEVICES, **rules: Any) -> None:
        self.root, self.now, self.devices = root, NOW, list(devices)
        config = root / "cloud.toml"
        lines = "".join(f"{key} = {str(value).lower()}\n" for key, value in {**SMALL, **rules}.items())
        text = '[identity]\nfolder = "id"\n[repository]\nkeys = "keys"\n[regions]\nport = 1\n[people]\nport = 2\n[rollout]\n'
        config.write_text(f'fleet = "acme"\nstate = "state"\n{text}{lines}')
        self.settings: Settings = read(config)
        self.database = open_registry(self.settings)
        self.database.start()
        self.book, self.fleet = RolloutBook(self.database), Fleet(self.database)
        self.audit = AuditLog(self.settings.audit_path)
        self.rollouts = self.runner()
        self.share = dict.fromkeys((1, 2, 3), 0.93)
        self.counts: dict[tuple[str, int], list[int]] = {(device, 1): [200, 186] for device in self.devices}
        self.lost: dict[int, float] = {}
        self.ran: dict[int, set[str]] = {}
        self.falls_back: set[int] = set()
        self.silent: set[str] = set()

    def publish(self) -> None:
        repository = Repository.create(self.settings.repository_folder, self.settings.repository.keys)
        for number, moved in ((1, 0.0), (2, 0.01), (3, 0.02)):
            releases.add(repository, self.root, releases.model(1, moved=moved), number, bases=(1,) if number > 1 else ())
        releases.desire(repository, 1)

    @property
    def repository(self) -> Repository:
        return Repository(self.settings.repository_folder, self.settings.repository.keys)

    def runner(self) -> Rollouts:
        return Rollouts(
            self.settings, book=self.book, fleet=self.fleet, repository=self.repository, audit=self.audit, clock=lambda: self.now
        )

    def desired(self) -> DesiredModel:
        found = self.repository.desired("acme")
        assert found is not None
        return found.models["student"]

    def live(self, seconds: float = 5.0, audits: int = 10) -> None:
        """Let the devices follow the desired state, answer audit samples, and their regions report."""
        self.now += seconds
        model = self.desired()
        for region in ("region-1", "region-2"):
            here = [device for device in self.devices if device.endswith(region) and device not in self.silent]
            report = FleetReport(
                at=self.now, cases_stored=0, cases_answered=0, cases_train=0, cases_evaluation=0,
                devices=tuple(self._summary(device, model, audits) for device in here),
            )  # fmt: skip
            self.fleet.report(region, report, now=self.now)

    def _summary(self, device: str, model: DesiredModel, audits: int) -> DeviceSummary:
        choice = wanted(model, device)
        release = choice.release if choice else 1
        self.ran.setdefault(release, set()).add(device)
        word = "committed"
        if release in self.falls_back:
            word, update, release = "fallen_back", release, 1
        else:
            update = release
        count = self.counts.setdefault((device, release), [0, 0])
        count[0] += audits
        count[1] = round(count[0] * self.share[release])
        pair = ReleasePair(release=release, samples=count[0], lost=round(count[0] * self.lost.get(release, 0.0)), won=0)
        return DeviceSummary(
            name=device, seen_at=self.now, release=release, update_release=update, update_word=word,
            committed=(release,) if word == "committed" else (),
            compared=pair if release in self.lost else None,
            audits=tuple(
                ReleaseAudit(release=number, audited=n, agreed=k, kept=0, kept_wrong=0)
                for (name, number), (n, k) in self.counts.items()
                if name == device
            ),
        )  # fmt: skip

    def until(self, *states: State, steps: int = 60) -> Rollout:
        for _ in range(steps):
            self.live()
            self.rollouts.look()
            if (found := self.book.rollouts()[0]).state in states:
                return found
        raise AssertionError(f"still {self.book.rollouts()[0]}")
