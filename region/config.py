"""What can be set for a region: region.toml as a tree of frozen structs. Defaults suit one machine; every field has its unit."""

from __future__ import annotations

from pathlib import Path

from shared.section import Section


class IdentitySettings(Section, frozen=True, kw_only=True):
    """Where certificates lie. `workers` holds one identity folder per intake worker, `intake-0` and so on."""

    folder: Path
    workers: Path


class BrokerSettings(Section, frozen=True, kw_only=True):
    """The supervised mosquitto. Devices reach `host`:`port`; intake workers reach 127.0.0.1:`worker_port`."""

    host: str = "127.0.0.1"
    port: int = 8883
    worker_port: int = 8884
    program: str = "mosquitto"
    max_connections: int = 4096
    max_packet_bytes: int = 65536
    memory_mb: int = 256


class MachinesSettings(Section, frozen=True, kw_only=True):
    """The HTTPS listener for devices (mutual TLS): key announcement and release relay."""

    host: str = "127.0.0.1"
    port: int = 8443


class OpsSettings(Section, frozen=True, kw_only=True):
    """The plain HTTP listener on 127.0.0.1 for health, readiness and metrics."""

    port: int = 9100


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
    root: Path | None = None


class VaultSettings(Section, frozen=True, kw_only=True):
    """How much the vault keeps: sealed cases in megabytes (10^6 bytes) and days; what is over either goes, least useful first."""

    capacity_mb: int = 4096
    max_age_days: float = 90.0


class ExpertSettings(Section, frozen=True, kw_only=True):
    """How the expert answers.

    `path` names a local model.onnx (its card beside it as .card.json) and is used until a release arrives from the cloud.
    `deadline_s` is how old a live case may be when its answer comes; what cannot make it is answered when there is time.
    """

    path: Path | None = None
    threads: int = 1
    max_batch: int = 16
    deadline_s: float = 2.0
    max_pixels: int = 4096 * 4096
    backlog_cases: int = 1024


class TrainingSettings(Section, frozen=True, kw_only=True):
    """How the region trains the student in a federated round."""

    enabled: bool = True
    steps: int = 60
    batch: int = 32
    learning_rate: float = 0.001
    replay_share: float = 0.5
    minimum_cases: int = 64
    minimum_steps: int = 10
    threads: int = 1
    nice: int = 10
    seed: int = 0


class RegionSettings(Section, frozen=True, kw_only=True):
    """All of region.toml. `state` is the folder of everything the region keeps."""

    name: str
    fleet: str
    state: Path
    identity: IdentitySettings
    broker: BrokerSettings = BrokerSettings()
    machines: MachinesSettings = MachinesSettings()
    ops: OpsSettings = OpsSettings()
    cloud: CloudSettings = CloudSettings()
    relay: RelaySettings = RelaySettings()
    vault: VaultSettings = VaultSettings()
    expert: ExpertSettings = ExpertSettings()
    training: TrainingSettings = TrainingSettings()

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
    def revoked_path(self) -> Path:
        """The list of revoked devices."""
        return self.state / "revoked.json"
