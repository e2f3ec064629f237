"""The API for people, on its own TLS listener: bearer tokens of programs and sessions of browsers; OpenAPI at /openapi.json.

Every route declares the least role it needs with `needs`, and a test walks the route table and fails on one that does not. What is done
stands in the audit log under the name of who did it.
"""

from __future__ import annotations

import gzip
from typing import Any

import msgspec
from fastapi import Depends, FastAPI, HTTPException, Query, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, Field

from cloud import accounts_api, faults
from cloud.alertboard import AlertBoard
from cloud.broadcast import Broadcast
from cloud.fleet import Fleet
from cloud.history import History
from cloud.needs import Check, needs, role_of
from cloud.picture import Picture
from cloud.records import Round
from cloud.registry import Registry
from cloud.rollout_api import add_rollouts
from cloud.rollout_book import RolloutBook
from cloud.rollouts import Rollouts
from shared.accounts import AccountStore
from shared.audit import MOST_AT_ONCE, AuditLog
from shared.clock import Clock
from shared.doors import Doors
from shared.errors import FederationError
from shared.roles import Grant, Role

__all__ = ["Desk", "describe", "needs", "people_app", "role_of"]


class Desk(msgspec.Struct, frozen=True, kw_only=True):
    """What the routes work with."""

    registry: Registry
    fleet: Fleet
    history: History
    picture: Picture
    broadcast: Broadcast
    accounts: AccountStore
    doors: Doors
    audit: AuditLog
    rollouts: Rollouts
    book: RolloutBook
    board: AlertBoard
    clock: Clock


def people_app(desk: Desk) -> FastAPI:
    """Return the application."""
    app = FastAPI(title="terrace cloud", version="1", openapi_url=None, docs_url=None, redoc_url=None)
    faults.install(app)
    viewer, operator, admin = (needs(role, desk.doors) for role in (Role.VIEWER, Role.OPERATOR, Role.ADMIN))
    _add_rounds(app, desk, viewer, operator)
    _add_looks(app, desk, viewer)
    _add_events(app, desk, viewer)
    _add_audit(app, desk, operator)
    add_rollouts(app, rollouts=desk.rollouts, book=desk.book, viewer=viewer, operator=operator)
    accounts_api.add(app, desk.accounts, desk.audit, admin)

    @app.get("/openapi.json", dependencies=[Depends(viewer)], include_in_schema=False)
    def schema(request: Request) -> JSONResponse:
        return JSONResponse(request.app.openapi())

    return app


class RoundWish(BaseModel, extra="forbid"):
    """What a round is to be; everything may be left out."""

    regions: list[str] = Field(default=[], max_length=1024, description="Only these regions train; empty: whoever should.")
    publish: bool = Field(default=True, description="False: a trial that runs through the gate and publishes nothing.")
    need: bool = Field(default=False, description="Only regions with a drift alarm train.")


def _add_looks(app: FastAPI, desk: Desk, viewer: Check) -> None:
    @app.get("/v1/fleet", dependencies=[Depends(viewer)], summary="Regions and devices as their regions report them")
    def show_fleet() -> dict[str, Any]:
        return desk.fleet.summary()

    @app.get("/v1/releases", dependencies=[Depends(viewer)], summary="Published releases with their lineage, newest first")
    def list_releases(model: str | None = None) -> list[dict[str, Any]]:
        return [msgspec.to_builtins(release) for release in desk.registry.releases(model)]

    @app.get("/v1/alerts", dependencies=[Depends(viewer)], summary="What should be looked at now, the worst first")
    def list_alerts() -> list[dict[str, Any]]:
        return desk.board.alerts()

    @app.get("/v1/overview", dependencies=[Depends(viewer)], summary="Everything the dashboard shows, by topic and key")
    def overview() -> dict[str, Any]:
        return {"now": desk.clock(), **desk.picture.topics()}

    @app.get("/v1/history", dependencies=[Depends(viewer)], summary="Accuracy, live risk, traffic and latency over the last hours")
    def history(request: Request, hours: float = Query(default=1.0, gt=0, le=1440)) -> Response:
        body = msgspec.json.encode(desk.history.read(hours, now=desk.clock()))
        if "gzip" not in request.headers.get("accept-encoding", ""):
            return Response(body, media_type="application/json")
        # numbers only, nothing secret beside something chosen by a stranger: compressing tells nobody anything
        extra = {"content-encoding": "gzip", "vary": "accept-encoding"}
        return Response(gzip.compress(body, 5), media_type="application/json", headers=extra)


def _add_events(app: FastAPI, desk: Desk, viewer: Check) -> None:
    looker: Any = Depends(viewer)

    @app.get("/v1/events", summary="Server-sent events: `snapshot` first, then `change` within a second, `bye` at the end")
    async def events(request: Request, grant: Grant = looker) -> Response:
        headers = dict(request.headers)
        return desk.broadcast.stream(grant.label, lambda: desk.doors.who(headers, touch=False).require(Role.VIEWER))


def _add_audit(app: FastAPI, desk: Desk, operator: Check) -> None:
    @app.get("/v1/audit", dependencies=[Depends(operator)], summary="What was done and by whom, newest first, with the chain's head")
    def list_audit(limit: int = Query(default=100, ge=1, le=MOST_AT_ONCE), before: int | None = None) -> dict[str, Any]:
        return {"head": msgspec.to_builtins(desk.audit.head()), "entries": msgspec.to_builtins(desk.audit.entries(limit, before))}


def _add_rounds(app: FastAPI, desk: Desk, viewer: Check, operator: Check) -> None:
    registry = desk.registry
    # a default, not an Annotated: FastAPI cannot resolve a local name in an annotation
    asker: Any = Depends(operator)

    @app.post("/v1/rounds", status_code=201, summary="Ask for a federated round; one may be open at a time")
    def start_round(wish: RoundWish | None = None, grant: Grant = asker) -> dict[str, Any]:
        wish = wish or RoundWish()
        desk.fleet.require(wish.regions)
        item = registry.request_round(grant.label, now=desk.clock(), regions=wish.regions, publish=wish.publish, need=wish.need)
        desk.audit.append(grant.label, "round.requested", f"round {item.number}", {"publish": wish.publish, "need": wish.need})
        return describe(item, registry)

    @app.get("/v1/rounds", dependencies=[Depends(viewer)], summary="All rounds, newest first")
    def list_rounds() -> list[dict[str, Any]]:
        return [describe(item, registry) for item in registry.rounds()]

    @app.get("/v1/rounds/{number}", dependencies=[Depends(viewer)], summary="One round with its steps and their results")
    def show_round(number: int) -> dict[str, Any]:
        try:
            item = registry.round(number)
        except FederationError as error:
            raise HTTPException(404, {"error": error.message, "remedy": error.remedy}) from None
        return {**describe(item, registry), "steps": [msgspec.to_builtins(step) for step in registry.steps(number)]}


def describe(item: Round, registry: Registry) -> dict[str, Any]:
    """Return a round as plain JSON values, with the step it is at."""
    steps = registry.steps(item.number)
    return {**msgspec.to_builtins(item), "step": steps[-1].name if steps else ""}
