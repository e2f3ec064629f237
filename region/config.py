"""What can be set for a region: region.toml as a tree of frozen structs. Defaults suit one machine; every field has its unit."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from shared.section import Section
from shared.wire.address import address_of


class IdentitySettings(Section, frozen=True, kw_only=True):
    """Where certificates lie. `workers` holds one identity folder per intake worker, `intake-0` and so on."""

    folder: Path
    """The server's identity folder, made by `terrace provision pki region --host …`."""
    workers: Path


class BrokerSettings(Section, frozen=True, kw_only=True):
    """The broker: a supervised mosquitto on this machine, or with `url` one that others run.

    Devices reach `host`:`port`; intake workers reach 127.0.0.1:`worker_port`, or the broker of `url`.
    """

    url: str = ""
    """A broker run by others, as intake workers reach it: `mqtts://broker.example:8884`; empty: mosquitto is supervised here."""
    host: str = "127.0.0.1"
    port: int = 8883
    more_ports: tuple[int, ...] = ()
    """Further ports for devices, such as 443 for sites whose network lets nothing else out."""
    worker_port: int = 8884
    program: str = "mosquitto"
    """Name or path of the broker's program."""
    max_connections: int = 4096
    """Devices that may be connected at a time, per port."""
    max_packet_bytes: int = 65536
    """Largest MQTT packet taken, in bytes."""
    memory_mb: int = 256
    """Memory mosquitto may take (2^20 bytes); an eighth of it may be queued for one client."""

    @property
    def device_ports(self) -> tuple[int, ...]:
        """Every port devices may come in by."""
        return (self.port, *self.more_ports)

    @property
    def workers_at(self) -> tuple[str, int]:
        """Where intake workers find the broker.

        Raises:
            ConfigurationError: `url` is not the address of a broker.
        """
        return address_of(self.url) if self.url else ("127.0.0.1", self.worker_port)


class KeySettings(Section, frozen=True, kw_only=True):
    """The keys with which devices open epochs."""

    kem: Literal["x25519", "mlkem768-x25519"] = "x25519"
    """Key encapsulation; the hybrid with ML-KEM holds against quantum computers too and makes an opening 1.1 KB longer."""


class MachinesSettings(Section, frozen=True, kw_only=True):
    """The HTTPS listener for devices (mutual TLS): key announcement and release relay."""

    host: str = "127.0.0.1"
    """Address to listen on; devices name it in `link.relay_url`."""
    port: int = 8443
    """Port to listen on."""


class OpsSettings(Section, frozen=True, kw_only=True):
    """The plain HTTP listener on 127.0.0.1 for health, readiness and metrics."""

    port: int = 9100
    """Port to listen on."""


class PeopleSettings(Section, frozen=True, kw_only=True):
    """The HTTPS listener for people: the page where cases are looked at and labelled. Pictures are shown here and nowhere else."""

    host: str = "127.0.0.1"
    """Address to listen on."""
    port: int = 0
    """Port to listen on; 0: there is no such page."""
    url: str = ""
    """The page's address as people reach it, for links; empty: made of host and port."""

    @property
    def address(self) -> str:
        """The page's address, empty when there is none."""
        return (self.url or f"https://{self.host}:{self.port}/") if self.port else ""


class CloudSettings(Section, frozen=True, kw_only=True):
    """The cloud.

    `url` empty means there is none. `egress_record` names a folder that keeps every body sent to the cloud as it was before TLS.
    `poll_interval_s` is how often the region reports and asks for releases.
    """

    url: str = ""
    egress_record: Path | None = None
    poll_interval_s: float = 30.0


class RelaySettings(Section, frozen=True, kw_only=True):
    """The release cache. `root` is the releases' first root metadata (default: `releases.root.json` in the identity folder)."""

    capacity_mb: int = 2048
    """What cached release files may take (10^6 bytes); those not asked for lately go first."""
    root: Path | None = None


class VaultSettings(Section, frozen=True, kw_only=True):
    """How much the vault keeps: sealed cases in megabytes (10^6 bytes) and days; what is over either goes, least useful first."""

    capacity_mb: int = 4096
    """Sealed cases, in 10^6 bytes."""
    max_age_days: float = 90.0
    """Age of the oldest case, in days."""
    human_max_age_days: float = 730.0
    """Age of the oldest case with a label that people agreed on, in days; among the others these leave last."""


class ExpertSettings(Section, frozen=True, kw_only=True):
    """How the expert answers.

    `path` names a local model.onnx (its card beside it as .card.json) and is used until a release arrives from the cloud.
    `deadline_s` is how old a live case may be when its answer comes; what cannot make it is answered when there is time.
    """

    path: Path | None = None
    threads: int = 1
    """Threads of the engine."""
    max_batch: int = 16
    """Cases answered in one run of the model."""
    deadline_s: float = 2.0
    max_pixels: int = 4096 * 4096
    """Larger pictures are refused before they are decoded."""
    backlog_cases: int = 1024
    """Cases that may wait in memory; what does not fit is answered from the vault later."""
    profile: str = ""
    """A hardware profile (`auto`: the one that fits this machine best) that says engine and threads; empty: the processor."""


