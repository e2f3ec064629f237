"""The region's mosquitto: its configuration and access lists are made from one table, its process is ours.

Rules, in order (TRUST.md, Broker):
1. The device listener speaks TLS 1.3 only and trusts the edge anchor and nothing else; the loopback listener trusts only the region anchor.
2. The user is the certificate's common name and the client id is the user; nobody is anonymous.
3. A revoked device is denied every topic; a reload (SIGHUP) silences its live connection at once.
4. Nothing is persisted: a broker's acknowledgement is no receipt, so there is nothing to keep.
5. mosquitto reads copies in its own folder. Certificate, key and revocation list reach it only whole and fitting (given half of a
   certificate, a reload leaves it refusing everybody), and a reload keeps every connection.

Not here: certificates and CRLs (provisioning), what travels in the topics (intake, replies), a broker run by others (external).
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import ssl
import tempfile
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from region.brokerfiles import (
    CERTIFICATE,
    CRL,
    DEVICES,
    EDGE_ANCHOR,
    KEY,
    REGION_ANCHOR,
    WORKERS,
    configuration,
    device_list,
    worker_list,
)
from region.config import BrokerSettings
from shared import log
from shared.child import Child
from shared.errors import DependencyError, IdentityError, LinkError

READY_S = 10.0
CERTIFICATE_RENEWED, CERTIFICATE_UNFIT = "broker_certificate_renewed", "broker_certificate_unfit"


class Broker:
    """The supervised broker.

    Args:
        settings: ports, limits and the program.
        folder: where configuration, certificates and access lists are written; made when missing.
        certificate: the region's certificate chain; looked at again by `renew`.
        key: its private key.
        anchors: PEM of the anchors by tier; `edge` and `region` are used.
        crl: PEM of the revocation lists of the device authorities, if there are any.
        revoked: devices denied from the start.
    """

    def __init__(
        self,
        settings: BrokerSettings,
        *,
        folder: Path,
        certificate: Path,
        key: Path,
        anchors: Mapping[str, str],
        crl: bytes = b"",
        revoked: Iterable[str] = (),
    ) -> None:
        self._settings = settings
        self._folder = folder.resolve()
        self._certificate, self._key = certificate, key
        self._anchors = anchors
        self._crl = crl
        self._revoked = frozenset(revoked)
        self._seen: tuple[tuple[int, int], ...] = ()
        self._child: Child | None = None
        self._logger = log.get("broker")

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

    @property
    def is_up(self) -> bool:
        """Whether mosquitto runs."""
        return self.pid is not None

    def revoke(self, revoked: Iterable[str], *, crl: bytes | None = None) -> None:
        """Deny these devices and nobody else, from now on and on live connections too.

        Args:
            revoked: devices by name.
            crl: new revocation lists, checked by the caller; None leaves those in force.
        """
        self._revoked = frozenset(revoked)
        self._crl = self._crl if crl is None else crl
        if self._child is not None:  # else start() writes it
            _write(self._folder / DEVICES, device_list(self._revoked))
            if self._crl:
                _write(self._folder / CRL, self._crl.decode("ascii", "replace"))
            self.reload()

    def renew(self) -> bool:
        """Serve the region's certificate as it is on disk now, if it has changed; returns whether it did.

        A certificate and a key that do not fit each other (half of a copy) are left alone and looked at again when they change.
        """
        if self._child is None or self._seen == (seen := _stamps(self._certificate, self._key)):
            return False
        self._seen = seen
        try:
            self._take_certificate()
        except IdentityError as error:
            self._logger.warning(CERTIFICATE_UNFIT, error=str(error))
            return False
        self._logger.info(CERTIFICATE_RENEWED)
        self.reload()
        return True

    def reload(self) -> None:
        """Let mosquitto read certificates, access lists and the revocation list again; connections stay."""
        if self._child is not None:
            self._child.signal(signal.SIGHUP)

    def _listeners(self) -> tuple[tuple[str, str, int], ...]:
        chosen = self._settings
        more = (("broker.more_ports", chosen.host, port) for port in chosen.more_ports)
        return ("broker.port", chosen.host, chosen.port), *more, ("broker.worker_port", "127.0.0.1", chosen.worker_port)

    def _write(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._seen = _stamps(self._certificate, self._key)
        self._take_certificate()
        for tier, name in (("edge", EDGE_ANCHOR), ("region", REGION_ANCHOR)):
            _write(self._folder / name, self._anchors[tier])
        _write(self._folder / DEVICES, device_list(self._revoked))
        _write(self._folder / WORKERS, worker_list())
        _write(self._folder / CRL, self._crl.decode("ascii", "replace"))
        user = pwd.getpwuid(os.geteuid()).pw_name
        text = configuration(self._settings, folder=self._folder, has_crl=bool(self._crl), user=user)
        _write(self._folder / "mosquitto.conf", text)

    def _take_certificate(self) -> None:
        """Copy certificate and key into the broker's folder.

        Raises:
            IdentityError: one is missing, or they do not fit each other; the copies of before stay.
        """
        try:
            fresh = [(self._folder / name, path.read_text("ascii")) for name, path in ((CERTIFICATE, self._certificate), (KEY, self._key))]
            with tempfile.TemporaryDirectory(dir=self._folder) as place:
                for path, text in fresh:
                    _write(Path(place) / path.name, text)
                ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(Path(place) / CERTIFICATE, Path(place) / KEY)
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            said = f"{self._certificate} and {self._key.name} cannot be served: {error}."
            raise IdentityError(said, "Copy both anew from the authority.") from error
        for path, text in fresh:
            _write(path, text)

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


def _stamps(*paths: Path) -> tuple[tuple[int, int], ...]:
    """Return what changes when a file is replaced or written: modification time and inode; zeros while it is missing."""
    found = [path.stat() if path.exists() else None for path in paths]
    return tuple((0, 0) if one is None else (one.st_mtime_ns, one.st_ino) for one in found)


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
