"""What the operator of a broker must set for a region: mosquitto's files, and the same as a table for any other broker. Pure.

The table is made from the topic table, so that it says what the region's own mosquitto is told. Names in it: `{name}` is the common name of
the client's certificate, which must also be its user name and client id.
"""

from __future__ import annotations

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
from shared.errors import ConfigurationError
from shared.wire import topics

CONFIGURATION = "mosquitto.conf"


def mosquitto_files(
    settings: BrokerSettings, *, folder: Path, user: str, anchors: Mapping[str, str], crl: bytes, revoked: Iterable[str]
) -> dict[str, str]:
    """Return the files of a mosquitto elsewhere, by name; its certificate and key are not among them.

    Args:
        settings: ports and limits; the workers' port is that of `url`.
        folder: where the files will lie on the broker's machine.
        user: whom mosquitto runs as there.
        anchors: PEM of the anchors by tier.
        crl: PEM of the revocation lists.
        revoked: devices denied by name.

    Raises:
        ConfigurationError: devices and workers would come in by one port, where the broker could not tell a device's anchor from ours.
    """
    if settings.workers_at[1] in settings.device_ports:
        remedy = "Give each a listener of its own: workers that of broker.url, devices that of broker.port."
        raise ConfigurationError(f"port {settings.workers_at[1]} is named for devices and for intake workers.", remedy)
    return {
        CONFIGURATION: configuration(settings, folder=folder, has_crl=bool(crl), user=user, worker_host=settings.host),
        DEVICES: device_list(revoked),
        WORKERS: worker_list(),
        EDGE_ANCHOR: anchors["edge"],
        REGION_ANCHOR: anchors["region"],
        CRL: crl.decode("ascii", "replace"),
    }


def checklist(settings: BrokerSettings, *, region: str, revoked: Iterable[str]) -> str:
    """Return what any broker must be told, as text.

    Args:
        settings: ports and limits.
        region: the region's name.
        revoked: devices denied by name.
    """
    host, port = settings.workers_at
    ports = ", ".join(str(one) for one in settings.device_ports)
    denied = ", ".join(sorted(revoked)) or "nobody now"
    rows = [
        ("protocol", "MQTT 3.1.1 or 5 over TLS 1.3; QoS 1; retained messages; clean and persistent sessions"),
        ("certificate", f"of the fleet: terrace provision pki region --region {region} --name broker --host {host} --out broker"),
        ("files of it", f"{CERTIFICATE} and {KEY} out of that folder"),
        ("devices' listener", f"port {ports}: client certificate required, trust {EDGE_ANCHOR} only, check {CRL}"),
        ("workers' listener", f"port {port}: client certificate required, trust {REGION_ANCHOR} only"),
        ("identity", "user name and client id are the common name of the client's certificate; nobody is anonymous"),
        *((f"devices may {action}", filters) for action, filters in _granted(topics.DEVICE_RULES)),
        *((f"workers may {action}", filters) for action, filters in _granted(topics.WORKER_RULES)),
        ("everything else", "denied, also to clients that are connected when the rules change"),
        ("denied by name", f"{denied} (terrace region revoke)"),
        ("largest packet", f"{settings.max_packet_bytes} bytes"),
        ("queue per client", f"{settings.memory_mb << 17} bytes, 4096 messages; 64 in flight"),
        ("sessions", "kept at most 1 day; keep-alive at most 120 s"),
        ("persistence", "not needed: a broker's acknowledgement is no receipt"),
    ]
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:<{width}}  {what}" for name, what in rows) + "\n"


def _granted(rules: Iterable[str]) -> list[tuple[str, str]]:
    """Return the topic table's rules as (verb, filters)."""
    granted: dict[str, list[str]] = {"write": [], "read": []}
    for rule in rules:
        _, action, topic = rule.split(" ", 2)
        granted[action].append(topic.replace("%u", "{name}"))
    return [({"write": "publish", "read": "subscribe"}[action], ", ".join(filters)) for action, filters in granted.items()]
