"""The text of the broker's files: mosquitto.conf and the two access lists, made from the settings and the topic table. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from region.config import BrokerSettings
from shared.wire import topics


def configuration(settings: BrokerSettings, *, folder: Path, certificate: Path, key: Path, crl: Path | None, user: str) -> str:
    """Return mosquitto.conf.

    Args:
        settings: ports and limits.
        folder: where the anchors and access lists lie that the text names.
        certificate: the region's certificate chain (PEM).
        key: its private key (PEM).
        crl: the device CA's revocation list; None runs without one.
        user: whom mosquitto runs as, since it would otherwise drop to an account that cannot read the keys.
    """
    common = [
        f"certfile {certificate}",
        f"keyfile {key}",
        "tls_version tlsv1.3",
        "require_certificate true",
        "use_identity_as_username true",
        "use_username_as_clientid true",
        "allow_anonymous false",
    ]
    devices = [f"listener {settings.port} {settings.host}", f"cafile {folder / 'edge-anchor.pem'}", f"acl_file {folder / 'devices.acl'}"]
    devices += [f"crlfile {crl}"] if crl is not None else []
    devices += [f"max_connections {settings.max_connections}"]
    workers = [f"listener {settings.worker_port} 127.0.0.1", f"cafile {folder / 'region-anchor.pem'}", f"acl_file {folder / 'workers.acl'}"]
    return "\n".join(_limits(settings, user) + devices + common + workers + common) + "\n"


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
