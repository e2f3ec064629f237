"""The demo's machines on disk: certificates, models, data, configuration files and the process of each daemon."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from provisioning.pki import Authority, create_fleet
from provisioning.testbed import plan as plans
from provisioning.testbed.ports import free_ports
from provisioning.testbed.processes import Process, run_command
from shared.errors import LinkError
from shared.status import read_status


class Fleet:
    """Everything the demo starts, in one state folder.

    Args:
        root: the state folder.
        plan: sizes and pace.
        models: folder with the expert, the first student and the replay set, as `terrace models build` leaves it.
        streams: per device, the stream tables of its edge.toml.
    """

    def __init__(self, root: Path, plan: plans.Plan, models: Path, streams: dict[str, list[dict[str, Any]]]) -> None:
        self.root = root
        self.plan = plan
        self._models = models
        self._streams = streams
        self.ports = plans.assign_ports(plan, free_ports(plans.ports_needed(plan)))
        self.cloud = self._process("cloud", ["cloud", "serve"])
        self.regions = {name: self._process(name, ["region", "serve"]) for name in plan.region_names}
        self.wires = {name: self._wire(name) for name in plan.region_names} if plan.is_story else {}
        self.edges = {name: self._process(name, ["edge", "run"]) for name in plan.devices}

    @property
    def processes(self) -> list[Process]:
        """All daemons, in the order they start."""
        return [self.cloud, *self.regions.values(), *self.wires.values(), *self.edges.values()]

    def config(self, name: str) -> Path:
        """Return a daemon's configuration file."""
        kind = "cloud" if name == "cloud" else "region" if name in self.plan.region_names else "edge"
        return self.root / "config" / f"{name}.{kind}.toml"

    def events(self, device: str) -> Path:
        """Return a device's event file."""
        return self.root / device / "events.jsonl"

    def prepare(self) -> None:
        """Issue certificates and write the configuration files."""
        for folder in ("config", "logs", "identity"):
            (self.root / folder).mkdir(parents=True, exist_ok=True)
        authority = create_fleet(self.root / "pki", plans.FLEET)
        self._issue(authority)
        self._write("cloud", plans.cloud_settings(self.plan, self.ports, self.root))
        for region in self.plan.region_names:
            self._write(region, plans.region_settings(self.plan, self.ports, self.root, region))
        for device in self.plan.devices:
            self._write(device, plans.edge_settings(self.plan, self.ports, self.root, device, self._streams[device]))

    def _issue(self, authority: Authority) -> None:
        identity, hosts = self.root / "identity", ["localhost", "127.0.0.1"]
        authority.issue_cloud("cloud", hosts, destination=identity / "cloud")
        for region in self.plan.region_names:
            authority.issue_region(region, "server", hosts, destination=identity / region)
            authority.issue_region(region, "intake-0", [], destination=identity / f"{region}-workers" / "intake-0")
            authority.issue_region_device_ca(region)
            for device in self.plan.edge_names(region):
                authority.issue_device(region, device.partition(".")[0], destination=identity / device)

    def _write(self, name: str, settings: dict[str, Any]) -> None:
        Path(settings["state"]).mkdir(parents=True, exist_ok=True)
        self.config(name).write_text(plans.to_toml(settings), encoding="utf-8")

    def initialise_cloud(self) -> None:
        """Hold the release ceremony, import the first models, and give every machine the root of release trust."""
        run_command(["cloud", "init", "--models", str(self._models), "--config", str(self.config("cloud"))])
        root = self.root / "cloud" / "repository" / "metadata" / "1.root.json"
        for name in (*self.plan.region_names, *self.plan.devices):
            shutil.copy(root, self.root / "identity" / name / "releases.root.json")

    def status(self, name: str) -> dict[str, Any]:
        """Return what a daemon says of itself, empty while it does not answer."""
        try:
            return read_status(self.root / name / "status.sock")
        except LinkError:
            return {}

    def statuses(self) -> dict[str, dict[str, Any]]:
        """Return what every daemon says of itself."""
        return {name: self.status(name) for name in ("cloud", *self.regions, *self.edges)}

    def start_round(self, *, regions: Sequence[str] = (), is_trial: bool = False) -> int:
        """Ask the cloud for a federated round, as an operator would, and return its number.

        Args:
            regions: only these train; by default the cloud chooses.
            is_trial: it goes through the gates and publishes nothing.
        """
        chosen = [word for region in regions for word in ("--region", region)] + (["--trial"] if is_trial else [])
        answer = json.loads(run_command(["cloud", "round", "start", *chosen, "--config", str(self.config("cloud")), "--json"]))
        return int(answer["number"])

    def recount_spool(self, device: str) -> dict[str, Any]:
        """Count a stopped device's cases from its spool file."""
        return dict(json.loads(run_command(["edge", "spool", "--config", str(self.config(device)), "--json"])))

    def recount_vault(self, region: str) -> dict[str, Any]:
        """Count a stopped region's cases from its vault file."""
        return dict(json.loads(run_command(["region", "vault", "--config", str(self.config(region)), "--json"])))

    def recount_egress(self, region: str) -> dict[str, Any]:
        """Search what a stopped region sent to the cloud for any picture of its vault."""
        return dict(json.loads(run_command(["region", "egress", "--config", str(self.config(region)), "--json"])))

    def _wire(self, region: str) -> Process:
        pairs = plans.wire_pairs(self.ports, region)
        return Process(f"wire to {region}", pairs, self.root / "logs" / f"wire-{region}.log", module="provisioning.testbed.wire")

    def _process(self, name: str, command: list[str]) -> Process:
        return Process(name, [*command, "--config", str(self.config(name))], self.root / "logs" / f"{name}.log")


def stream_truth(path: Path) -> list[int]:
    """Return the labels of a stream's data set (`labels` of an npz)."""
    with path.open("rb") as file, np.load(file, allow_pickle=False) as data:
        return [int(label) for label in data["labels"]]


def folder_bytes(folder: Path) -> int:
    """Return the size of all files below a folder."""
    return sum((Path(base) / name).stat().st_size for base, _, names in os.walk(folder) for name in names)
