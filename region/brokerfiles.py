"""The text of a mosquitto's files: mosquitto.conf and the two access lists, made from the settings and the topic table. Pure.

A device's client id is its certificate's name, whatever it says. The region's own workers choose theirs: a worker that connects with a
device's id takes over, and so closes, that device's connection (kicker).
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from region.config import BrokerSettings
from shared.wire import topics

CERTIFICATE, KEY, CRL, EDGE_ANCHOR, REGION_ANCHOR, DEVICES, WORKERS = (
    "certificate.pem", "key.pem", "devices.crl.pem", "edge-anchor.pem", "region-anchor.pem", "devices.acl", "workers.acl",
)  # fmt: skip
"""Names in the broker's folder, beside mosquitto.conf."""


def configuration(settings: BrokerSettings, *, folder: Path, has_crl: bool, user: str, worker_host: str = "127.0.0.1") -> str:
    """Return mosquitto.conf.

    Args:
        settings: ports and limits.
        folder: where the certificates and access lists lie that the text names.
        has_crl: whether there is a revocation list; without one every certificate of the device authorities passes.
        user: whom mosquitto runs as, since it would otherwise drop to an account that cannot read the keys.
        worker_host: where the listener of the region's own workers is bound.
    """
    common = [
        f"certfile {folder / CERTIFICATE}",
        f"keyfile {folder / KEY}",
        "tls_version tlsv1.3",
        "require_certificate true",
        "use_identity_as_username true",
        "allow_anonymous false",
    ]
    devices = [f"cafile {folder / EDGE_ANCHOR}", f"acl_file {folder / DEVICES}", f"max_connections {settings.max_connections}"]
    devices += ["use_username_as_clientid true"]
    devices += [f"crlfile {folder / CRL}"] if has_crl else []
    lines = _limits(settings, user)
    for port in settings.device_ports:
        lines += ["", f"listener {port} {settings.host}", *devices, *common]
    lines += [
        "",
        f"listener {settings.workers_at[1]} {worker_host}",
        f"cafile {folder / REGION_ANCHOR}",
        f"acl_file {folder / WORKERS}",
        *common,
    ]
    return "\n".join(lines) + "\n"


def _limits(settings: BrokerSettings, user: str) -> list[str]:
    return [
        f"user {user}",
        "per_listener_settings true",
        "persistence false",
        f"max_packet_size {settings.max_packet_bytes}",
        f"memory_limit {settings.memory_mb << 20}",
        "max_queued_messages 4096",
        f"max_queued_bytes {settings.memory_mb << 17}",
        "max_inflight_messages 64",
        "max_keepalive 120",
        "persistent_client_expiration 1d",
        "set_tcp_nodelay true",
        "sys_interval 0",
        "log_dest stderr",
        "log_type error",
        "log_type warning",
    ]


def device_list(revoked: Iterable[str]) -> str:
    """Return the access list of the device listener; revoked devices may neither read nor write."""
    denied = [line for device in sorted(revoked) for line in (f"user {device}", f"topic deny t/{device}/#", "topic deny #")]
    return "\n".join(_for_everyone(topics.DEVICE_RULES) + denied) + "\n"


def worker_list() -> str:
    """Return the access list of the loopback listener."""
    return "\n".join(_for_everyone(topics.WORKER_RULES)) + "\n"


def _for_everyone(rules: Iterable[str]) -> list[str]:
    """Turn `topic` lines into `pattern` lines: mosquitto applies a `topic` line without a user to anonymous clients only."""
    return [f"pattern{rule[len('topic') :]}" if rule.startswith("topic ") else rule for rule in rules]
