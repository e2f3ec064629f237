"""The API for people, on its own TLS listener: bearer tokens, each with a role; OpenAPI at /openapi.json.

Every route declares the least role it needs with `needs`, and a test walks the route table and fails on one that does not. A token
travels in the Authorization header only, so nothing here can be done by a page of another site.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import msgspec
from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.params import Depends as Dependency
from fastapi.responses import JSONResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel, Field

from cloud import faults
from cloud.fleet import Fleet
from cloud.records import Round
from cloud.registry import Registry
from shared.access import TokenStore
from shared.clock import Clock
from shared.errors import AccessError, FederationError
from shared.roles import Grant, Role

BEARER = HTTPBearer(auto_error=False, description="A token made with: terrace cloud token create")
_bearer = Depends(BEARER)
Check = Callable[..., Grant]


def needs(role: Role, tokens: TokenStore) -> Check:
    """Return a dependency that lets through whoever holds a token of at least this role, and says so to the route walk."""

    def check(credentials: Annotated[HTTPAuthorizationCredentials | None, _bearer]) -> Grant:
        try:
            if credentials is None:
                raise AccessError("this needs a token.", "Make one with: terrace cloud token create; send it as Authorization: Bearer.")
            grant = tokens.check(credentials.credentials)
        except AccessError as error:
            detail = {"error": error.message, "remedy": error.remedy}
            raise HTTPException(401, detail, headers={"WWW-Authenticate": "Bearer"}) from None
        grant.require(role)
        return grant

    check.role = role  # type: ignore[attr-defined]  # read by the test that walks the routes
    return check


def role_of(route: Any) -> Role | None:
    """Return the role a route declares, or None where it declares none."""
    for dependency in [*getattr(route, "dependencies", []), *_calls(route)]:
        call = dependency.dependency if isinstance(dependency, Dependency) else dependency
        found = getattr(call, "role", None)
        if isinstance(found, Role):
            return found
    return None


def _calls(route: Any) -> list[Any]:
    dependant = getattr(route, "dependant", None)
    return [item.call for item in dependant.dependencies] if dependant is not None else []


def people_app(*, registry: Registry, fleet: Fleet, tokens: TokenStore, clock: Clock) -> FastAPI:
    """Return the application."""
    app = FastAPI(title="terrace cloud", version="1", openapi_url=None, docs_url=None, redoc_url=None)
    faults.install(app)
    viewer, operator = needs(Role.VIEWER, tokens), needs(Role.OPERATOR, tokens)
    _add_rounds(app, registry, fleet, viewer, operator, clock)

    @app.get("/v1/fleet", dependencies=[Depends(viewer)], summary="Regions and devices as their regions report them")
    def show_fleet() -> dict[str, Any]:
        return fleet.summary()

    @app.get("/v1/releases", dependencies=[Depends(viewer)], summary="Published releases with their lineage, newest first")
    def list_releases(model: str | None = None) -> list[dict[str, Any]]:
        return [msgspec.to_builtins(release) for release in registry.releases(model)]

    @app.get("/openapi.json", dependencies=[Depends(viewer)], include_in_schema=False)
    def schema(request: Request) -> JSONResponse:
        return JSONResponse(request.app.openapi())

    return app


class RoundWish(BaseModel, extra="forbid"):
    """What a round is to be; everything may be left out."""

    regions: list[str] = Field(default=[], max_length=1024, description="Only these regions train; empty: whoever should.")
    publish: bool = Field(default=True, description="False: a trial that runs through the gate and publishes nothing.")
    need: bool = Field(default=False, description="Only regions with a drift alarm train.")


def _add_rounds(app: FastAPI, registry: Registry, fleet: Fleet, viewer: Check, operator: Check, clock: Clock) -> None:
    # a default, not an Annotated: FastAPI cannot resolve a local name in an annotation
    asker: Any = Depends(operator)

    @app.post("/v1/rounds", status_code=201, summary="Ask for a federated round; one may be open at a time")
    def start_round(wish: RoundWish | None = None, grant: Grant = asker) -> dict[str, Any]:
        wish = wish or RoundWish()
        fleet.require(wish.regions)
        asked = registry.request_round(grant.label, now=clock(), regions=wish.regions, publish=wish.publish, need=wish.need)
        return describe(asked, registry)

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
