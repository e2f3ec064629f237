"""What can be set in cloud.toml, with its unit and default (read by configfile)."""

from __future__ import annotations

from pathlib import Path

from shared.errors import ConfigurationError
from shared.section import Section


class IdentitySection(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The cloud's machine identity, made by `terrace provision pki cloud`."""

    folder: Path
    """Folder with certificate.pem, key.pem, anchors.json and root.pub."""


class RegionsSection(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The listener for regions: TLS 1.3, a certificate under the region anchor is required."""

    port: int
    """Port to listen on."""
    host: str = "127.0.0.1"
    """Address to listen on; regions name it in `cloud.url`."""
    longest_poll_s: float = 25.0
    """How long an inbox request may wait for a task."""


class PeopleSection(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The listener for people: TLS, pages with sign-in, and an API that also takes bearer tokens.

    The operator's certificate is `people.pem` with `people.key.pem` in the state folder; without them a self-signed one is made and
    its fingerprint logged.
    """

    port: int
    """Port to listen on."""
    host: str = "127.0.0.1"
    """Address to listen on."""


class OpsSection(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Health and metrics, plain HTTP on 127.0.0.1 only."""

    port: int = 0
    """0 takes a free port; the status socket says which."""


class RoundsSection(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who takes part in a federated round, and when one is lost."""

    minimum_regions: int = 2
    """The quorum: fewer valid updates by the deadline fail the round."""
    minimum_cases: int = 64
    """Training cases a region must have to be asked."""
    minimum_steps: int = 10
    """Optimiser steps an update must have taken to count."""
    device_share: float = 0.1
    """Largest share of a region's data in a round that may come from one device (0 to 1)."""
    deadline_s: float = 1800.0
    """Seconds regions have to answer a task."""
    steps: int = 200
    """Optimiser steps a region takes per round."""
    batch: int = 64
    """Pictures per optimiser step."""
    replay_share: float = 0.65
    """Share of each batch that comes from the replay release (0 to 1)."""
    new_cases: int = 0
    """Start a round by itself when regions report this many cases not yet learned from; 0 waits for an operator."""
    by_need: bool = True
    """While a region has a drift alarm, ask only regions that have one."""
    automatic_on_alarm: bool = True
    """Start a round by itself when a region has a drift alarm and `needed_cases`."""
    needed_cases: int = 64
    """Training cases since its alarm that a region in need must have for a round to start by itself."""
    alarm_pause_s: float = 600.0
    """Seconds between two rounds that start by themselves for one alarm; doubles with each."""
    seed: int = 1
    """Seed of every random choice of a round."""


class FoundrySection(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the cloud does with an aggregated student, and what a candidate must reach."""

    seed_set: Path | None = None
    """Labelled .npz the cloud owns: frames, labels, units, names; by default the one that `terrace cloud init` imported."""
    calibration_set: Path | None = None
    """.npz for activation ranges; by default the imported one, else the seed set."""
    distil_steps: int = 60
    """Most optimiser steps on the seed set after aggregation; none are taken where little was forgotten."""
    largest_drop: float = 0.02
    """How much worse than the current student a candidate may be on a set (share, 0 to 1)."""
    minimum_held_out: int = 50
    """Held-out cases of all regions together from which on they judge a candidate; with fewer the seed set decides alone."""
    epsilon: float = 0.02
    """Deferral risk the threshold is calibrated for."""
    delta: float = 0.05
    """Probability with which the risk bound may be wrong."""


class RolloutSection(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a release that passed its gates comes to the devices: to a few first, on when they say it is good, back when not."""

    automatic: bool = True
    """Begin with every release of a round by itself; otherwise an operator does: terrace cloud rollout start."""
    canary_share: float = 0.01
    """Share of devices, by keyed hash, that run it first; at least one device (0 to 1)."""
    minimum_devices: int = 5
    """Devices that must have committed it before it is widened without an operator."""
    minimum_regions: int = 2
    """Regions those devices must be in."""
    ask_when_small: bool = True
    """Ask an operator where devices or audit samples are too few to decide; otherwise go on when nothing speaks against it."""
    deadline_s: float = 7200.0
    """Seconds a stage may take; who has not committed the release by then counts as failed."""
    largest_failed_share: float = 0.1
    """More failed devices of the cohort than this halt the rollout (0 to 1)."""
    tolerated_loss: float = 0.03
    """Loss of agreement with the expert, against the release before, that halts nothing (0 to 1)."""
    excluded_loss: float = 0.15
    """Loss of agreement that audit samples must rule out before a stage is widened (0 to 1)."""
    false_stop: float = 0.01
    """Probability, over a whole rollout and for either test, of halting a release that loses no more than is tolerated."""
    missed: float = 0.05
    """Probability, over a whole rollout and for either test, of ruling a loss out for a release that loses that much."""
    baseline_audits: int = 400
    """The newest audit samples of the release before, per device, that the new one is compared with."""
    tolerated_mean_loss: float = 0.01
    """Mean loss over the devices that run both releases on the same samples, that halts nothing (0 to 1)."""
    excluded_mean_loss: float = 0.03
    """Mean loss over them to be ruled out before more than a twentieth of the fleet gets it (0 to 1); it takes some fifty devices."""
    least_stage_s: float = 0.0
    """Seconds a stage lasts at least; a day (86400) where a release may be worse at night only."""
    audits_together: int = 1
    """How many audit samples may tell the same, as pictures of one unit do; the evidence is divided by it."""
    delta_bases: int = 3
    """Deltas are made from this many earlier releases."""


class RepositorySection(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The TUF repository."""

    keys: Path
    """Folder of the signing keys (0700)."""
    folder: Path | None = None
    """Folder of metadata and targets; `<state>/repository` when not given."""
    heads: Path | None = None
    """File of signed heads of the cloud's own audit log, best on another machine; `<keys>/signer/audit-heads.jsonl` when not given."""


class Settings(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole of cloud.toml."""

    fleet: str
    """The fleet's name, as its certificates say it."""
    state: Path
    """Folder of everything the cloud keeps."""
    identity: IdentitySection
    regions: RegionsSection
    people: PeopleSection
    repository: RepositorySection
    foundry: FoundrySection = FoundrySection()
    ops: OpsSection = OpsSection()
    rounds: RoundsSection = RoundsSection()
    rollout: RolloutSection = RolloutSection()

    @property
    def repository_folder(self) -> Path:
        """Folder of the TUF repository's metadata and targets."""
        return self.repository.folder or self.state / "repository"

    @property
    def models(self) -> Path:
        """Folder of what the foundry keeps: weights of each student, the seed set, the calibration set."""
        return self.state / "models"

    @property
    def status_path(self) -> Path:
        """The daemon's status socket."""
        return self.state / "status.sock"

    @property
    def revoked_path(self) -> Path:
        """The list of revoked regions."""
        return self.state / "revoked.json"

    @property
    def accounts_path(self) -> Path:
        """The SQLite file of accounts, invitations and sessions."""
        return self.state / "people.db"

    @property
    def audit_path(self) -> Path:
        """The audit log."""
        return self.state / "audit.db"

    @property
    def heads_path(self) -> Path:
        """The file of signed heads of the audit log."""
        return self.repository.heads or self.repository.keys / "signer" / "audit-heads.jsonl"

    @property
    def people_url(self) -> str:
        """The address of the pages for people, as far as the configuration says it."""
        host = "localhost" if self.people.host in {"", "0.0.0.0", "::", "127.0.0.1"} else self.people.host  # noqa: S104 - compared
        return f"https://{host}:{self.people.port}"

    @property
    def registry_path(self) -> Path:
        """The SQLite file of rounds, releases, fleet and mailbox."""
        return self.state / "registry.db"


ROLLOUT_SHARES = ("canary_share", "largest_failed_share", "tolerated_loss", "excluded_loss", "false_stop", "missed")


def checked(settings: Settings, name: str) -> Settings:
    """Return the settings of the file `name` when its values go together.

    Raises:
        ConfigurationError: naming the key and the remedy.
    """
    shares = {
        "rounds.device_share": settings.rounds.device_share,
        "rounds.replay_share": settings.rounds.replay_share,
        **{f"rollout.{key}": getattr(settings.rollout, key) for key in ROLLOUT_SHARES},
        "foundry.largest_drop": settings.foundry.largest_drop,
    }
    for key, value in shares.items():
        if not 0.0 <= value <= 1.0:
            raise ConfigurationError(f"{name}: {key} is {value}, which is no share.", "Give a number from 0 to 1.")
    rounds = settings.rounds
    if rounds.minimum_regions < 1 or rounds.deadline_s <= 0 or rounds.alarm_pause_s <= 0:
        keys = "rounds.minimum_regions, rounds.deadline_s and rounds.alarm_pause_s"
        raise ConfigurationError(f"{name}: {keys} must be positive.", "Correct them.")
    _check_rollout(settings.rollout, name)
    return settings


def _check_rollout(rules: RolloutSection, name: str) -> None:
    if rules.tolerated_loss >= rules.excluded_loss:
        raise ConfigurationError(f"{name}: rollout.excluded_loss must be larger than rollout.tolerated_loss.", "Correct them.")
    if not (0.0 < rules.false_stop < 1.0 and 0.0 < rules.missed < 1.0 and min(rules.audits_together, rules.baseline_audits) >= 1):
        keys = "rollout.false_stop and rollout.missed lie between 0 and 1, audits_together and baseline_audits are at least 1"
        raise ConfigurationError(f"{name}: {keys}.", "Correct them.")
