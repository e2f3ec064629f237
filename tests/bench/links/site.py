"""A region for benchmarks: certificates, configuration, and where its files lie (a real disk, or memory for figures without durability)."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path
from types import TracebackType

from provisioning.pki import Authority, create_fleet
from shared.identity.store import Identity

REGION = "region-1"
PORT, WORKER_PORT, MACHINES_PORT, OPS_PORT = 8883, 8884, 8443, 9100
ON_DISK = Path("/var/tmp")  # noqa: S108 - named folders are made inside


class BenchSite:
    """The folder of one region and its devices; removed at the end.

    Args:
        place: where its folder is made: `ON_DISK`, where a synced write waits for the disk, or a disk in memory, where it does not.
        host: the address its broker listens on.
        devices: how many device identities to issue: edge-1 and so on.
        workers: identities of intake workers; the daemon runs the first itself.
    """

    def __init__(self, place: Path, host: str, *, devices: int = 1, workers: int = 1) -> None:
        self.host = host
        self.place = place
        self.folder = Path(tempfile.mkdtemp(prefix="terrace-bench-", dir=place))
        self.config = self.folder / "region.toml"
        self.state = self.folder / "state"
        self.names = [f"edge-{number + 1}" for number in range(devices)]
        self.workers = [f"intake-{number}" for number in range(workers)]

    def __enter__(self) -> BenchSite:
        """Issue all certificates and write region.toml."""
        authority = create_fleet(self.folder / "fleet", "acme")
        hosts = [self.host, "127.0.0.1", "localhost"]
        authority.issue_region(REGION, "server", hosts, destination=self.folder / "server")
        authority.issue_region(REGION, "probe", [], destination=self.folder / "probe")
        for name in self.workers:
            authority.issue_region(REGION, name, [], destination=self.folder / "workers" / name)
        for name in self.names:
            self._issue_device(authority, name)
        self.write_config()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Remove the folder."""
        if os.environ.get("TERRACE_KEEP"):
            return
        shutil.rmtree(self.folder, ignore_errors=True)

    def identity(self, name: str) -> Identity:
        """Return one of the identities issued at the start."""
        return Identity.load(self.folder / name)

    def write_config(self, *, max_connections: int = 4096) -> None:
        """Write region.toml: a region without an expert and without a cloud."""
        sections: dict[str, dict[str, str | int]] = {
            "": {"name": REGION, "fleet": "acme", "state": str(self.state)},
            "identity": {"folder": str(self.folder / "server"), "workers": str(self.folder / "workers")},
            "broker": {"host": self.host, "port": PORT, "worker_port": WORKER_PORT, "max_connections": max_connections},
            "machines": {"host": self.host, "port": MACHINES_PORT},
            "ops": {"port": OPS_PORT},
        }
        lines = []
        for section, values in sections.items():
            lines += [f"[{section}]"] if section else []
            lines += [f"{key} = {json.dumps(value)}" for key, value in values.items()]
        self.config.write_text("\n".join(lines) + "\n")

    def _issue_device(self, authority: Authority, name: str) -> None:
        authority.issue_device(REGION, name, destination=self.folder / name)


def disk_of(folder: Path) -> str:
    """Return the type of the file system a folder lies on, as the kernel names it."""
    best, kind = "", "unknown"
    for line in Path("/proc/mounts").read_text().splitlines():
        _, where, found = line.split()[:3]
        if str(folder.resolve()).startswith(where) and len(where) > len(best):
            best, kind = where, found
    return kind
