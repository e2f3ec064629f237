"""Health, readiness and metrics, plain HTTP on 127.0.0.1 only: nothing secret, nothing that changes anything.

The metrics are plain numbers read at each scrape; nothing in a hot path knows of Prometheus.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from fastapi import Depends, FastAPI
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from region import livefamilies


class LocalCheck:
    """The role of routes whose listener is on 127.0.0.1: whoever is on this machine."""

    role = "local"

    def __call__(self) -> None:
        """Let everybody through: the listener is the check."""


class StatusCollector(Collector):
    """Turns the daemon's status into metric families at each scrape.

    Args:
        provide: returns the status, as the status socket does.
    """

    def __init__(self, provide: Callable[[], dict[str, Any]]) -> None:
        self._provide = provide

    def collect(self) -> Iterable[Metric]:
        """Yield the families."""
        status = self._provide()
        for name, text in COUNTERS.items():
            yield CounterMetricFamily(f"terrace_region_{name}", text, value=status[name])
        for name, text in GAUGES.items():
            if status[name] is not None:
                yield GaugeMetricFamily(f"terrace_region_{name}", text, value=status[name])
        dropped = CounterMetricFamily("terrace_region_dropped", "Messages dropped, by reason.", labels=["reason"])
        for reason, number in sorted(status["dropped"].items()):
            dropped.add_metric([reason], number)
        yield dropped
        yield GaugeMetricFamily("terrace_region_quarantined", "Devices shut out for a time.", value=len(status.get("quarantined", ())))
        suspects = sum(device["omissions"]["left_out"] for device in status["devices"].values())
        yield GaugeMetricFamily("terrace_region_audits_left_out", "Devices that leave out audit samples they have drawn.", value=suspects)
        workers = GaugeMetricFamily("terrace_region_workers", "Intake workers, by state.", labels=["state"])
        for state, number in sorted(Counter(worker["state"] for worker in status["workers"]).items()):
            workers.add_metric([state], number)
        yield workers
        yield GaugeMetricFamily("terrace_region_drift_alarm", "1 while there is a drift alarm.", value=float(status["drift"]["alarm"]))
        yield GaugeMetricFamily(
            "terrace_region_disagreement",
            "Share of recent audit samples on which student and expert differ.",
            value=status["drift"]["disagreement"],
        )
        yield from livefamilies.families(status)
        connected = sum(device["connected_recently"] for device in status["devices"].values())
        yield GaugeMetricFamily("terrace_region_devices", "Devices heard since the start.", value=len(status["devices"]))
        yield GaugeMetricFamily("terrace_region_devices_connected", "Devices heard in the last seconds.", value=connected)


COUNTERS = {
    "messages": "Messages taken off the broker.",
    "cases_duplicate": "Cases that were stored before, since the start.",
    "receipts": "Cases receipted, those stored before too, since the start.",
    "replies": "Messages to devices, since the start.",
    "replies_unsent": "Messages to devices that the broker did not take.",
    "epochs_opened": "Key epochs that devices opened, since the start.",
    "cases_stored": "Cases stored, of all times.",
    "cases_answered": "Cases answered, of all times.",
    "answers_late": "Answers after their deadline, since the start.",
    "batches": "Batches the expert answered.",
    "shed": "Cases put off because their answer would have been late.",
    "expert_failures": "Batches the expert failed on.",
    "storage_failures": "Commits that failed.",
    "broker_restarts": "How often the broker was started again.",
}
GAUGES = {
    "answer_ms_p50": "Milliseconds from arrival to answer, median of recent ones.",
    "answer_ms_p99": "Milliseconds from arrival to answer, 99th percentile of recent ones.",
    "expert_release": "Release of the expert that answers.",
    "cases_elsewhere": "Cases kept for another region, without effect here.",
    "vault_bytes": "Bytes of cases in the vault.",
    "cases_waiting": "Cases waiting for the expert in memory.",
    "revocation_list_days_left": "Days until the devices' revocation list expires; then the broker refuses every device.",
    "certificate_days_left": "Days until the region's own certificate expires.",
    "memory_mb": "Resident memory of the daemon, in 10^6 bytes.",
}


def ops_app(*, problems: Callable[[], list[str]], status: Callable[[], dict[str, Any]]) -> FastAPI:
    """Return the application.

    Args:
        problems: what keeps the region from working, in words; empty when it is ready.
        status: the daemon's status.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(StatusCollector(status))
    local = [Depends(LocalCheck())]
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)

    @app.get("/healthz", dependencies=local)
    def health() -> PlainTextResponse:
        return PlainTextResponse("alive\n")

    @app.get("/readyz", dependencies=local)
    def ready() -> JSONResponse:
        found = problems()
        return JSONResponse({"ready": not found, "problems": found}, 503 if found else 200)

    @app.get("/metrics", dependencies=local)
    def metrics() -> Response:
        return Response(generate_latest(registry), media_type="text/plain; version=0.0.4")

    return app
