"""Health, readiness and metrics of the cloud daemon, for 127.0.0.1 only: plain HTTP, nothing secret, nothing that changes anything."""

from __future__ import annotations

from collections.abc import Callable

from fastapi import FastAPI
from fastapi.responses import JSONResponse, PlainTextResponse

Gauges = dict[str, float]


def ops_app(*, problems: Callable[[], list[str]], gauges: Callable[[], Gauges]) -> FastAPI:
    """Return the application.

    Args:
        problems: what keeps the daemon from working, in words; empty when it is ready.
        gauges: figures by metric name.
    """
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)

    @app.get("/healthz")
    def health() -> PlainTextResponse:
        return PlainTextResponse("alive\n")

    @app.get("/readyz")
    def ready() -> JSONResponse:
        found = problems()
        return JSONResponse({"ready": not found, "problems": found}, 503 if found else 200)

    @app.get("/metrics")
    def metrics() -> PlainTextResponse:
        lines = [f"# TYPE terrace_cloud_{name} gauge\nterrace_cloud_{name} {value}" for name, value in sorted(gauges().items())]
        return PlainTextResponse("\n".join(lines) + "\n", media_type="text/plain; version=0.0.4")

    return app
