"""The region's mosquitto: its configuration and access lists are made from one table, its process is ours.

Rules, in order (TRUST.md, Broker):
1. The device listener speaks TLS 1.3 only and trusts the edge anchor and nothing else; the loopback listener trusts only the region anchor.
2. The user is the certificate's common name and the client id is the user; nobody is anonymous.
3. A revoked device is denied every topic; a reload (SIGHUP) silences its live connection at once.
4. Nothing is persisted: a broker's acknowledgement is no receipt, so there is nothing to keep.

Not here: certificates and CRLs (provisioning), what travels in the topics (intake, replies).
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import time
from collections.abc import Iterable
from pathlib import Path

from region.brokerfiles import configuration, device_list, worker_list
from region.config import BrokerSettings
from shared.child import Child
from shared.errors import DependencyError, LinkError

READY_S = 10.0


class Broker:
    """The supervised broker.

    Args:
        settings: ports, limits and the program.
        folder: where configuration and access lists are written; made when missing.
        certificate: the region's certificate chain.
        key: its private key.
        anchors: PEM of the anchors by tier; `edge` and `region` are used.
        crl: the revocation list of the region's device CA, if there is one.
        revoked: devices denied from the start.
    """

    def __init__(
        self,
        settings: BrokerSettings,
        *,
        folder: Path,
        certificate: Path,
        key: Path,
        anchors: dict[str, str],
        crl: Path | None = None,
        revoked: Iterable[str] = (),
    ) -> None:
        self._settings = settings
        self._folder = folder.resolve()
        self._certificate, self._key, self._crl = certificate.resolve(), key.resolve(), crl
        self._anchors = anchors
        self._revoked = frozenset(revoked)
        self._child: Child | None = None

    @property
    def restarts(self) -> int:
        """How often the broker had to be started again."""
        return self._child.restarts if self._child else 0

    @property
    def pid(self) -> int | None:
        """The broker's process id, or None while it is down."""
        return self._child.pid if self._child else None

    def start(self) -> None:
        """Write the configuration, start mosquitto and wait until both listeners answer.

        Raises:
            DependencyError: mosquitto is not installed.
            LinkError: a port is taken, or mosquitto refuses to start; the message holds its last words.
        """
        program = find_program(self._settings.program)
        for key, host, port in self._listeners():
            _refuse_taken(key, host, port)
        self._write()
        self._child = Child("broker", [program, "-c", str(self._folder / "mosquitto.conf")], log_path=self._folder / "broker.log")
        self._child.start()
        try:
            self._wait_ready(self._child)
        except LinkError:
            self._child.stop()
            raise

    def stop(self) -> None:
        """Stop mosquitto."""
        if self._child is not None:
            self._child.stop()

    def revoke(self, revoked: Iterable[str]) -> None:
        """Deny these devices and nobody else, from now on and on live connections too."""
        self._revoked = frozenset(revoked)
        if self._child is not None:  # else start() writes it
            _write(self._folder / "devices.acl", device_list(self._revoked))
            self.reload()

    def reload(self) -> None:
        """Let mosquitto read certificates, access lists and the revocation list again; connections stay."""
        if self._child is not None:
            self._child.signal(signal.SIGHUP)

    def _listeners(self) -> tuple[tuple[str, str, int], ...]:
        return ("broker.port", self._settings.host, self._settings.port), ("broker.worker_port", "127.0.0.1", self._settings.worker_port)

    def _write(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for tier in ("edge", "region"):
            _write(self._folder / f"{tier}-anchor.pem", self._anchors[tier])
        _write(self._folder / "devices.acl", device_list(self._revoked))
        _write(self._folder / "workers.acl", worker_list())
        crl = self._crl.resolve() if self._crl is not None and self._crl.exists() else None
        user = pwd.getpwuid(os.geteuid()).pw_name
        text = configuration(self._settings, folder=self._folder, certificate=self._certificate, key=self._key, crl=crl, user=user)
        _write(self._folder / "mosquitto.conf", text)

    def _wait_ready(self, child: Child) -> None:
        deadline = time.monotonic() + READY_S
        waiting = list(self._listeners())
        while waiting:
            if child.restarts or time.monotonic() > deadline:
                raise LinkError(f"mosquitto does not start: {child.last_words() or 'it says nothing'}.", "Correct what it names.")
            if _answers(waiting[0][1], waiting[0][2]):
                waiting.pop(0)
            else:
                time.sleep(0.02)  # it tells nobody when it listens: it is dialled at this interval


def find_program(name: str) -> str:
    """Return the path of the broker's program.

    Raises:
        DependencyError: it is not installed.
    """
    program = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
    if program is None:
        raise DependencyError(
            f"the MQTT broker {name} is not installed.",
            "Install it with: sudo apt-get install -y mosquitto && sudo systemctl disable --now mosquitto",
        )
    return program


def _write(path: Path, text: str) -> None:
    """Replace a file in one step, readable by its owner only (mosquitto warns about anything else)."""
    fresh = path.with_suffix(path.suffix + ".new")
    fresh.touch(mode=0o600)
    fresh.write_text(text, encoding="utf-8")
    fresh.replace(path)


def _refuse_taken(key: str, host: str, port: int) -> None:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise LinkError(f"the broker cannot listen on {host}:{port} ({key}): {error.strerror}.", f"Set another {key}.") from None


def _answers(host: str, port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1" if host in {"", "0.0.0.0"} else host, port), timeout=1.0):  # noqa: S104 - compared, not bound
            return True
    except OSError:
        return False
