"""docs/own-model.md as a newcomer meets it: its commands in order, its configuration files, in an empty folder on free ports."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec

from provisioning.testbed.plan import to_toml
from provisioning.testbed.ports import free_ports

ROOT = Path(__file__).resolve().parents[1]
TERRACE = [sys.executable, "-c", "import sys; sys.argv[0] = 'terrace'; from shared.cli import main; main()"]


def sections(page: str) -> dict[str, str]:
    """Return the text of each section by its heading."""
    parts = re.split(r"^## (.+)$", page, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def commands(text: str) -> list[list[str]]:
    """Return the command lines of a section in order, as words; what stands after a gap explains them."""
    lines = re.findall(r"^    ((?:terrace|cp) .+)$", text, re.MULTILINE)
    return [shlex.split(re.split(r" {3,}", line)[0]) for line in lines]


class Newcomer:
    """Somebody who types what the page says; daemons run until `close`.

    Args:
        folder: the empty folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.page = sections((ROOT / "docs" / "own-model.md").read_text(encoding="utf-8"))
        names = ("broker", "workers", "machines", "regions", "people", "region-ops", "cloud-ops")
        self._ports = dict(zip(names, free_ports(len(names)), strict=True))
        self.daemons: dict[str, subprocess.Popen[bytes]] = {}

    def read(self, section: str) -> None:
        """Write the section's configuration files, with free ports in place of the usual ones."""
        for name, text in re.findall(r"```toml\n# (\S+\.toml)\n(.*?)```", self.page[section], re.DOTALL):
            (self.folder / name).write_text(to_toml(self._moved(name, msgspec.toml.decode(text))), encoding="utf-8")

    def type(self, words: list[str]) -> None:
        """Type one command line; a daemon stays, all others have to end well."""
        if words[:1] == ["cp"]:
            (self.folder / words[2]).write_bytes((self.folder / words[1]).read_bytes())
        elif words[2] in {"serve", "run"}:
            with (self.folder / f"{words[1]}.log").open("ab") as log:
                self.daemons[words[1]] = subprocess.Popen(
                    [*TERRACE, *words[1:]], cwd=self.folder, stdout=log, stderr=log, env=self._environment()
                )
        else:
            self.answer(*words[1:])

    def answer(self, *words: str) -> str:
        """Run a command that ends and return what it prints."""
        done = subprocess.run([*TERRACE, *words], cwd=self.folder, capture_output=True, text=True, timeout=300, env=self._environment())
        assert done.returncode == 0, (words, done.stdout, done.stderr)
        return done.stdout

    def follow(self, section: str) -> None:
        """Do all that a section says, in order."""
        self.read(section)
        for words in commands(self.page[section]):
            self.type(words)

    def events(self) -> list[dict[str, Any]]:
        """Return the device's events so far."""
        path = self.folder / "events.jsonl"
        whole = path.read_bytes().rpartition(b"\n")[0] if path.exists() else b""
        return [msgspec.json.decode(line) for line in whole.splitlines()]

    def told(self) -> str:
        """Return the ends of the daemons' logs."""
        return "\n".join(path.read_text()[-2500:] for path in sorted(self.folder.glob("*.log")))

    def stop(self, name: str) -> int:
        """End a daemon as an operator does and return its exit code."""
        daemon = self.daemons.pop(name)
        daemon.terminate()
        return daemon.wait(30)

    def close(self) -> None:
        """Leave nothing running."""
        for daemon in self.daemons.values():
            daemon.terminate()
        for daemon in self.daemons.values():
            try:
                daemon.wait(20)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()

    def _environment(self) -> dict[str, str]:
        return {**os.environ, "TERRACE_CACHE": str(self.folder / "cache"), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}

    def _moved(self, name: str, settings: dict[str, Any]) -> dict[str, Any]:
        ports = self._ports
        if name == "edge.toml":
            settings["link"] |= {"port": ports["broker"], "relay_url": f"https://localhost:{ports['machines']}"}
            return settings
        settings["ops"] = {"port": ports[f"{name.partition('.')[0]}-ops"]}
        if name == "cloud.toml":
            settings["regions"]["port"], settings["people"] = ports["regions"], {"port": ports["people"]}
        else:
            settings["broker"] |= {"port": ports["broker"], "worker_port": ports["workers"]}
            settings["machines"]["port"], settings["cloud"]["url"] = ports["machines"], f"https://localhost:{ports['regions']}"
        return settings