class FailOverSettings(Section, frozen=True, kw_only=True):
    """A region whose devices may come here while their own region is away; they name this one in `link.fail_over`.

    Both files come out of that region's identity folder; the list must be copied anew before it expires.
    """

    region: str
    """The other region's name."""
    authority: Path
    """Its device authority's certificate, `devices.pem`."""
    crl: Path
    """Its revocation lists, `devices.crl.pem`."""


class TrainingSettings(Section, frozen=True, kw_only=True):
    """How the region trains the student in a federated round."""

    enabled: bool = True
    """False: this region takes no part in rounds."""
    steps: int = 400
    """Most optimiser steps of a round, whatever the cloud asks for."""
    batch: int = 128
    """Most pictures per step, whatever the cloud asks for."""
    learning_rate: float = 0.0005
    """Of the optimiser."""
    minimum_cases: int = 64
    """Fewest cases to train on, if the cloud asks for fewer."""
    threads: int = 1
    """Threads of training and evaluation."""
    nice: int = 10
    """Niceness of the federation worker and of what trains."""


class DriftSettings(Section, frozen=True, kw_only=True):
    """When the region says that its students have drifted from its expert, by answered audit samples (one per unit)."""

    reference_samples: int = 100
    """Samples of each release that make its reference; while they are gathered the region is blind to drift."""
    slack: float = 0.05
    """Disagreement above the reference that is no drift (share, 0 to 1)."""
    alpha: float = 1e-4
    """1/alpha is the least number of samples that lie between two false alarms on average."""
    audit_share: float = 0.25
    """Share of frames that devices are asked to draw for audit during an alarm; each obeys up to its own limit."""


class LimitSettings(Section, frozen=True, kw_only=True):
    """How much one device may send. One that obeys credit is slowed down; one that does not is dropped, and then kept out for a while."""

    messages_per_s: float = 5000.0
    """Messages per second, averaged over two seconds."""
    bytes_per_s: float = 100_000_000.0
    """Bytes per second, averaged over two seconds."""
    refused_per_s: float = 100.0
    """Messages that are not believed, per second, beyond the first few thousand."""
    patience_s: float = 3.0
    """A device that is ahead of a limit by so many seconds' worth of it, beyond what credit explains, is kept out."""
    quarantine_s: float = 900.0
    """For how long, unless `terrace region quarantine release` ends it."""


class RegionSettings(Section, frozen=True, kw_only=True):
    """All of region.toml. `state` is the folder of everything the region keeps."""

    name: str
    """The region's name, as its certificates say it."""
    fleet: str
    """The fleet's name, as its certificates say it."""
    state: Path
    identity: IdentitySettings
    broker: BrokerSettings = BrokerSettings()
    keys: KeySettings = KeySettings()
    machines: MachinesSettings = MachinesSettings()
    people: PeopleSettings = PeopleSettings()
    ops: OpsSettings = OpsSettings()
    cloud: CloudSettings = CloudSettings()
    relay: RelaySettings = RelaySettings()
    vault: VaultSettings = VaultSettings()
    expert: ExpertSettings = ExpertSettings()
    training: TrainingSettings = TrainingSettings()
    drift: DriftSettings = DriftSettings()
    limits: LimitSettings = LimitSettings()
    fail_over_for: tuple[FailOverSettings, ...] = ()

    @property
    def vault_path(self) -> Path:
        """The vault's SQLite file."""
        return self.state / "vault.db"

    @property
    def releases_root(self) -> Path:
        """The root metadata this region was provisioned with."""
        return self.relay.root or self.identity.folder / "releases.root.json"

    @property
    def status_path(self) -> Path:
        """The daemon's status socket."""
        return self.state / "status.sock"

    @property
    def people_path(self) -> Path:
        """The file of people's accounts."""
        return self.state / "people.db"

    @property
    def audit_path(self) -> Path:
        """The audit log."""
        return self.state / "audit.db"

    @property
    def intake_path(self) -> Path:
        """The socket over which the daemon speaks with its intake worker processes."""
        return self.state / "intake.sock"

    @property
    def workers_path(self) -> Path:
        """The list of intake workers that run beside the daemon."""
        return self.state / "workers.json"

    @property
    def quarantine_path(self) -> Path:
        """The folder of devices that are kept out for a while."""
        return self.state / "quarantine"

    @property
    def revoked_path(self) -> Path:
        """The list of revoked devices."""
        return self.state / "revoked.json"
